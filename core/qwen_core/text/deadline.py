"""Run a function that may never end, for a limited time.

On the main thread an interval timer interrupts it, whatever Python it runs. Elsewhere (another thread, or a system
without interval timers) a trace function looks at the clock on every line: slower, and blind inside one long call of
the C library, so what runs there must also be kept from making huge values (template_sandbox.py does).
"""

import signal
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Any, TypeVar

T = TypeVar("T")

_REPEAT_S = 0.05


class DeadlineError(BaseException):
    """The time is over. Not an Exception, so that what is interrupted cannot take it for an error of its own."""


def run_within(seconds: float, function: Callable[[], T]) -> T:
    """`function()`, or DeadlineError once `seconds` of wall clock are over. Timer, handler and tracer are put back."""
    # A handler that was not installed from Python reads as None, and could not be put back.
    if _on_main_thread() and hasattr(signal, "setitimer") and signal.getsignal(signal.SIGALRM) is not None:
        return _with_timer(seconds, function)
    return _with_trace(seconds, function)


def _on_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


def _with_timer(seconds: float, function: Callable[[], T]) -> T:
    armed = True

    def expire(_signal: int, _frame: FrameType | None) -> None:
        if armed:
            raise DeadlineError

    began = time.monotonic()
    handler = signal.signal(signal.SIGALRM, expire)
    # Repeating: an exception raised inside a finaliser is dropped by Python.
    remaining, interval = signal.setitimer(signal.ITIMER_REAL, seconds, _REPEAT_S)
    try:
        try:
            return function()
        finally:
            armed = False
    finally:  # even if the timer fired on the line above: the next one is _REPEAT_S away
        armed = False
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)
        if remaining:
            signal.setitimer(signal.ITIMER_REAL, max(remaining - (time.monotonic() - began), 1e-3), interval)


def _with_trace(seconds: float, function: Callable[[], T]) -> T:
    end = time.monotonic() + seconds

    def trace(_frame: FrameType, _event: str, _argument: Any) -> Any:
        if time.monotonic() > end:
            raise DeadlineError
        return trace

    previous = sys.gettrace()
    sys.settrace(trace)
    try:
        return function()
    finally:
        sys.settrace(previous)
