"""From the steps of a turn to the few events a second that a screen can use. Pure but for the clock handed in.

A `Session` yields a `StreamEvent` a token; `TurnBatcher` joins them into `Delta`s without losing or reordering a piece
or an id. `Throttle` thins reports of which only the latest matters. Sending is worker.py's business.
"""

from collections.abc import Callable
from typing import Generic, TypeVar

from qwen_core.protocol.events import Delta, Event, Notice, Part, PrefillProgress, StreamEvent, TurnStarted
from qwen_core.protocol.stats import TokenRate, TurnStats

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
        self._rate = TokenRate()
        self._started = False
        self._sent_at: float | None = None
        self._pieces: list[tuple[Part, list[str]]] = []
        self._ids: list[int] = []
        self._part: Part | None = None
        self._stats: TurnStats | None = None
        self._prompt = self._generated = self._reasoning = 0

    def push(self, event: StreamEvent) -> list[Event]:
        """What is to be sent now that `event` happened. The turn's first token never waits."""
        out: list[Event] = []
        if not self._started:
            self._started = True
            # A turn that is over at once never announced what it would prefill; its figures are in its statistics.
            self._prompt = event.stats.prompt_tokens if event.stats else event.cached_tokens + event.to_prefill
            out.append(TurnStarted(self._turn, self._prompt, event.cached_tokens, event.prompt_ids))
        self._stats = event.stats or self._stats
        pieces = _pieces(event)
        if pieces or event.token_ids:
            out += self._prefill.flush()
            self._keep(pieces, event.token_ids)
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
            out.append(
                Delta(
                    turn=self._turn,
                    pieces=tuple((part, "".join(texts)) for part, texts in self._pieces),
                    ids=tuple(self._ids),
                    generated_tokens=self._generated,
                    reasoning_tokens=self._reasoning,
                    context_tokens=self._prompt + self._generated,
                    live_tok_s=self._rate.per_second,
                    stats=self._stats,
                )
            )
            self._pieces, self._ids = [], []
        return out

    def _keep(self, pieces: list[tuple[Part, str]], ids: tuple[int, ...]) -> None:
        for part, text in pieces:
            self._part = part
            if self._pieces and self._pieces[-1][0] == part:
                self._pieces[-1][1].append(text)
            else:
                self._pieces.append((part, [text]))
        if ids:
            self._ids += ids
            self._generated += len(ids)
            # A token without text of its own (half a character, a closing tag) goes with the part it stands in.
            self._reasoning += len(ids) if self._part == "reasoning" else 0
            self._rate.arrived(len(ids), self._clock())


def _pieces(event: StreamEvent) -> list[tuple[Part, str]]:
    """The text of an event as pieces: one at most, and none for an event without text."""
    texts: tuple[tuple[Part, str], ...] = (
        ("reasoning", event.reasoning),
        ("answer", event.text),
        ("tool_call", event.tool_call),
    )
    return [(part, text) for part, text in texts if text]
