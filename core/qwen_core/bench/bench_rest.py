"""Waiting between repeats so that a person can end it: needs no MLX, so that both kinds of benchmark can use it."""

import time
from collections.abc import Callable

# A signal handler that only sets a flag does not end a sleep, so the flag is looked at this often.
STEP_S = 0.125


def rest(seconds: float, stop: Callable[[], bool], pause: Callable[[float], None] = time.sleep) -> None:
    """Wait `seconds` by calls of `pause`, or until `stop` says so."""
    left = seconds
    while left > 0 and not stop():
        pause(min(left, STEP_S))
        left -= STEP_S
