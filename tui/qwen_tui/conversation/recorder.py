"""Everything said is on disk before the screen shows it as done: turns on their way into the store.

`record` stands between the engine and the screen. It is called on the thread that delivers the engine's events, in
their order, and waits for the disk where an event says that something is over; a running answer is written every
`FLUSH_S`, so that a kill loses less than half a second of it. A store that fails never stops the chat: the turn goes
on unsaved, and a note says so once.
"""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Literal, TypeVar

from qwen_core.errors import QwenError
from qwen_core.protocol.events import (
    Delta,
    EngineDied,
    Event,
    GenerationSettings,
    Loaded,
    ModelSummary,
    TurnDone,
    TurnFailed,
    TurnStarted,
)
from qwen_core.protocol.pieces import Part
from qwen_core.protocol.probabilities import Probabilities, together
from qwen_core.protocol.stats import TurnStats, went_on
from qwen_core.protocol.timeline import Timeline
from qwen_tui.store import ModelIdentity, Store
from qwen_tui.store.thread import StoreThread

FLUSH_S = 0.4
Result = TypeVar("Result")


@dataclass
class KeptConversation:
    """What the store has of the conversation on the screen: its number, None before the first question is on disk."""

    id: int | None = None


@dataclass
class Beginning:
    """A turn to put on disk: a new question, another wording of `edits`, or another answer to `question_id`.

    `after`: the message that a new question follows on the screen, None for the first, "end" where that is not known.
    Another program may have gone on with the conversation: its model has not seen that.
    """

    turn: int
    kept: KeptConversation
    text: str
    shown: str
    settings: GenerationSettings
    system: str | None
    question_id: int | None = None
    edits: int | None = None
    after: int | Literal["end"] | None = "end"
    aside: bool = False  # see `Turn.aside`


@dataclass
class Begun:
    """What the store calls the parts of a turn that has begun."""

    question_id: int
    answer_id: int
    place: tuple[int, int]


@dataclass
class _Running:
    """What of an answer has come and is not on disk."""

    answer_id: int
    goes_on: bool = False  # it had tokens of its own before
    before: TurnStats | None = None  # its figures by then
    aside: bool = False  # the tokens fed for it are another conversation's
    pieces: list[tuple[Part, str]] = field(default_factory=list)
    ids: list[int] = field(default_factory=list)
    stats: TurnStats | None = None
    probabilities: list[Probabilities] = field(default_factory=list)
    timeline: Timeline = field(default_factory=Timeline)

    def finish(self, store: Store, done: TurnDone, model: ModelIdentity | None) -> None:
        ids, stats = () if self.aside else done.ids, went_on(self.before, done.stats)
        store.answers.finish(self.answer_id, done.message, done.finish_reason, ids, stats)
        before = store.probabilities.of(self.answer_id) if self.goes_on else None
        earlier = [before.probabilities] if before is not None and before.model == model else []
        found = whole([*earlier, *self.probabilities], stats.generated_tokens)
        if found is not None or before is not None:
            store.probabilities.keep(self.answer_id, found, model)
        begun = store.timelines.of(self.answer_id) if self.goes_on else Timeline()
        store.timelines.keep(self.answer_id, begun + self.timeline)


def whole(parts: Sequence[Probabilities], tokens: int) -> Probabilities | None:
    """Those of an answer of so many tokens, where the parts are all of it."""
    found = together(parts) if len({part.top for part in parts}) == 1 else None
    return found if found is not None and len(found) == tokens else None


def after(seconds: float, action: Callable[[], None]) -> None:
    """Have `action` done later, on a thread of its own that keeps no program alive."""
    timer = threading.Timer(seconds, action)
    timer.daemon = True
    timer.start()


def identity(model: ModelSummary) -> ModelIdentity:
    """A loaded model as the store knows it."""
    return ModelIdentity(model.fingerprint, model.path, model.name, model.variant, model.weight_bytes)


def stored_place(store: Store, question_id: int, answer_id: int) -> tuple[int, int]:
    """Which of how many alternatives this turn is, from 1."""
    alternatives = store.tree.alternatives(question_id)
    return (alternatives.index(answer_id) + 1 if answer_id in alternatives else 1), max(1, len(alternatives))


