"""`run --meter`: the figures of a running answer as JSON lines on stderr, four a second, for plotting elsewhere."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from threading import Event, Lock, Thread
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:  # slow to import, and the help of the program needs none of it
    from qwen_core.events import StreamEvent


INTERVAL_S = 0.25


class Meter:
    """Writes one object a line: `t` (seconds since the first event), `phase`, and every figure that is known.

    phase: "prefill" with `prefilled`, `to_prefill` and `cached_tokens`; "decode" and "done" with the fields of
    `TurnStats`, derived ones included. The last line of a turn is always written.

    Once nobody reads them any more it writes nothing: the answer is what was asked for. Entered as a context it has a
    thread, which writes the last figures again where a step takes longer than a line may: a plot has no holes while a
    long prompt is read.
    """

    def __init__(self, out: TextIO, clock: Callable[[], float] = time.perf_counter) -> None:
        self._out = out
        self._is_read = True
        self._clock = clock
        self._began: float | None = None
        self._due = 0.0
        self._last: StreamEvent | None = None  # that had figures, of a turn that goes on
        self._lock = Lock()
        self._over = Event()
        self._thread = Thread(target=self._run, name="meter", daemon=True)

    def __enter__(self) -> Meter:
        self._thread.start()
        return self

    def __exit__(self, *unused: object) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._over.wait(INTERVAL_S / 5):
            self.tick()

    def event(self, event: StreamEvent) -> None:
        """Take one step of the answer."""
        with self._lock:
            now = self._clock()
            if self._began is None:
                self._began = now
            elapsed = now - self._began
            if event.done and event.stats is not None:
                self._last = None
                self._write(elapsed, "done", {**event.stats.as_dict(), "finish_reason": event.finish_reason})
            elif event.stats is not None or event.to_prefill:
                self._last = event
                self._write_if_due(elapsed, event)

    def tick(self) -> None:
        """Write the last figures again if a line is due."""
        with self._lock:
            if self._last is not None and self._began is not None:
                self._write_if_due(self._clock() - self._began, self._last)

    def _write_if_due(self, elapsed: float, event: StreamEvent) -> None:
        if elapsed < self._due or not self._is_read:
            return
        if event.stats is not None:
            self._write(elapsed, "decode", event.stats.as_dict())
        else:
            figures = {name: getattr(event, name) for name in ("prefilled", "to_prefill", "cached_tokens")}
            self._write(elapsed, "prefill", figures)

    def _write(self, elapsed: float, phase: str, figures: dict[str, Any]) -> None:
        # A token that comes late must not make all later lines late: four a second, if not evenly.
        self._due = max(self._due, elapsed - INTERVAL_S / 2) + INTERVAL_S
        line = json.dumps({"t": round(elapsed, 4), "phase": phase, **figures}, allow_nan=False)
        try:
            self._out.write(line + "\n")
            self._out.flush()
        except OSError:
            self._is_read = False
