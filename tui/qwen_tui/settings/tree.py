"""Every setting of the program: the engine's and the app's own, as a tree and by name.

How the tree is read, overridden and saved is file.py's business.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from types import MappingProxyType
from typing import Any, Literal, cast, get_args

from qwen_core.protocol.events import LoadSettings
from qwen_core.settings.kinds import Choice, Kind, Number, Words, setting
from qwen_core.settings.paths import location
from qwen_core.settings.tree import Settings

SidePanel = Literal["auto", "on", "off"]
WhenAnswered = Literal["bell", "notification", "off"]

MAX_KEYS_OF_ACTION = 8
_ACTION = re.compile(r"[a-z][a-z0-9_]{0,39}")
_KEY = re.compile(r"[a-z0-9_+]{1,40}|[!-~]")


@dataclass(frozen=True)
class KeyNames:
    """The keys of one action: a key, or a list of keys; an empty list takes the action's keys away."""

    accepts: str = 'a key such as "ctrl+n", or a list of them such as ["f1", "ctrl+g"]'

    def check(self, value: Any) -> tuple[str, ...]:
        keys = [value] if isinstance(value, str) else value
        if not isinstance(keys, list | tuple) or len(keys) > MAX_KEYS_OF_ACTION:
            raise ValueError(self.accepts)
        if not all(isinstance(key, str) and _KEY.fullmatch(key) for key in keys):
            raise ValueError(self.accepts)
        return tuple(keys)

    def read(self, text: str) -> tuple[str, ...]:
        return self.check([key.strip().lower() for key in text.split(",") if key.strip()])


@dataclass(frozen=True)
class LooksSection:
    """How the program looks."""

    theme: str = setting(
        Words(32, r"[a-z0-9][a-z0-9-]{0,31}", "the name of a theme: lower-case letters, digits and hyphens"),
        "Colours. Themes of your own are *.toml files in the folder themes beside config.toml.",
        "midnight",
    )
    side_panel: SidePanel = setting(
        Choice(get_args(SidePanel)),
        "The meters beside the chat: auto shows them where the window is wide enough.",
        "auto",
    )
    when_answered: WhenAnswered = setting(
        Choice(get_args(WhenAnswered)),
        "What tells that an answer of more than 10 seconds has ended while another window had the keys.",
        "bell",
    )


@dataclass(frozen=True)
class ComposerSection:
    """Writing to the model."""

    paste_lines: int = setting(
        Number(1, 100_000, whole=True), "A paste of more lines is shown as a short token and sent in full.", 20
    )
    attach_limit_kb: int = setting(
        Number(1, 16_384, whole=True), "Most kB of the text files that one message may bring along with @path.", 256
    )


def _frozen(keys: Mapping[str, tuple[str, ...]]) -> Mapping[str, tuple[str, ...]]:
    """A copy of `keys`, in order of action, that nobody can change."""
    return MappingProxyType(dict(sorted(keys.items())))


@dataclass(frozen=True)
class AppSettings(Settings):
    """All settings. `keys` binds actions to other keys: action = key, or a list of keys."""

    looks: LooksSection = field(default_factory=LooksSection)
    composer: ComposerSection = field(default_factory=ComposerSection)
    keys: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: _frozen({}))

    def for_load(self) -> LoadSettings:
        """What counts for a model from its loading on; what is measured of it is kept beside the program's logs."""
        return replace(super().for_load(), cache_folder=str(location("state")))


UNSET = "unset"
UNSET_WORDS = ("default", "none", "auto")
"""As well, where none of them could be a value."""
KEYS = "keys"
KEYS_HELP = (
    'Keys of actions that are to differ from the built-in ones: stop = "ctrl+x", or a list. The help screen (F1) names '
    "the actions."
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

    def unsets(self, text: str) -> bool:
        """Whether what a person typed for it means no value."""
        words = ("", UNSET, *(UNSET_WORDS if isinstance(self.kind, Number) else ()))
        return self.optional and text.strip().lower() in words


_GROUPS: dict[str, Any] = {
    entry.name: getattr(AppSettings(), entry.name) for entry in fields(AppSettings) if entry.name != KEYS
}
FIELDS: tuple[Field, ...] = tuple(
    Field(name, entry.name, entry.metadata["kind"], entry.metadata["help"], entry.default)
    for name, group in _GROUPS.items()
    for entry in fields(group)
)
SECTIONS: Mapping[str, str] = MappingProxyType(
    {**{name: str(type(group).__doc__) for name, group in _GROUPS.items()}, KEYS: KEYS_HELP}
)
"""Section names in order, and what each is about."""
_BY_KEY = {entry.key: entry for entry in FIELDS}


def field_of(key: str) -> Field | None:
    """The field that "section.name" names. Any action of the keys section is one; None for what does not exist.

    Which actions there are is not known here.
    """
    section, _, name = key.partition(".")
    if section == KEYS and _ACTION.fullmatch(name):
        return Field(KEYS, name, KeyNames(), KEYS_HELP, None)
    return _BY_KEY.get(key)


def value_of(settings: AppSettings, key: str) -> Any:
    """The value of one field. KeyError if there is none of that name."""
    section, _, name = key.partition(".")
    if section == KEYS:
        return settings.keys.get(name)
    return getattr(getattr(settings, section), name) if key in _BY_KEY else _missing(key)


def with_value(settings: AppSettings, key: str, value: Any) -> AppSettings:
    """`settings` with one field checked and changed. ValueError says what is accepted, KeyError: no such field."""
    entry = field_of(key) or _missing(key)
    checked = None if value is None and entry.optional else entry.kind.check(value)
    if entry.section == KEYS:
        others = {action: keys for action, keys in settings.keys.items() if action != entry.name}
        return replace(settings, keys=_frozen(others if checked is None else {**others, entry.name: checked}))
    section = replace(getattr(settings, entry.section), **{entry.name: checked})
    return replace(settings, **cast(dict[str, Any], {entry.section: section}))


def _missing(key: str) -> Any:
    raise KeyError(key)
