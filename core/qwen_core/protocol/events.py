"""The words that the app and the engine process exchange: frozen dataclasses of plain values.

Commands go to the worker, events come back. Everything pickles, nothing holds an array, a path object or a callback.
`StreamEvent` is what a `Session` yields in its own process; the worker turns runs of them into `Delta` batches.
"""

from dataclasses import dataclass, field
from typing import Literal

from qwen_core.protocol.begun_answer import BegunAnswer
from qwen_core.protocol.counting import Count, Counted
from qwen_core.protocol.expert_use import ExpertUse
from qwen_core.protocol.pieces import Piece, text_of
from qwen_core.protocol.probabilities import Probabilities
from qwen_core.protocol.ranks import RankSummary
from qwen_core.protocol.scoring import Score, Scored, ScoreFailed, ScoreProgress, Spell, Spelled
from qwen_core.protocol.stats import TurnStats
from qwen_core.protocol.timeline import Timeline
from qwen_core.protocol.weight_tiers import WeightTiers

ComputeType = Literal["float32", "bfloat16", "float16"]
DraftMode = Literal["auto", "off", "mtp", "lookup"]
Effort = Literal["none", "low", "medium", "high", "xhigh"]
FinishReason = Literal["stop", "length", "context", "cancelled", "repetition"]
PeakSource = Literal["published", "measured", "configured"]
Role = Literal["system", "user", "assistant", "tool"]


@dataclass(frozen=True)
class GenerationSettings:
    """What a person asked of one answer. None: what generation_config.json says, else FORMAT.md's recommendation.

    `reasoning_budget`: tokens of reasoning after which the block is closed for the model; None: no limit.
    `repetition_guard`: an answer that repeats itself without end is stopped. `drop_reasoning`: earlier turns lose their
    reasoning, as the template has it, instead of staying in the state as they were generated. `draft` says who drafts
    tokens ahead, and `num_draft_tokens` how many a pass; None: as many as pay. `logprobs`: how likely each token was is
    told with it, and of so many of the likeliest; None: it is not computed.
    """

    max_new_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    repetition_penalty: float | None = None
    seed: int | None = None
    effort: Effort | None = None
    reasoning_budget: int | None = None
    repetition_guard: bool = False
    drop_reasoning: bool = False
    draft: DraftMode = "auto"
    num_draft_tokens: int | None = None
    logprobs: int | None = None


@dataclass(frozen=True)
class LoadSettings:
    """What a person set for a model in memory: the built-in values where nothing is given.

    `snapshot_budget_bytes`: memory for states of earlier turns. `peak_bandwidth_gb_s` and `gpu_cores`: of this machine,
    where it cannot tell or tells wrongly; None: as it tells. `draft`: who is to draft, made ready while a model is
    loaded. `cache_folder`: where what was measured of a model is kept; "": nowhere. `kernels`: whether kernels of our
    own may be used. `hosts`: who shares the model (engine/hosts.py), a number of ranks on this machine or a host file;
    "": nobody.
    """

    snapshot_budget_bytes: int = 1_000_000_000
    peak_bandwidth_gb_s: float | None = None
    gpu_cores: int | None = None
    draft: DraftMode = "auto"
    cache_folder: str = ""
    kernels: bool = True
    hosts: str = ""


@dataclass(frozen=True)
class Message:
    """One message of a conversation as people see it: answer and reasoning apart, tool calls as their raw text."""

    role: Role
    content: str
    reasoning: str = ""
    tool_calls: str = ""