class Recorder:
    """`trouble` is called with a line for people where something could not be saved, from any thread."""

    def __init__(
        self,
        store: StoreThread,
        trouble: Callable[[str], None],
        later: Callable[[float, Callable[[], None]], None] = after,
    ) -> None:
        self._store = store
        self._trouble = trouble
        self._later = later
        self._lock = threading.Lock()
        self._running: dict[int, _Running] = {}
        self._flush_due = False
        self._told = ""
        self.model: ModelIdentity | None = None

    # What the person asks.

    def begin(self, new: Beginning) -> "Future[Begun | None]":
        """Put a question and the start of its answer on disk. None where the store could not take them."""
        return self._submit(lambda store: self._begin(store, new))

    def reopen(self, turn: int, answer_id: int, before: TurnStats | None = None) -> "Future[object]":
        """A stopped answer, whose figures are `before`, goes on under a new number of turn."""

        def work(store: Store) -> None:
            store.answers.reopen(answer_id)
            with self._lock:
                self._running[turn] = _Running(answer_id, goes_on=True, before=before)

        return self._submit(work)

    def _begin(self, store: Store, new: Beginning) -> Begun:
        if new.question_id is not None:
            question = new.question_id
        elif new.edits is not None:
            question = store.answers.edit(new.edits, new.text, new.shown)
        else:
            after = new.after
            if new.kept.id is None:
                after = "end"
                new.kept.id = store.conversations.begin(new.system, self.model)
            question = store.answers.ask(new.kept.id, new.text, new.shown, after=after)
        answer = store.answers.begin(question, new.settings, self.model)
        with self._lock:
            self._running[new.turn] = _Running(answer, aside=new.aside)
        return Begun(question, answer, stored_place(store, question, answer))

    # What the engine says.

    def record(self, event: Event) -> None:
        """Take in an event before the screen does."""
        match event:
            case Loaded(model):
                self.model = identity(model)
                self._submit(lambda store, used=self.model: store.models.used(used))
            case TurnStarted(turn, prompt_ids=ids):
                self._begun(turn, ids)
            case Delta():
                self._add(event)
            case TurnDone(turn):
                model = self.model
                self._end(turn, lambda store, its: its.finish(store, event, model))
            case TurnFailed(turn, message):
                self.flush()
                self._end(turn, lambda store, its: store.answers.fail(its.answer_id, message))
            case EngineDied():
                self.flush()
                for turn in self._turns():
                    self._end(turn, lambda store, its: store.answers.interrupt(its.answer_id))
            case _:
                pass

    def _begun(self, turn: int, ids: Sequence[int]) -> None:
        """Keep what the answer follows: with that, one that a crash cuts off is resumed token for token."""
        with self._lock:
            running = self._running.get(turn)
        if running is not None and ids and not running.goes_on and not running.aside:
            self._submit(lambda store: store.answers.prompt(running.answer_id, ids))

    def flush(self) -> None:
        """Hand what has come of running answers to the store."""
        with self._lock:
            self._flush_due = False
            # Handed over under the lock: what ends a turn must come after what it had said.
            for running in self._running.values():
                if running.pieces or running.ids:
                    said = (running.answer_id, running.pieces, running.ids, running.stats)
                    running.pieces, running.ids, running.stats = [], [], None
                    self._submit(lambda store, said=said: store.answers.append(*said))

    def _add(self, event: Delta) -> None:
        with self._lock:
            running = self._running.get(event.turn)
            if running is None:
                return
            running.pieces += event.pieces
            running.ids += event.ids
            running.probabilities += [event.probabilities] if event.probabilities is not None else []
            running.timeline += event.timeline
            if event.stats is not None:
                running.stats = went_on(running.before, event.stats)
            begin, self._flush_due = not self._flush_due, True
        if begin:
            self._later(FLUSH_S, self.flush)

    def _end(self, turn: int, work: Callable[[Store, _Running], None]) -> None:
        """The turn is over: its last word is on disk when this returns, or has failed to get there."""
        with self._lock:
            running = self._running.pop(turn, None)
        if running is not None:
            self._submit(lambda store: work(store, running)).result()

    def _turns(self) -> Sequence[int]:
        with self._lock:
            return list(self._running)

    # The store.

    def _submit(self, work: Callable[[Store], Result]) -> "Future[Result | None]":
        """`work` on the store's thread; None where it failed, which is said once."""

        def guarded(store: Store) -> Result | None:
            try:
                result = work(store)
            except QwenError as error:
                self._fail(str(error))
                return None
            self._told = ""
            return result

        finished: Future[Result | None] = Future()
        try:
            submitted = self._store.submit(guarded)
        except RuntimeError:  # the program is leaving
            finished.set_result(None)
            return finished

        def hand_over(done: "Future[Result | None]") -> None:
            error = done.exception()
            if error is not None:  # the store could not even be opened
                self._fail(str(error))
            with suppress(Exception):
                finished.set_result(None if error is not None else done.result())

        submitted.add_done_callback(hand_over)
        return finished

    def _fail(self, reason: str) -> None:
        if reason != self._told:
            self._told = reason
            self._trouble(f"This conversation is not being saved: {reason}")
