"""How soon the screen is drawn again while an answer streams: ten times a second, unless that took too much."""

import os
from asyncio import get_running_loop
from collections.abc import Callable
from time import monotonic, thread_time

from textual.message_pump import MessagePump

INTERVAL = 0.09  # seconds from one drawing to the next, a little less than between two events of a stream
SLOWEST = 0.2  # however slow the machine is
SHARE = 0.015  # of all processors, at most, for all that the screen does: on a small machine the model needs the rest
SOON = 0.01  # for what follows at once to be part of the drawing


class DrawPace:
    """`began` at every drawing; `wait` then says how long the next one has to wait.

    What counts is the processor time of this thread since the last drawing began: putting it on the screen comes after
    it, in the toolkit's own time.
    """

    def __init__(
        self,
        clock: Callable[[], float] = monotonic,
        spent: Callable[[], float] = thread_time,
        processors: int | None = None,
    ) -> None:
        """`processors`: how many the machine has; None finds out."""
        self._clock, self._spent = clock, spent
        self._share = SHARE * (processors or os.cpu_count() or 1)
        self._began_at = -SLOWEST
        self._spent_at = spent()

    @classmethod
    def for_app(cls, *, is_headless: bool) -> "DrawPace":
        """Without a terminal nobody waits for the processor but whoever drives the app: no share is kept then."""
        return cls(spent=lambda: 0.0) if is_headless else cls()

    def began(self) -> None:
        self._began_at, self._spent_at = self._clock(), self._spent()

    def call(self, screen: MessagePump, draw: Callable[[], object]) -> None:
        """Have `screen` call `draw` when that is due. A timer of the toolkit's would be a task each time."""
        get_running_loop().call_later(self.wait(), screen.call_next, draw)

    def wait(self) -> float:
        """Seconds from now."""
        interval = min(max(INTERVAL, (self._spent() - self._spent_at) / self._share), SLOWEST)
        return max(SOON, self._began_at + interval - self._clock())
