"""How a command ends: its exit codes, Ctrl+C as a flag while something is at work, and a rank that is lost."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

import click

if TYPE_CHECKING:  # slow to import, and the help of the program needs none of it
    from qwen_core.protocol.events import StreamEvent

OK, FAULT, INTERRUPTED = 0, 1, 130


def rank_lost(line: str) -> NoReturn:
    """Say which rank was lost, and end the program: its main thread waits for data that will never come."""
    click.echo(f"\nqwen-tui: {line}", err=True)
    os._exit(FAULT)


class Interrupt:
    """Ctrl+C as a flag that generation looks at. A second one no longer waits."""

    def __init__(self) -> None:
        self.raised = False
        self.raised_at = 0.0  # by the monotonic clock

    def __call__(self) -> bool:
        return self.raised

    def handle(self, number: int, frame: FrameType | None) -> None:
        if self.raised:
            raise KeyboardInterrupt
        self.raised, self.raised_at = True, time.monotonic()

    def timed(self, event: StreamEvent) -> StreamEvent:
        """The same event; the last one of an answer that was interrupted says how long the stop took."""
        if not self.raised or not event.done or event.stats is None:
            return event
        lost = max(0.0, time.monotonic() - self.raised_at)
        return replace(event, stats=replace(event.stats, stop_s=lost))


@contextmanager
def interruptible() -> Iterator[Interrupt]:
    """While this is open, SIGINT sets the flag instead of ending the process."""
    interrupt = Interrupt()
    before = signal.signal(signal.SIGINT, interrupt.handle)
    try:
        yield interrupt
    finally:
        signal.signal(signal.SIGINT, before)
