"""The conversation as the screen shows it: engine events in, plain state out. No widgets, no engine.

The view-model holds what was said, what is being said, and what the engine is doing. Screens read it; only the methods
here change it, so every flow (crashes, stops, restarts) is tested without a screen.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Literal

from qwen_core.figures import decimal_size
from qwen_core.protocol.counting import Counted
from qwen_core.protocol.events import (
    Delta,
    EngineDied,
    Event,
    Loaded,
    LoadFailed,
    LoadProgress,
    MachineMeasured,
    ModelSummary,
    Notice,
    PrefillProgress,
    Restore,
    StateSaved,
    TurnDone,
    TurnFailed,
    TurnStarted,
)
from qwen_core.protocol.scoring import Scored, ScoreFailed, ScoreProgress, Spelled
from qwen_core.protocol.stats import TurnStats
from qwen_tui.conversation.branch import Branch
from qwen_tui.conversation.load_advice import load_advice
from qwen_tui.conversation.rate_history import RateHistory
from qwen_tui.conversation.recorder import KeptConversation
from qwen_tui.conversation.turns import Item, Note, Turn

EngineState = Literal["starting", "loading", "ready", "no model", "engine down"]
Phase = Literal[
    "starting", "loading", "ready", "waiting", "prefill", "reasoning", "decoding", "stopping", "stopped", "no model",
    "engine down",
]  # fmt: skip


FULL_FROM = 0.8
"""Share of the context from which on it is said to fill up."""


@dataclass
class Conversation:
    """State of the app: `items` in the order they appear, the engine's state, and the figures of the status line."""

    system: str | None = None
    now: Callable[[], float] = time.monotonic
    kept: KeptConversation = field(default_factory=KeptConversation)
    engine: EngineState = "starting"
    model: ModelSummary | None = None
    items: list[Item] = field(default_factory=list)
    progress: LoadProgress | None = None
    context_tokens: int = 0
    rates: RateHistory = field(default_factory=RateHistory)
    stopping: bool = False
    state_path: str = ""
    held: TurnStats | None = None
    """What the engine said last of its memory; None where it has nothing of this conversation yet."""
    ways_back: dict[int, int] = field(default_factory=dict)
    """By the number of an effort's text how many tokens the next question need not read; empty where nobody knows."""
    warned_full: bool = False  # it was said that the context of this conversation fills up
    snapshot_budget: int = 0  # bytes that states of earlier turns may take
    _next_turn: int = 1
    _ids: tuple[int, ...] = ()
    _known: int = 0  # of the messages, so many were fed as `_ids`
    _ids_from: str = ""
    _restore_after_load: bool = False

    # What the screen asks.

    @property
    def turns(self) -> list[Turn]:
        return [item for item in self.items if isinstance(item, Turn)]

    @property
    def latest(self) -> Iterator[Turn]:
        """The turns from the last one on backwards: what is asked at every event must not go through all of them."""
        return (item for item in reversed(self.items) if isinstance(item, Turn))

    @property
    def current(self) -> Turn | None:
        """The turn being answered."""
        last = next(self.latest, None)
        return last if last is not None and last.running else None

    @property
    def phase(self) -> Phase:
        """One word for the state indicator."""
        if self.engine != "ready":
            return self.engine
        turn = self.current
        if turn is not None:
            if self.stopping:
                return "stopping"
            if turn.state in ("waiting", "prefill", "reasoning", "decoding"):
                return turn.state
        last = next(self.latest, None)
        return "stopped" if last is not None and last.finish_reason == "cancelled" else "ready"

    def last_answer(self) -> str:
        return next((turn.answer for turn in self.latest if turn.answer), "")

    @property
    def unready(self) -> str:
        """Why the engine can be asked nothing, "" if it can, also while it answers."""
        if self.engine in ("starting", "loading"):
            return "Still loading: your text is kept, press Enter again when the model is ready."
        if self.engine == "no model":
            return "No model is loaded: your text is kept. /model opens another."
        if self.engine == "engine down":
            return "The engine is down: your text is kept. Ctrl+T starts it again."
        return ""

    @property
    def refusal(self) -> str:
        """Why nothing can be sent now, "" if it can."""
        answering = "Still answering: your text is kept. Esc stops the answer first." if self.current else ""
        return self.unready or answering

    @property
    def live_tok_s(self) -> float | None:
        """How fast the answer comes at this moment; None where none is being decoded."""
        turn = self.current
        if turn is None or turn.stats is None or turn.state not in ("reasoning", "decoding"):
            return None
        return turn.stats.live_tok_s

    @property
    def is_nearly_full(self) -> bool:
        """Whether little of the context is left: time to make room."""
        return self.model is not None and self.context_tokens >= FULL_FROM * self.model.context_limit

    @property
    def next_number(self) -> int:
        """The number that the next turn gets."""
        return self._next_turn

    # What the person does.

    def ask(self, text: str, shown: str = "") -> Turn:
        """A new turn for `text`, which the person wrote as `shown` if that is given; the caller sends it."""
        turn = Turn(self._next_turn, text, shown=shown)
        self._next_turn += 1
        self.items.append(turn)
        self.rates, self.stopping = RateHistory(), False
        return turn

    def begin_aside(self, kept_id: int, text: str, shown: str) -> Turn:
        """A new conversation whose first question is asked of the present one: the engine goes on with that until the
        answer is there, so the tokens that it feeds are not those of the new one.
        """
        self.kept, self.state_path = KeptConversation(kept_id), ""
        tokens = self.context_tokens
        self._put([], (), "", 0)
        self.context_tokens = tokens
        turn = self.ask(text, shown)
        turn.aside = True
        return turn

    def note(self, text: str, kind: Literal["notice", "error"] = "notice") -> Note:
        """A line of the program's own. The same line twice in a row is shown once."""
        last = self.items[-1] if self.items else None
        if isinstance(last, Note) and last.text == text and last.kind == kind:
            return last
        note = Note(text, kind)
        self.items.append(note)
        return note

    def clear(self) -> Restore:
        """Begin a new conversation; the returned command tells the engine."""
        self.kept, self.state_path = KeptConversation(), ""
        self._put([], (), "", 0)
        return self.restore()

    def load(self, kept: KeptConversation, branch: Branch) -> Restore:
        """Show a conversation, or another branch of this one, as it is on disk; the command puts it into the engine.

        Turns that are shown already stay the objects they are.
        """
        there = {(turn.question_id, turn.answer_id, turn.place, turn.state): turn for turn in self.turns}
        same = kept.id == self.kept.id
        self.system, self.kept = branch.system, kept
        items: list[Item] = [
            (there.get((turn.question_id, turn.answer_id, turn.place, turn.state)) if same else None) or turn
            for turn in branch.turns
        ]
        self._put(items, branch.ids, branch.fingerprint, branch.known)
        self._next_turn = max([self._next_turn, *(turn.number + 1 for turn in branch.turns)])
        return self.restore(saved_state=not same)

    def cut(self, turn: Turn, ids: tuple[int, ...], fingerprint: str, known: int) -> Restore:
        """Take `turn` and all after it out; `ids` are the tokens fed for the first `known` messages of what is left."""
        self._put(self.items[: self.items.index(turn)], ids, fingerprint, known)
        return self.restore()

    def go_on(self, turn: Turn) -> Turn:
        """The answer of the last turn goes on, as a turn of a new number that takes its place."""
        again = replace(turn, number=self._next_turn, state="waiting", finish_reason=None, error="", prefilled=0)
        again.to_prefill, again.prefill_began, again.prefill_s = 0, None, None
        again.before = turn.stats
        self._next_turn += 1
        self.items[self.items.index(turn)] = again
        self.rates, self.stopping = RateHistory(), False
        return again

    def _put(self, items: list[Item], ids: tuple[int, ...], fingerprint: str, known: int) -> None:
        self.items[:] = items
        self._ids, self._ids_from, self._known = ids, fingerprint, known
        stats = next((turn.stats for turn in self.latest if turn.stats is not None), None)
        self.context_tokens = len(ids) or (stats.context_tokens if stats is not None else 0)
        self.held, self.rates, self.warned_full = None, RateHistory(), False

    def forget(self, turn: Turn) -> Restore:
        """Take an unanswered turn out, to send its question again."""
        self.items.remove(turn)
        return self.restore()

    def restarting(self) -> None:
        """The engine is being started again: once the model is loaded, the conversation must be put back."""
        self._interrupt()
        self.engine, self.progress, self.held, self.ways_back = "starting", None, None, {}
        self._restore_after_load = bool(self.turns) or self.system is not None

    def restore(self, *, saved_state: bool = False) -> Restore:
        """The conversation as the engine needs it back; one that is not ready gets it once it has loaded.

        `saved_state`: with the file of its state, where there is one. Only where the engine has nothing of it: an edit
        goes back to a snapshot, not to what lies on the disk.

        The ids go along only when they are known to be what was fed for these messages, or the first of them, and to be
        this model's. What an engine that died in an answer had been fed of it is not: the template renders that anew.
        """
        self._restore_after_load, self.ways_back = self.engine != "ready", {}
        messages = tuple(message for turn in self.turns for message in turn.messages())
        ours = self.model is None or self._ids_from in ("", self.model.fingerprint)
        ids = self._ids if ours and self._known <= len(messages) else ()
        known = self._known if ids and self._known < len(messages) else None
        return Restore(messages, ids, self.system, self.state_path if saved_state else "", known)

    def restore_rendered(self) -> Restore:
        """The same, rendered anew by the template: after a change to what stands before the first question."""
        self._ids, self._known = (), 0
        return self.restore()

    # What the engine says.

    def apply(self, event: Event) -> Restore | None:
        """Take one event in. A returned command is to be sent at once."""
        match event:
            case LoadProgress():
                self.engine, self.progress = "loading", event
            case Loaded(model):
                self.engine, self.model, self.progress, self.held = "ready", model, None, None
                if self._restore_after_load:
                    return self.restore(saved_state=True)
            case MachineMeasured(model):
                self.model = model
            case LoadFailed(message):
                self.engine, self.progress = "no model", None
                self.note(message, "error")
                self.note(load_advice(event))
            case EngineDied():
                self._died(event)
            case Notice(text):
                self.note(text)
            case StateSaved():
                saved = f"{event.tokens:,} tokens, {decimal_size(event.nbytes)}"
                self.note(f"The state is saved ({saved}): this conversation resumes without prefill.")
            case Counted() | ScoreProgress() | Scored() | ScoreFailed() | Spelled():
                pass  # whoever asked takes them up
            case _:
                self._apply_to_turn(event)
        return None

    def _apply_to_turn(self, event: TurnStarted | PrefillProgress | Delta | TurnDone | TurnFailed) -> None:
        turn = self.current
        if turn is None or turn.number != event.turn:
            return  # of a turn that is over or gone: nothing on the screen waits for it
        match event:
            case TurnStarted():
                turn.state = "prefill"
                turn.to_prefill, turn.cached = event.prompt_tokens - event.cached_tokens, event.cached_tokens
                turn.prefill_began = self.now()
                self.context_tokens, turn.foreseen_bytes = event.prompt_tokens, event.foreseen_bytes
            case PrefillProgress():
                turn.state = "prefill"
                turn.prefilled, turn.to_prefill = event.done, event.total
                if turn.prefill_began is not None:
                    turn.prefill_s = self.now() - turn.prefill_began
            case Delta():
                self._delta(turn, event)
            case TurnDone():
                self._done(turn, event)
            case TurnFailed(_, message):
                turn.state, turn.error = "failed", message
                self._lose(turn)

    def _delta(self, turn: Turn, event: Delta) -> None:
        came_drafted = event.drafted or (False,) * len(event.pieces)
        for (part, text), drafted in zip(event.pieces, came_drafted, strict=True):
            turn.state = "reasoning" if part == "reasoning" else "decoding"
            turn.say(part, text, drafted=drafted)
        if turn.state in ("waiting", "prefill"):
            turn.state = "decoding"
        turn.experts = event.experts or turn.experts
        turn.decoded(event.ids, event.probabilities)
        turn.timeline += event.timeline
        if event.stats is not None:
            self._figures(turn, event.stats)
            if event.stats.live_tok_s is not None:
                self.rates.add(event.stats.live_tok_s)

    def _figures(self, turn: Turn, stats: TurnStats) -> None:
        turn.take(stats)
        self.held, self.context_tokens = stats, stats.context_tokens

    def _done(self, turn: Turn, event: TurnDone) -> None:
        turn.state, turn.finish_reason = "done", event.finish_reason
        # The stored message is what later turns see. An empty one (a session that keeps less) never takes text away.
        said = event.message
        if said.content or said.reasoning or said.tool_calls:
            turn.kept(said)
        self._figures(turn, event.stats)
        self.stopping, self.ways_back = False, dict(event.ways_back)
        self._ids, self._known = () if turn.aside else event.ids, sum(len(turn.messages()) for turn in self.turns)
        self._ids_from = self.model.fingerprint if self.model is not None else ""

    def _died(self, event: EngineDied) -> None:
        self._interrupt()
        self.engine, self.progress, self.held, self.ways_back = "engine down", None, None, {}
        log = f" · log: {event.log_path}" if event.log_path else ""
        self.note(f"{event.reason}{log}", "error")

    def _interrupt(self) -> None:
        """The running turn, if any, ends here and keeps its text."""
        self.stopping = False
        turn = self.current
        if turn is not None:
            turn.state = "interrupted"
            self._lose(turn)

    def _lose(self, turn: Turn) -> None:
        """What the engine was fed for `turn` is not known. An answer that went on has lost what it had been before."""
        before = sum(len(other.messages()) for other in self.turns if other is not turn)
        if turn.has_text and self._known > before:
            self._ids, self._known = (), 0
