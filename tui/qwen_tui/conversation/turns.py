"""What a transcript consists of: turns, and lines of the program's own. Plain state, no widgets.

Turns are changed by conversation.py alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from qwen_core.protocol.events import FinishReason, Message
from qwen_core.protocol.expert_use import ExpertUse
from qwen_core.protocol.pieces import Part, Piece, joined, text_of
from qwen_core.protocol.probabilities import Probabilities, together
from qwen_core.protocol.stats import TurnStats, went_on
from qwen_core.protocol.timeline import Timeline
from qwen_core.settings.ranges import SAMPLING
from qwen_core.settings.sampling_values import REQUEST, Sourced
from qwen_tui.store.records import StoredMessage, turn_stats

TurnState = Literal["waiting", "prefill", "reasoning", "decoding", "done", "failed", "interrupted"]
_RUNNING = ("waiting", "prefill", "reasoning", "decoding")


@dataclass
class Turn:
    """One question and its answer so far.

    `question_id` and `answer_id` are what the store calls them. `place`: which of how many alternatives this answer
    is, from 1. `shown` is the question as it was written, where the model got more (files, long pastes). `pieces` are
    what was said, in order; `answer`, `reasoning` and `tool_calls` read one part of it. `drafted`: where in a part's
    text stands what accepted drafts said, as (begin, end); known while the program runs.
    `experts`: which of a mixture it used while somebody looked. `sampling`: what counted, and where it was from; of an
    answer from the disk only what was asked for it.
    `before`: the figures up to where the answer was cut off, where it went on; `stats` are those of all of it.
    `ids` are the tokens of the answer that came while the program runs, `probabilities` those of the last of them, as
    far as they were asked for, `timeline` when they came: those of an answer from the disk its store has.
    """

    number: int
    question: str
    question_id: int | None = None
    answer_id: int | None = None
    place: tuple[int, int] = (1, 1)
    shown: str = ""
    state: TurnState = "waiting"
    pieces: tuple[Piece, ...] = ()
    drafted: dict[Part, tuple[tuple[int, int], ...]] = field(default_factory=dict)
    prefilled: int = 0
    to_prefill: int = 0
    cached: int = 0
    generated_tokens: int = 0
    reasoning_tokens: int = 0
    before: TurnStats | None = None
    prefill_began: float | None = None
    prefill_s: float | None = None
    foreseen_bytes: int = 0
    reasoning_s: float | None = None
    finish_reason: FinishReason | None = None
    stats: TurnStats | None = None
    experts: ExpertUse | None = None
    ids: tuple[int, ...] = ()
    probabilities: Probabilities | None = None
    timeline: Timeline = field(default_factory=Timeline)
    sampling: Mapping[str, Sourced] = field(default_factory=dict[str, Sourced])
    error: str = ""
    aside: bool = False
    """Asked of another conversation than it is kept in: the tokens that the engine feeds are that one's."""

    @property
    def running(self) -> bool:
        return self.state in _RUNNING

    @property
    def has_text(self) -> bool:
        return bool(self.pieces)

    @property
    def answer(self) -> str:
        return text_of(self.pieces, "answer")

    @property
    def reasoning(self) -> str:
        return text_of(self.pieces, "reasoning")

    @property
    def tool_calls(self) -> str:
        return text_of(self.pieces, "tool_call")

    @property
    def unanswered(self) -> bool:
        """Whether the question got no answer and may be sent again."""
        return self.state in ("failed", "interrupted") and not self.has_text

    @property
    def comes_back(self) -> bool:
        """Whether the question is to be written anew: it did not fit, or it, or the engine, ended before a token."""
        if self.aside or self.has_text or self.generated_tokens:
            return False
        stopped = self.finish_reason == "cancelled" and self.place == (1, 1)  # else what it words anew is there
        return stopped or self.finish_reason == "context" or self.state == "interrupted"

    @property
    def continuable(self) -> bool:
        """Whether the answer was cut off where it could go on."""
        return self.state == "done" and self.finish_reason in ("cancelled", "length", "repetition")

    def say(self, part: Part, text: str, *, drafted: bool = False) -> None:
        """Add what the engine has said; `drafted`: by accepted drafts."""
        if drafted:
            begin = len(text_of(self.pieces, part))
            self.drafted = {**self.drafted, part: (*self.drafted.get(part, ()), (begin, begin + len(text)))}
        if text:
            self.pieces = joined((*self.pieces, (part, text)))

    def decoded(self, ids: tuple[int, ...], probabilities: Probabilities | None) -> None:
        """More tokens of the answer."""
        self.ids += ids
        if probabilities is None or (self.probabilities is not None and probabilities.top != self.probabilities.top):
            self.probabilities = probabilities
        else:
            self.probabilities = together([*([self.probabilities] if self.probabilities else []), probabilities])

    def kept(self, message: Message) -> None:
        """The answer as it is kept. Where that is what was said, in whatever order, nothing changes."""
        parts: tuple[Piece, ...] = (
            ("reasoning", message.reasoning),
            ("answer", message.content),
            ("tool_call", message.tool_calls),
        )
        if any(text_of(self.pieces, part) != text for part, text in parts):
            self.pieces = tuple(piece for piece in parts if piece[1])
            self.drafted = {}  # the places are no longer where they were

    def take(self, stats: TurnStats) -> None:
        """The figures by now, as the engine has them of what it was asked last."""
        self.stats = stats = went_on(self.before, stats)
        self.generated_tokens, self.reasoning_tokens = stats.generated_tokens, stats.reasoning_tokens
        self.reasoning_s = stats.reasoning_s or None

    def messages(self) -> tuple[Message, ...]:
        """The turn as messages for `Restore`; an unanswered question is left out."""
        if self.unanswered or (self.running and not self.has_text):
            return ()
        answer = Message("assistant", self.answer, reasoning=self.reasoning, tool_calls=self.tool_calls)
        return (Message("user", self.question), answer)


@dataclass
class Note:
    """A line of the program's own in the transcript."""

    text: str
    kind: Literal["notice", "error"] = "notice"


Item = Turn | Note

_STATES: dict[str, TurnState] = {"complete": "done", "failed": "failed"}


def stored_turns(path: Sequence[StoredMessage], places: Sequence[tuple[int, int]], first: int) -> list[Turn]:
    """The turns of a branch as it is on disk, numbered from `first`; `places` are those of its questions, in order."""
    turns: list[Turn] = []
    for message in path:
        if message.role == "user":
            place = places[len(turns)] if len(turns) < len(places) else (1, 1)
            turn = Turn(first + len(turns), message.content, message.id, place=place, shown=message.shown)
            turn.state = "interrupted"  # until its answer says otherwise
            turns.append(turn)
        elif turns:
            _answered(turns[-1], message)
    return turns


def _answered(turn: Turn, message: StoredMessage) -> None:
    turn.answer_id = message.id
    turn.kept(Message("assistant", message.content, reasoning=message.reasoning, tool_calls=message.tool_calls))
    # An answer that another program is writing this moment counts as interrupted here.
    turn.state = _STATES.get(message.status, "interrupted")
    turn.finish_reason, turn.error = message.finish_reason, message.error
    asked = {name: message.settings.get(name) for name in SAMPLING}
    turn.sampling = {name: Sourced(value, REQUEST) for name, value in asked.items() if isinstance(value, int | float)}
    if (stats := turn_stats(message.stats)) is not None:
        turn.take(stats)
