"""Every setting of the program as one typed tree, each with the line that explains it and what it accepts.

How the tree is read, overridden and saved is file.py's business. There is no setting for telemetry because
there is none: nothing a person types or reads here is sent anywhere.
"""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from types import MappingProxyType
from typing import Annotated, Any, Literal, cast, get_args, get_type_hints

from qwen_core.protocol.events import Effort, GenerationSettings, LoadSettings
from qwen_core.settings.kinds import (
    Choice,
    Explained,
    KeyNames,
    Kind,
    Number,
    Switch,
    Words,
    frozen,
)
from qwen_core.settings.ranges import MAX_TOKENS, PEAK_BANDWIDTH_GB_S, REASONING_BUDGET, SAMPLING

Preset = Literal["auto", "thinking", "coding", "non-thinking"]
HistoryMode = Literal["keep-reasoning", "drop-reasoning"]
SidePanel = Literal["auto", "on", "off"]

# FORMAT.md, "Tokens and template": what the model's authors recommend. "auto" leaves it to the checkpoint's
# generation_config.json, and beyond that to whether the answer is thought about.
PRESETS: Mapping[Preset, GenerationSettings] = MappingProxyType(
    {
        "auto": GenerationSettings(),
        "thinking": GenerationSettings(temperature=1.0, top_p=0.95, top_k=20, presence_penalty=0.0, effort="medium"),
        "coding": GenerationSettings(temperature=0.6, top_p=0.95, top_k=20, presence_penalty=0.0, effort="medium"),
        "non-thinking": GenerationSettings(temperature=0.7, top_p=0.80, top_k=20, presence_penalty=1.5, effort="none"),
    }
)


@dataclass(frozen=True)
class GenerationSection:
    """How answers are generated. What is not set comes from the preset."""

    preset: Annotated[
        Preset,
        Explained(
            Choice(get_args(Preset)),
            "Sampling values to start from: auto follows the model's generation_config.json; thinking, coding and "
            "non-thinking are what its authors recommend. Each value below beats the preset.",
        ),
    ] = "auto"
    system: Annotated[str | None, Explained(Words(), "System prompt of new conversations.")] = None
    max_tokens: Annotated[
        int | None,
        Explained(MAX_TOKENS, "Most new tokens of one answer, reasoning included. Not set: up to the context."),
    ] = None
    temperature: Annotated[
        float | None, Explained(SAMPLING["temperature"], "0 always takes the likeliest token; higher is more varied.")
    ] = None
    top_p: Annotated[
        float | None,
        Explained(SAMPLING["top_p"], "Sample from the likeliest tokens that hold this share of the probability."),
    ] = None
    top_k: Annotated[int | None, Explained(SAMPLING["top_k"], "Sample from this many likeliest tokens; 0 is all.")] = (
        None
    )
    min_p: Annotated[
        float | None, Explained(SAMPLING["min_p"], "Drop tokens less likely than this share of the likeliest one.")
    ] = None
    presence_penalty: Annotated[
        float | None,
        Explained(SAMPLING["presence_penalty"], "Lowers every token that the answer has used already, once."),
    ] = None
    frequency_penalty: Annotated[
        float | None, Explained(SAMPLING["frequency_penalty"], "Lowers tokens by how often the answer has used them.")
    ] = None
    repetition_penalty: Annotated[
        float | None,
        Explained(SAMPLING["repetition_penalty"], "Divides the logits of tokens seen in prompt or answer; 1 is none."),
    ] = None
    seed: Annotated[
        int | None,
        Explained(SAMPLING["seed"], "Makes sampling repeatable. Not set: a fresh one for each answer."),
    ] = None
    effort: Annotated[
        Effort | None,
        Explained(
            Choice(get_args(Effort)), "Reasoning: none and low turn it off, medium and high on. Not set: the preset's."
        ),
    ] = None
    reasoning_budget: Annotated[
        int | None,
        Explained(
            REASONING_BUDGET,
            "Tokens of reasoning after which the block is closed at the next line end and the answer begins. "
            "Not set: as long as the model likes.",
        ),
    ] = None
    repetition_guard: Annotated[
        bool,
        Explained(
            Switch(), "Stop an answer that repeats itself without end, and say so. Off: never cut an answer short."
        ),
    ] = False


@dataclass(frozen=True)
class ContextSection:
    """What of a conversation the model reads again, and what is kept in memory to go back to."""

    history: Annotated[
        HistoryMode,
        Explained(
            Choice(get_args(HistoryMode)),
            "keep-reasoning leaves the reasoning of earlier answers in the context: the next answer starts at once, "
            "but the context fills faster. drop-reasoning takes it out as the model's template does: the context "
            "stays short, but before each answer the previous one is read again.",
        ),
    ] = "keep-reasoning"
    snapshot_budget_mb: Annotated[
        int,
        Explained(
            Number(0, 1_000_000, whole=True),
            "Memory in MiB for states of earlier turns. They make edits and retries quick; the oldest go first.",
        ),
    ] = 1024


@dataclass(frozen=True)
class HardwareSection:
    """What this machine is, where the program cannot tell or tells wrongly."""

    peak_bandwidth_gb_s: Annotated[
        float | None,
        Explained(
            PEAK_BANDWIDTH_GB_S,
            "Peak memory bandwidth in GB/s that the meters compare with. Not set: the chip's published one.",
        ),
    ] = None
    gpu_cores: Annotated[
        int | None,
        Explained(
            Number(1, 10_000, whole=True),
            "GPU cores, which tell the two widths of a Max apart. Not set: by memory size.",
        ),
    ] = None