@dataclass(frozen=True)
class StreamEvent:
    """One step of `Session.send_stream`: what was said in it as `pieces`, for the tokens `token_ids`.

    `text` is answer text alone, so that printing it prints the answer. While the prompt is prefilled, events carry
    only `prefilled` of `to_prefill` tokens. The last event has `done=True`, a `finish_reason` and `stats`; every
    event with tokens carries `stats` as they are by then, and `drafted` says whether they were drafts. The first one
    has in `prompt_ids` all tokens that the answer follows, and in `foreseen_bytes` the memory, weights and all, that is
    in use when they are read. The last one says in `late_reasoning` how many characters of the answer's text, from its
    start, are reasoning that came unmarked: `with_late_reasoning` puts that right.
    `experts` is there while `Session.watch_experts` is on, `probabilities`, a row for each of `token_ids`, where
    `GenerationSettings.logprobs` asks for them. `kept_tokens`: the state behind so many tokens was kept as a snapshot.
    `given`: these tokens are what an answer was said to begin with.
    """

    pieces: tuple[Piece, ...] = ()
    token_ids: tuple[int, ...] = ()
    prefilled: int = 0
    to_prefill: int = 0
    cached_tokens: int = 0
    done: bool = False
    finish_reason: FinishReason | None = None
    stats: TurnStats | None = None
    notice: str = ""
    prompt_ids: tuple[int, ...] = ()
    foreseen_bytes: int = 0
    drafted: bool = False
    late_reasoning: int = 0
    experts: ExpertUse | None = None
    probabilities: Probabilities | None = None
    kept_tokens: int = 0
    given: bool = False

    @property
    def text(self) -> str:
        return text_of(self.pieces, "answer")

    @property
    def reasoning(self) -> str:
        return text_of(self.pieces, "reasoning")

    @property
    def tool_call(self) -> str:
        return text_of(self.pieces, "tool_call")


# Commands, app to worker.


@dataclass(frozen=True)
class Load:
    """Load a model directory, replacing the model and conversation that are there."""

    path: str
    dtype: str | None = None
    system: str | None = None
    settings: LoadSettings = field(default_factory=LoadSettings)


@dataclass(frozen=True)
class Restore:
    """Put a conversation back, after a crash, on resume or at an earlier turn: messages, and the ids fed for them.

    The next `Send` prefills what neither the state nor a snapshot of an earlier turn holds. `ids` may be empty: then
    the template renders the messages; or those of the first `known` messages alone, None meaning all: what follows is
    rendered behind them. `state_path`: a file that `SaveState` wrote; one that does not fit is passed
    over with a notice.
    """

    messages: tuple[Message, ...]
    ids: tuple[int, ...] = ()
    system: str | None = None
    state_path: str = ""
    known: int | None = None


@dataclass(frozen=True)
class SaveState:
    """Write the state of the conversation to a file that a later `Restore` can name, so that nothing is prefilled."""

    path: str


@dataclass(frozen=True)
class Send:
    """Answer `text`. `turn` is the app's own number, repeated in every event of the turn. `begun`: the answer begins
    so, and the model goes on from there."""

    turn: int
    text: str
    settings: GenerationSettings = field(default_factory=GenerationSettings)
    begun: BegunAnswer | None = None


@dataclass(frozen=True)
class Continue:
    """Go on with the last answer, which was stopped or reached a limit. What is said now is added to that message."""

    turn: int
    settings: GenerationSettings = field(default_factory=GenerationSettings)


@dataclass(frozen=True)
class Stop:
    """End the running turn (or load) within a token or a prefill chunk. Never queued behind work."""


@dataclass(frozen=True)
class Watch:
    """Whether somebody looks at which experts a mixture uses. Never queued behind work."""

    experts: bool


@dataclass(frozen=True)
class Shutdown:
    """Leave cleanly."""


Command = Load | Restore | SaveState | Send | Continue | Count | Score | Spell | Stop | Watch | Shutdown


# Events, worker to app.


@dataclass(frozen=True)
class LoadProgress:
    """Bytes of weights in place so far. `stage` is a short phrase for people ("reading headers", "weights", ...)."""

    stage: str
    done_bytes: int = 0
    total_bytes: int = 0
    tiers: WeightTiers = field(default_factory=WeightTiers)


