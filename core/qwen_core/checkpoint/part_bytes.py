"""A part of a stored tensor, some of its rows or columns, read as if it lay in one piece.

Which part that is, is shard.py's business (model/).
"""

from dataclasses import dataclass
from itertools import accumulate, pairwise

import numpy as np
from numpy.typing import NDArray

from qwen_core.checkpoint.headers import TensorInfo
from qwen_core.checkpoint.tensor_bytes import TensorBytes

_SHORT = 16 << 10
"""Bytes of a run below which it is read together with what lies between it and the next: a page of the disk cache, of
which a Mac has 16 KiB, comes into memory whole anyway."""


@dataclass(frozen=True)
class Runs:
    """Where a part lies: `whole` is a sequence of `rows` of equal length, and of each the bytes of `spans` count."""

    whole: TensorInfo
    rows: int
    spans: tuple[tuple[int, int], ...]

    @property
    def is_one(self) -> bool:
        """Whether it lies in one piece."""
        return self.rows == 1 and len(self.spans) == 1

    @property
    def row_bytes(self) -> int:
        """Of the whole."""
        return self.whole.nbytes // self.rows

    @property
    def width(self) -> int:
        """Bytes of one row that count."""
        return sum(end - begin for begin, end in self.spans)


class PartBytes:
    """Stands where a `TensorBytes` is expected, for one part."""

    def __init__(self, source: TensorBytes, runs: Runs) -> None:
        self._source = source
        self._runs = runs

    def read(self, info: TensorInfo, begin: int, end: int) -> NDArray[np.uint8]:
        """Bytes [begin, end) of the part, counted as if nothing lay between its runs; raises as `TensorBytes.read`."""
        width = self._runs.width
        rows = range(begin // width, -(-end // width))
        if width >= _SHORT:
            pieces = [piece for row in rows for piece in self._row(row, begin - row * width, end - row * width)]
            return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)
        each = self._runs.row_bytes
        block = self._source.read(self._runs.whole, rows.start * each, rows.stop * each).reshape(len(rows), each)
        kept = np.concatenate([block[:, first:last] for first, last in self._runs.spans], axis=1).reshape(-1)
        return kept[begin - rows.start * width : end - rows.start * width]

    def _row(self, row: int, begin: int, end: int) -> list[NDArray[np.uint8]]:
        """What bytes [begin, end) of the part of one row, as far as it has them, lie in."""
        offset = row * self._runs.row_bytes
        ends = accumulate((last - first for first, last in self._runs.spans), initial=0)
        found = []
        for (first, _), (before, behind) in zip(self._runs.spans, pairwise(ends), strict=True):
            low, high = max(begin, before), min(end, behind)
            if low < high:
                place = offset + first - before
                found.append(self._source.read(self._runs.whole, place + low, place + high))
        return found
