"""From the steps of a turn to the few events a second that a screen can use. Pure but for the clock handed in.

A `Session` yields a `StreamEvent` a token; `TurnBatcher` joins them into `Delta`s without losing or reordering a piece
or an id. `Throttle` thins reports of which only the latest matters. Sending is worker.py's business.
"""

from collections.abc import Callable
from itertools import groupby
from operator import itemgetter
from typing import Generic, TypeVar

from qwen_core.protocol.events import Delta, Event, ExpertUse, Notice, PrefillProgress, StreamEvent, TurnStarted
from qwen_core.protocol.pieces import Piece, joined
from qwen_core.protocol.probabilities import Probabilities, together
from qwen_core.protocol.stats import TurnStats
from qwen_core.protocol.timeline import Stopwatch

INTERVAL_S = 1 / 10
"""As often as a screen draws: between two drawings nobody sees more, and each event wakes three threads of the app."""

Clock = Callable[[], float]
Report = TypeVar("Report")


class Throttle(Generic[Report]):
    """At most one report in `interval` seconds; the latest is never lost, `flush` gives it."""

    def __init__(self, clock: Clock, interval: float = INTERVAL_S) -> None:
        self._clock = clock
        self._interval = interval
        self._sent_at: float | None = None
        self._held: list[Report] = []

    def push(self, report: Report) -> list[Report]:
        """The report if it is due, else nothing."""
        now = self._clock()
        if self._sent_at is not None and now - self._sent_at < self._interval:
            self._held = [report]
            return []
        self._sent_at = now
        self._held = []
        return [report]

    def flush(self) -> list[Report]:
        """The latest report, if it is still to be sent."""
        held, self._held = self._held, []
        return held


class TurnBatcher:
    """The events of one turn up to its last `Delta`: what `push` and `flush` return is to be sent in order."""

    def __init__(self, turn: int, clock: Clock, interval: float = INTERVAL_S) -> None:
        self._turn = turn
        self._clock = clock
        self._interval = interval
        self._prefill: Throttle[PrefillProgress] = Throttle(clock, interval)
        self._stopwatch = Stopwatch(clock())
        self._started = False
        self._sent_at: float | None = None
        self._pieces: list[Piece] = []
        self._drafted: list[bool] = []  # for each piece whether drafts said it
        self._ids: list[int] = []
        self._stats: TurnStats | None = None
        self._experts: ExpertUse | None = None
        self._probabilities: list[Probabilities] = []  # of all ids that are held back, or none

    def push(self, event: StreamEvent) -> list[Event]:
        """What is to be sent now that `event` happened. The turn's first token never waits."""
        out: list[Event] = []
        if not self._started:
            self._started = True
            # A turn that is over at once never announced what it would prefill; its figures are in its statistics.
            prompt = event.stats.prompt_tokens if event.stats else event.cached_tokens + event.to_prefill
            out.append(TurnStarted(self._turn, prompt, event.cached_tokens, event.prompt_ids, event.foreseen_bytes))
        self._stats = event.stats or self._stats
        self._experts = event.experts or self._experts
        self._stopwatch.note(
            self._clock(),
            tokens=len(event.token_ids),
            drafted=event.drafted,
            given=event.given,
            prefilled=event.prefilled,
            kept=event.kept_tokens,
        )
        if event.pieces or event.token_ids:
            out += self._prefill.flush()
            self._pieces += event.pieces
            self._drafted += [event.drafted] * len(event.pieces)
            self._ids += event.token_ids
            self._probabilities += [event.probabilities] if event.probabilities is not None else []
            if self._sent_at is None or self._clock() - self._sent_at >= self._interval:
                out += self.flush()
        elif event.to_prefill and not event.done:
            out += self._prefill.push(
                PrefillProgress(self._turn, event.prefilled, event.to_prefill, event.cached_tokens)
            )
        if event.notice:
            out += [*self.flush(), Notice(event.notice)]
        if event.done:
            out += self.flush()
        return out

    def flush(self) -> list[Event]:
        """Everything that is still held back."""
        out: list[Event] = [*self._prefill.flush()]
        if self._pieces or self._ids:
            self._sent_at = self._clock()
            pieces, drafted = self._runs()
            ids, probabilities = tuple(self._ids), together(self._probabilities)
            times = self._stopwatch.taken()
            out.append(Delta(self._turn, pieces, ids, self._stats, drafted, self._experts, probabilities, times))
            self._pieces, self._drafted, self._ids, self._probabilities = [], [], [], []
        return out

    def _runs(self) -> tuple[tuple[Piece, ...], tuple[bool, ...]]:
        """The pieces, neighbours of one part as one where they came alike; and which of them drafts said, if any."""
        if not any(self._drafted):
            return joined(self._pieces), ()
        pieces: list[Piece] = []
        drafted: list[bool] = []
        for is_draft, run in groupby(zip(self._drafted, self._pieces, strict=True), key=itemgetter(0)):
            together = joined(piece for _, piece in run)
            pieces += together
            drafted += [is_draft] * len(together)
        return tuple(pieces), tuple(drafted)
