"""What happens when the terminal goes away: a closed window, a lost connection. The app leaves and its engine with it.

Drawing into a terminal that is gone fails, and the toolkit's writer then waits for ever: an app that nobody sees, and
an engine with all its memory. So from the hang-up on, what is drawn goes nowhere.
"""

import os
import signal
from asyncio import AbstractEventLoop
from collections.abc import Callable
from threading import Timer
from types import FrameType

GRACE_S = 10.0


def leave_on_hangup(loop: AbstractEventLoop, leave: Callable[[], object]) -> None:
    """On SIGHUP call `leave` in `loop`, and end the process after GRACE_S if it is still there. Main thread only."""

    def hung_up(number: int, frame: FrameType | None) -> None:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for stream in (1, 2):
            os.dup2(nowhere, stream)
        # A hang-up also continues the process, and the toolkit would take that for a return to its terminal.
        signal.signal(signal.SIGCONT, _nothing)
        end = Timer(GRACE_S, os._exit, [1])
        end.daemon = True
        end.start()
        loop.call_soon_threadsafe(leave)

    # Not the loop's own handler: the loop may be waiting for the terminal at this very moment.
    signal.signal(signal.SIGHUP, hung_up)


def _nothing(number: int, frame: FrameType | None) -> None:
    pass
