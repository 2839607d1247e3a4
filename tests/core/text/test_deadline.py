"""A deadline interrupts what never ends, on the main thread and off it, and leaves timers and handlers as they were."""

import itertools
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from types import FrameType

import pytest

from qwen_core.text.deadline import DeadlineError, run_within

SHORT_S = 0.1
LONG_S = 600.0


def forever() -> None:
    for _ in itertools.count():
        pass


def swallowing() -> None:
    """Takes every ordinary error for its own, as code of a template engine may."""
    while True:
        try:
            forever()
        except Exception:
            continue


def in_thread(function: Callable[[], object]) -> object:
    """What `function` returns, or the exception it raises, in a thread of its own."""
    result: list[object] = []

    def run() -> None:
        try:
            result.append(function())
        except BaseException as error:
            result.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return result[0]


@pytest.mark.parametrize("function", [forever, swallowing])
def test_what_never_ends_is_interrupted(function: Callable[[], None]) -> None:
    with pytest.raises(DeadlineError):
        run_within(SHORT_S, function)
    assert isinstance(in_thread(lambda: run_within(SHORT_S, function)), DeadlineError)


def test_results_and_errors_pass_through() -> None:
    def fail() -> None:
        raise ValueError("its own")

    assert run_within(LONG_S, lambda: 7) == 7
    assert in_thread(lambda: run_within(LONG_S, lambda: 7)) == 7
    with pytest.raises(ValueError, match="its own"):
        run_within(LONG_S, fail)
    assert isinstance(in_thread(lambda: run_within(LONG_S, fail)), ValueError)


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="this system has no interval timers")
@pytest.mark.parametrize("function", [forever, int])
def test_handler_and_timer_are_put_back(function: Callable[[], object]) -> None:
    def handler(_signal: int, _frame: FrameType | None) -> None:
        raise AssertionError("the other timer is ten minutes away")

    before = signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, LONG_S, 3.0)
    try:
        with suppress(DeadlineError):
            run_within(SHORT_S, function)
        assert signal.getsignal(signal.SIGALRM) is handler
        remaining, interval = signal.getitimer(signal.ITIMER_REAL)
        assert 0 < remaining <= LONG_S
        assert interval == 3.0
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="this system has no interval timers")
def test_no_timer_is_left_behind() -> None:
    with pytest.raises(DeadlineError):
        run_within(SHORT_S, forever)
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_tracing_is_put_back() -> None:
    def run() -> bool:
        def tracer(_frame: FrameType, _event: str, _argument: object) -> None:
            return None

        sys.settrace(tracer)
        try:
            run_within(LONG_S, int)
            return sys.gettrace() is tracer
        finally:
            sys.settrace(None)

    assert in_thread(run) is True
