"""What the ranks of one model say to each other while they compute: sums and gathers, by `mx.distributed` alone.

Who the others are and how they were started is engine/'s business.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from qwen_core.device.backend import mx


class Collectives:
    """Sums and gathers over the ranks of a group, in the order in which they are built.

    That order must be the same on every rank, and MLX alone would run what does not depend on each other as it likes:
    so each waits for the one before. Without a group it knows who it is, for loading, and `connect` comes later.
    """

    def __init__(self, group: mx.distributed.Group | None = None, *, rank: int = 0, ranks: int = 1) -> None:
        self.rank, self.ranks = rank, ranks
        self.messages = 0
        """Sums and gathers built so far."""
        self.bytes = 0
        """Bytes that this rank sends for them where the ranks form a ring; of two ranks, however they talk."""
        self.silent = False
        self._last: mx.array | None = None
        self.group: mx.distributed.Group | None = None
        if group is not None:
            self.rank, self.ranks = group.rank(), group.size()
            self.connect(group)

    def connect(self, group: mx.distributed.Group) -> None:
        """From now on the ranks of `group` are the others. Its size and this process's place in it must be known."""
        assert (group.rank(), group.size()) == (self.rank, self.ranks)
        self.group = group

    def sum(self, x: mx.array) -> mx.array:
        """The sum of every rank's `x`, the same bits on each."""
        self._count(2 * x.nbytes * (self.ranks - 1) // self.ranks)
        return x if self.silent else self._ordered(mx.distributed.all_sum, x)

    def gather(self, x: mx.array) -> mx.array:
        """Every rank's `x` [1, T, width] side by side, by rank: [1, T, width of all]."""
        self._count(x.nbytes * (self.ranks - 1))
        if self.silent:
            return mx.concatenate([x] * self.ranks, axis=-1)
        parts = self._ordered(mx.distributed.all_gather, x)  # [ranks, T, width]
        return parts.swapaxes(0, 1).reshape(1, x.shape[1], -1)

    def run(self) -> None:
        """Have all that was built computed, without waiting for it: others wait for it, whoever wants the result."""
        if self._last is not None:
            mx.async_eval(self._last)

    @contextmanager
    def silenced(self) -> Iterator[None]:
        """What is built here talks to nobody: to time what one rank takes alone. Its numbers mean nothing."""
        self.silent, before = True, self.silent
        try:
            yield
        finally:
            self.silent = before

    def _count(self, nbytes: int) -> None:
        self.messages += 1
        self.bytes += nbytes

    def _ordered(self, operation: Callable[..., mx.array], x: mx.array) -> mx.array:
        assert self.group is not None, "the ranks are not connected yet"
        if self._last is not None:
            x = mx.depends(x, self._last)
        self._last = operation(x, group=self.group)
        return self._last
