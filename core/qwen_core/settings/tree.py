"""The engine's settings as a typed tree, each with the line that explains it and what it accepts.

Where their values come from is the program's business: nothing here reads a file. There is no setting for telemetry
because there is none: nothing a person types or reads here is sent anywhere.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from types import MappingProxyType
from typing import Literal, get_args

from qwen_core.protocol.events import DraftMode, Effort, GenerationSettings, LoadSettings
from qwen_core.protocol.probabilities import LENS_TOP
from qwen_core.settings.kinds import Choice, Switch, Words, setting
from qwen_core.settings.ranges import (
    GPU_CORES,
    HOSTS,
    MAX_TOKENS,
    NUM_DRAFT_TOKENS,
    PEAK_BANDWIDTH_GB_S,
    REASONING_BUDGET,
    SAMPLING,
    SNAPSHOT_BUDGET_MB,
)

Preset = Literal["auto", "thinking", "coding", "non-thinking"]
HistoryMode = Literal["keep-reasoning", "drop-reasoning"]

# FORMAT.md, "Tokens and template": what the model's authors recommend. "auto" leaves it to the checkpoint's
# generation_config.json, and beyond that to whether the answer is thought about.
PRESETS: Mapping[Preset, GenerationSettings] = MappingProxyType(
    {
        "auto": GenerationSettings(),
        "thinking": GenerationSettings(temperature=1.0, top_p=0.95, top_k=20, presence_penalty=0.0, effort="high"),
        "coding": GenerationSettings(temperature=0.6, top_p=0.95, top_k=20, presence_penalty=0.0, effort="high"),
        "non-thinking": GenerationSettings(temperature=0.7, top_p=0.80, top_k=20, presence_penalty=1.5, effort="none"),
    }
)


@dataclass(frozen=True)
class GenerationSection:
    """How answers are generated. What is not set comes from the preset."""

    preset: Preset = setting(
        Choice(get_args(Preset)),
        "Sampling values to start from: auto follows the model's generation_config.json; thinking, coding and "
        "non-thinking are what its authors recommend. Each value below beats the preset.",
        "auto",
    )
    system: str | None = setting(Words(), "System prompt of new conversations.")
    max_tokens: int | None = setting(
        MAX_TOKENS, "Most new tokens of one answer, reasoning included. Not set: up to the context."
    )
    temperature: float | None = setting(
        SAMPLING["temperature"], "0 always takes the likeliest token; higher is more varied."
    )
    top_p: float | None = setting(
        SAMPLING["top_p"], "Sample from the likeliest tokens that hold this share of the probability."
    )
    top_k: int | None = setting(SAMPLING["top_k"], "Sample from this many likeliest tokens; 0 is all.")
    min_p: float | None = setting(SAMPLING["min_p"], "Drop tokens less likely than this share of the likeliest one.")
    presence_penalty: float | None = setting(
        SAMPLING["presence_penalty"], "Lowers every token that the answer has used already, once."
    )
    frequency_penalty: float | None = setting(
        SAMPLING["frequency_penalty"], "Lowers tokens by how often the answer has used them."
    )
    repetition_penalty: float | None = setting(
        SAMPLING["repetition_penalty"], "Divides the logits of tokens seen in prompt or answer; 1 is none."
    )
    seed: int | None = setting(SAMPLING["seed"], "Makes sampling repeatable. Not set: a fresh one for each answer.")
    effort: Effort | None = setting(
        Choice(get_args(Effort)),
        "How long it reasons, of the levels that the model's template has: Qwen3.5 and 3.6 know off (none, "
        "low) and on (medium, high), 3.8 none, low, medium and xhigh. Not set: the preset's, else the template's own.",
    )
    reasoning_budget: int | None = setting(
        REASONING_BUDGET,
        "Tokens of reasoning after which the block is closed at the next line end and the answer begins. "
        "Not set: as long as the model likes.",
    )
    repetition_guard: bool = setting(
        Switch(), "Stop an answer that repeats itself without end, and say so. Off: never cut an answer short.", False
    )
    draft: DraftMode = setting(
        Choice(get_args(DraftMode)),
        "Who drafts tokens ahead, so that one pass over the weights gives several: mtp, a layer that some models have; "
        "lookup, what followed earlier in the conversation; auto, whichever is there, where it pays. The answer is the "
        "same.",
        "auto",
    )
    num_draft_tokens: int | None = setting(
        NUM_DRAFT_TOKENS, "Drafts of one pass. Not set: as many as pay on this machine."
    )
    probabilities: bool = setting(
        Switch(),
        "Keep with each answer how likely its tokens were, and what else was. Off: an answer is read once more for "
        "that when somebody asks. On it takes time of every token, on a CPU up to a third.",
        False,
    )


@dataclass(frozen=True)
class ContextSection:
    """What of a conversation the model reads again, and what is kept in memory to go back to."""

    history: HistoryMode = setting(
        Choice(get_args(HistoryMode)),
        "keep-reasoning leaves the reasoning of earlier answers in the context: the next answer starts at once, "
        "but the context fills faster. drop-reasoning takes it out as the model's template does: the context "
        "stays short, but before each answer the previous one is read again.",
        "keep-reasoning",
    )
    snapshot_budget_mb: int = setting(
        SNAPSHOT_BUDGET_MB,
        "Memory in MB for states of earlier turns. They make edits and retries quick; the oldest go first.",
        1000,
    )


@dataclass(frozen=True)
class HardwareSection:
    """What this machine is, where the program cannot tell or tells wrongly."""

    peak_bandwidth_gb_s: float | None = setting(
        PEAK_BANDWIDTH_GB_S,
        "Peak memory bandwidth in GB/s that the meters compare with. Not set: the chip's published one.",
    )
    gpu_cores: int | None = setting(
        GPU_CORES, "GPU cores, which tell the two widths of a Max apart. Not set: by memory size."
    )
    kernels: bool = setting(
        Switch(),
        "On a Mac use this program's own kernels, each once it has proved right here. Off: MLX's operations alone.",
        True,
    )
    hosts: str | None = setting(
        HOSTS,
        "Who shares the model: a number of ranks on this machine, to try it, or a host file of mlx.launch, whose first "
        "host is this machine. Not set: this machine alone. It counts from the engine's next start.",
    )


@dataclass(frozen=True)
class Settings:
    """What concerns the engine."""

    generation: GenerationSection = field(default_factory=GenerationSection)
    context: ContextSection = field(default_factory=ContextSection)
    hardware: HardwareSection = field(default_factory=HardwareSection)

    def request(self) -> GenerationSettings:
        """What to ask of an answer: the preset, and over it whatever is set."""
        given = {name: value for name, value in asdict(self.generation).items() if value is not None}
        for name in ("preset", "system"):
            given.pop(name, None)
        if "max_tokens" in given:
            given["max_new_tokens"] = given.pop("max_tokens")
        given["logprobs"] = LENS_TOP if given.pop("probabilities") else None
        given["drop_reasoning"] = self.context.history == "drop-reasoning"
        return replace(PRESETS[self.generation.preset], **given)

    def for_load(self) -> LoadSettings:
        """What counts for a model from its loading on."""
        hardware = self.hardware
        return LoadSettings(
            snapshot_budget_bytes=self.context.snapshot_budget_mb * 1_000_000,
            peak_bandwidth_gb_s=hardware.peak_bandwidth_gb_s,
            gpu_cores=hardware.gpu_cores,
            draft=self.generation.draft,
            kernels=hardware.kernels,
            hosts=hardware.hosts or "",
        )
