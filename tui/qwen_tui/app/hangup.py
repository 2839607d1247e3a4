"""What happens when the terminal goes away: a closed window, a lost connection. The app leaves and its engine with it.

The signal may also come while the terminal is there (`kill -HUP`): then leaving gives it back as it was. What is drawn
on one that is gone goes nowhere.
"""

import os
import signal
from asyncio import AbstractEventLoop
from collections.abc import Callable
from threading import Timer
from types import FrameType

GRACE_S = 7.0
"""With what a worker may take that finds its app gone, less than ten seconds."""


def leave_on_hangup(loop: AbstractEventLoop, leave: Callable[[], object]) -> None:
    """On SIGHUP call `leave` in `loop`, and end the process after GRACE_S if it is still there. Main thread only."""

    def hung_up(number: int, frame: FrameType | None) -> None:
        if not os.isatty(0):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            for stream in (1, 2):
                os.dup2(nowhere, stream)
        # A hang-up also continues the process, and the toolkit would take that for a return to its terminal.
        signal.signal(signal.SIGCONT, _nothing)
        end = Timer(GRACE_S, os._exit, [1])
        end.daemon = True
        end.start()

    # The loop's own handler wakes a loop that was about to wait, and calls `leave`. The rest is done in the signal
    # itself: the loop may be waiting for the terminal at this very moment.
    loop.add_signal_handler(signal.SIGHUP, leave)
    signal.signal(signal.SIGHUP, hung_up)


def _nothing(number: int, frame: FrameType | None) -> None:
    pass
