"""`run --meter`: the figures of a running answer as JSON lines on stderr, four a second, for plotting elsewhere."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:  # slow to import, and the help of the program needs none of it
    from qwen_core.events import StreamEvent


INTERVAL_S = 0.25


class Meter:
    """Writes one object a line: `t` (seconds since the first event), `phase`, and every figure that is known.

    phase: "prefill" with `prefilled`, `to_prefill` and `cached_tokens`; "decode" and "done" with the fields of
    `TurnStats`, derived ones included. The last line of a turn is always written.
    """

    def __init__(self, out: TextIO, clock: Callable[[], float] = time.perf_counter) -> None:
        self._out = out
        self._clock = clock
        self._began: float | None = None
        self._due = 0.0

    def event(self, event: StreamEvent) -> None:
        """Take one step of the answer."""
        now = self._clock()
        if self._began is None:
            self._began = now
        elapsed = now - self._began
        if event.done and event.stats is not None:
            self._write(elapsed, "done", {**event.stats.as_dict(), "finish_reason": event.finish_reason})
        elif elapsed < self._due:
            return
        elif event.stats is not None:
            self._write(elapsed, "decode", event.stats.as_dict())
        elif event.to_prefill:
            figures = {name: getattr(event, name) for name in ("prefilled", "to_prefill", "cached_tokens")}
            self._write(elapsed, "prefill", figures)

    def _write(self, elapsed: float, phase: str, figures: dict[str, Any]) -> None:
        # A token that comes late must not make all later lines late: four a second, if not evenly.
        self._due = max(self._due, elapsed - INTERVAL_S / 2) + INTERVAL_S
        line = json.dumps({"t": round(elapsed, 4), "phase": phase, **figures}, allow_nan=False)
        self._out.write(line + "\n")
        self._out.flush()
