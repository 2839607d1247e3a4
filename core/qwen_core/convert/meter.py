"""Counts the bytes of the source that are done, and reports them."""

import time

from qwen_core.convert.plan import ConvertProgress, Progress


class Meter:
    """Of one run through `total` bytes."""

    def __init__(self, total: int, progress: Progress | None) -> None:
        self._total, self._progress = total, progress
        self._done, self._tensor, self._start = 0, "", time.monotonic()

    def begin(self, tensor: str) -> None:
        self._tensor = tensor
        self.reached(0)

    def reached(self, within: float) -> None:
        if self._progress is not None:
            elapsed = time.monotonic() - self._start
            self._progress(ConvertProgress(self._done + int(within), self._total, elapsed, self._tensor))

    def finish(self, nbytes: int) -> None:
        self._done += nbytes
        self.reached(0)