@dataclass(frozen=True)
class ModelSummary:
    """What the app says of a loaded model. `peak_source`, `memory_bytes` and `recommended_bytes`: see `Hardware`.

    `token_parts`: weight bytes that one token reads, by part of the model; they sum to `weight_bytes_per_token`.
    `prefill_step_bytes`: those that a whole step of a prompt reads, of a mixture of experts about all; 0: not told.
    `fingerprint` is the same for the same files, wherever they lie. `efforts`: the levels of reasoning effort that its
    template has, each with a number that is another where the text before the conversation is; `default_effort`: which
    of them it takes unasked. `thinking_levels`: those whose answers begin with reasoning; `thinks`: whether one does
    unasked. `generation_config`: what the model's file of that name says of sampling. `kernel_faults`: a line for each
    kernel of our own that did not prove right. `hosts`: every rank where several share the model, else (); all
    bytes but `weight_bytes` are this rank's then, and `alone_token_s` is what `ranks.waiting_s` counts from.
    """

    name: str
    path: str
    variant: str
    weight_bytes: int
    weight_bytes_per_token: int
    device: str
    dtype: str
    context_limit: int
    load_s: float
    tiers: WeightTiers
    peak_bandwidth_gb_s: float | None = None
    peak_source: PeakSource | None = None
    memory_bytes: int = 0
    recommended_bytes: int | None = None
    token_parts: tuple[tuple[str, int], ...] = ()
    prefill_step_bytes: int = 0
    fingerprint: str = ""
    efforts: tuple[tuple[Effort, int], ...] = ()
    default_effort: Effort | None = None
    thinking_levels: tuple[Effort, ...] = ()
    thinks: bool = True
    generation_config: tuple[tuple[str, float | str], ...] = ()
    kernel_faults: tuple[str, ...] = ()
    hosts: tuple[RankSummary, ...] = ()
    alone_token_s: float | None = None

    @property
    def weights_in_memory(self) -> int:
        """Bytes of its weights as they are in memory: what a screen says of its size."""
        return self.tiers.total or self.weight_bytes

    @property
    def levels(self) -> tuple[Effort, ...]:
        """The names of `efforts`."""
        return tuple(name for name, _ in self.efforts)


@dataclass(frozen=True)
class Loaded:
    model: ModelSummary


@dataclass(frozen=True)
class LoadFailed:
    """`message` is one QwenError line. The worker lives on and takes another `Load`. `dtypes`: compute types in which
    the model would fit, where this one does not."""

    message: str
    dtypes: tuple[str, ...] = ()


@dataclass(frozen=True)
class TurnStarted:
    """A turn begins. `prompt_ids` are all tokens that its answer follows; () where they are not told. `foreseen_bytes`:
    the memory in use when they are read, weights and all; 0 where that is not told."""

    turn: int
    prompt_tokens: int
    cached_tokens: int
    prompt_ids: tuple[int, ...] = ()
    foreseen_bytes: int = 0


@dataclass(frozen=True)
class PrefillProgress:
    turn: int
    done: int
    total: int
    cached_tokens: int


@dataclass(frozen=True)
class Delta:
    """Text that arrived since the last batch, in order, and the figures after its last token.

    `ids` are the token ids of this batch, fed to the state: the app keeps them so that nothing is lost in a crash.
    `drafted` says of each piece whether accepted drafts said it; () where none did. `experts`: while `Watch` asks so.
    `probabilities`: a row for each of `ids`, where the turn was asked for them. `timeline`: the steps since the batch
    before, those of the prompt too.
    """

    turn: int
    pieces: tuple[Piece, ...]
    ids: tuple[int, ...]
    stats: TurnStats | None = None
    drafted: tuple[bool, ...] = ()
    experts: ExpertUse | None = None
    probabilities: Probabilities | None = None
    timeline: Timeline = field(default_factory=Timeline)


@dataclass(frozen=True)
class TurnDone:
    """The turn is over. `ids` are all ids of the session now; `message` is the answer as stored. `ways_back`: of the
    numbers that `ModelSummary.efforts` gives its levels, those with which the next question need not read all again,
    and how many tokens are kept then: for the one that this turn had, all."""

    turn: int
    finish_reason: FinishReason
    message: Message
    ids: tuple[int, ...]
    stats: TurnStats
    ways_back: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True)
class TurnFailed:
    """The turn could not be answered; what was fed stays fed. The engine takes the next command."""

    turn: int
    message: str


@dataclass(frozen=True)
class MachineMeasured:
    """What is known of the model that is loaded, now with the peak of this machine's memory bandwidth."""

    model: ModelSummary


@dataclass(frozen=True)
class StateSaved:
    """What `SaveState` wrote."""

    path: str
    tokens: int
    nbytes: int


@dataclass(frozen=True)
class Notice:
    """A line for people that is not an error."""

    text: str


@dataclass(frozen=True)
class EngineDied:
    """Made by `Engine`, not by the worker: the process ended. `reason` is one line (signal, exit code, last stderr)."""

    reason: str
    exit_code: int | None = None
    log_path: str = ""


Event = (
    LoadProgress
    | Loaded
    | LoadFailed
    | TurnStarted
    | PrefillProgress
    | Delta
    | TurnDone
    | TurnFailed
    | MachineMeasured
    | Counted
    | ScoreProgress
    | Scored
    | ScoreFailed
    | Spelled
    | StateSaved
    | Notice
    | EngineDied
)
