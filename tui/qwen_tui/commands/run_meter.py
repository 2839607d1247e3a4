"""`run --meter`: the figures of a running answer as JSON lines on stderr, four a second, for plotting elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Event, Lock, Thread
from typing import TYPE_CHECKING, Any, TextIO

from qwen_core.protocol.ranks import free_memory
from qwen_core.protocol.stats import remaining_s
from qwen_tui.commands.output import json_line
from qwen_tui.commands.run_answer import rank_fields

if TYPE_CHECKING:  # slow to import, and the help of the program needs none of it
    from qwen_core.protocol.events import ModelSummary, StreamEvent
    from qwen_core.protocol.stats import TurnStats


INTERVAL_S = 0.25


class RunMeter:
    """Writes one object a line: `t` (seconds since the first event), `phase`, and every figure that is known.

    phase: "prefill" with `prefilled`, `to_prefill`, `cached_tokens` and an estimate of the seconds that are left;
    "decode" and "done" with the fields of `TurnStats`, derived ones included. Once the model is known every line has
    what the panel shows of it: where the peak comes from, the longest context, the bytes of its weights in memory and
    the parts of those that a token reads; and the memory that is free, an estimate. The last line of a turn is always
    written.

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
        self._summary: ModelSummary | None = None
        self._model: dict[str, Any] = {}
        self._prefill_s = 0.0  # at the last step of it
        self._last: StreamEvent | None = None  # that had figures, of a turn that goes on
        self._lock = Lock()
        self._over = Event()
        self._thread = Thread(target=self._run, name="meter", daemon=True)

    def __enter__(self) -> RunMeter:
        self._thread.start()
        return self

    def __exit__(self, *unused: object) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._over.wait(INTERVAL_S / 5):
            self.tick()

    def loaded(self, model: ModelSummary) -> None:
        """What the lines from now on say of the model."""
        with self._lock:
            self._summary = model
            self._model = {
                "peak_source": model.peak_source,
                "context_limit": model.context_limit,
                "weights_in_memory_bytes": model.weights_in_memory,
                "token_parts": dict(model.token_parts),
            }

    def event(self, event: StreamEvent) -> None:
        """Take one step of the answer."""
        with self._lock:
            now = self._clock()
            if self._began is None:
                self._began = now
            elapsed = now - self._began
            if event.done and event.stats is not None:
                self._last = None
                self._write(elapsed, "done", {**self._figures(event.stats), "finish_reason": event.finish_reason})
            elif event.stats is not None or event.to_prefill:
                self._last, self._prefill_s = event, elapsed
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
            self._write(elapsed, "decode", self._figures(event.stats))
        else:
            figures = {name: getattr(event, name) for name in ("prefilled", "to_prefill", "cached_tokens")}
            figures["prefill_left_s"] = remaining_s(event.prefilled, event.to_prefill, self._prefill_s)
            self._write(elapsed, "prefill", figures)

    def _figures(self, stats: TurnStats) -> dict[str, Any]:
        model = self._summary
        if model is None:
            return {**stats.as_dict(), "free_memory_bytes": None}
        free = free_memory(model, stats.active_memory_bytes)
        return {**stats.as_dict(), "free_memory_bytes": free, **rank_fields(model, stats)}

    def _write(self, elapsed: float, phase: str, figures: dict[str, Any]) -> None:
        # A token that comes late must not make all later lines late: four a second, if not evenly.
        self._due = max(self._due, elapsed - INTERVAL_S / 2) + INTERVAL_S
        line = json_line({"t": round(elapsed, 4), "phase": phase, **self._model, **figures})
        try:
            self._out.write(line + "\n")
            self._out.flush()
        except OSError:
            self._is_read = False