@dataclass(frozen=True)
class LooksSection:
    """How the program looks."""

    theme: Annotated[
        str,
        Explained(
            Words(32, r"[a-z0-9][a-z0-9-]{0,31}", "the name of a theme: lower-case letters, digits and hyphens"),
            "Colours. Themes of your own are *.toml files in the folder themes beside config.toml.",
        ),
    ] = "midnight"
    side_panel: Annotated[
        SidePanel,
        Explained(
            Choice(get_args(SidePanel)), "The meters beside the chat: auto shows them where the window is wide enough."
        ),
    ] = "auto"


@dataclass(frozen=True)
class ComposerSection:
    """Writing to the model."""

    paste_lines: Annotated[
        int,
        Explained(Number(1, 100_000, whole=True), "A paste of more lines is shown as a short token and sent in full."),
    ] = 20
    attach_limit_kb: Annotated[
        int,
        Explained(
            Number(1, 16_384, whole=True), "Most KiB of the text files that one message may bring along with @path."
        ),
    ] = 256


@dataclass(frozen=True)
class Settings:
    """All settings. `keys` binds actions to other keys: action = key, or a list of keys."""

    generation: GenerationSection = field(default_factory=GenerationSection)
    context: ContextSection = field(default_factory=ContextSection)
    hardware: HardwareSection = field(default_factory=HardwareSection)
    looks: LooksSection = field(default_factory=LooksSection)
    composer: ComposerSection = field(default_factory=ComposerSection)
    keys: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: frozen({}))

    def request(self) -> GenerationSettings:
        """What to ask of an answer: the preset, and over it whatever is set."""
        given = {name: value for name, value in asdict(self.generation).items() if value is not None}
        for name in ("preset", "system"):
            given.pop(name, None)
        if "max_tokens" in given:
            given["max_new_tokens"] = given.pop("max_tokens")
        given["drop_reasoning"] = self.context.history == "drop-reasoning"
        return replace(PRESETS[self.generation.preset], **given)

    def for_load(self) -> LoadSettings:
        """What counts for a model from its loading on."""
        hardware = self.hardware
        return LoadSettings(self.context.snapshot_budget_mb << 20, hardware.peak_bandwidth_gb_s, hardware.gpu_cores)


KEYS = "keys"
KEYS_HELP = (
    'Keys of actions that are not to be the built-in ones: stop = "ctrl+x", or a list. The help screen (F1) names the '
    "actions."
)


@dataclass(frozen=True)
class Field:
    """One setting as screens, files and the environment name it."""

    section: str
    name: str
    kind: Kind
    help: str
    default: Any

    @property
    def key(self) -> str:
        """ "generation.top_p"."""
        return f"{self.section}.{self.name}"

    @property
    def variable(self) -> str:
        """The environment variable that overrides it."""
        return f"QWEN_TUI_{self.section}_{self.name}".upper()

    @property
    def optional(self) -> bool:
        """Whether it may have no value."""
        return self.default is None

    @property
    def accepts(self) -> str:
        """What it takes, for people."""
        return self.kind.accepts


def _all_fields() -> Iterator[Field]:
    for section in fields(Settings):
        if section.name == KEYS:
            continue
        group = type(getattr(Settings(), section.name))
        hints = get_type_hints(group, include_extras=True)
        for entry in fields(group):
            explained: Explained = hints[entry.name].__metadata__[0]
            yield Field(section.name, entry.name, explained.kind, explained.help, entry.default)


FIELDS: tuple[Field, ...] = tuple(_all_fields())
SECTIONS: Mapping[str, str] = MappingProxyType(
    {
        entry.name: KEYS_HELP if entry.name == KEYS else str(type(getattr(Settings(), entry.name)).__doc__)
        for entry in fields(Settings)
    }
)
"""Section names in order, and what each is about."""
_BY_KEY = {entry.key: entry for entry in FIELDS}
_KEY_NAMES = KeyNames()


def field_of(key: str) -> Field | None:
    """The field that "section.name" names. Any action of the keys section is one; None for what does not exist."""
    section, _, name = key.partition(".")
    if section == KEYS and name:
        return Field(KEYS, name, _KEY_NAMES, KEYS_HELP, None)
    return _BY_KEY.get(key)


def value_of(settings: Settings, key: str) -> Any:
    """The value of one field. KeyError if there is none of that name."""
    section, _, name = key.partition(".")
    if section == KEYS:
        return settings.keys.get(name)
    return getattr(getattr(settings, section), name) if key in _BY_KEY else _missing(key)


def with_value(settings: Settings, key: str, value: Any) -> Settings:
    """`settings` with one field checked and changed. ValueError says what is accepted, KeyError: no such field."""
    entry = field_of(key) or _missing(key)
    checked = None if value is None and entry.optional else entry.kind.check(value)
    if entry.section == KEYS:
        others = {action: keys for action, keys in settings.keys.items() if action != entry.name}
        return replace(settings, keys=frozen(others if checked is None else {**others, entry.name: checked}))
    section = replace(getattr(settings, entry.section), **{entry.name: checked})
    return replace(settings, **cast(dict[str, Any], {entry.section: section}))


def _missing(key: str) -> Any:
    raise KeyError(key)
