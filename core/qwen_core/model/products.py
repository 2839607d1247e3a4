"""The outputs of several projections of one input, joined in one array or each in its own."""

from collections.abc import Sequence

from qwen_core.device.backend import mx


class Products:
    """`arrays`: one [1, T, sum of widths] that holds all parts, or [1, T, width] of each; `ends`: where each part ends
    in the joined one."""

    __slots__ = ("_views", "arrays", "ends")

    def __init__(self, arrays: Sequence[mx.array], ends: Sequence[int]) -> None:
        self.arrays = arrays
        self.ends = ends
        self._views = arrays if len(arrays) > 1 else None

    @property
    def tokens(self) -> int:
        return self.arrays[0].shape[1]

    @property
    def views(self) -> Sequence[mx.array]:
        """Each part by itself: [1, T, width]."""
        if self._views is None:
            self._views = list(mx.split(self.arrays[0], self.ends[:-1], axis=-1))
        return self._views

    def place(self, part: int) -> tuple[mx.array, int]:
        """The array that a part lies in, whole, and its first column: what reads it there copies nothing."""
        if len(self.arrays) > 1:
            return self.arrays[part], 0
        return self.arrays[0], self.ends[part - 1] if part else 0

    def last(self) -> "Products":
        """Of the last token alone."""
        return Products([array[:, -1:] for array in self.arrays], self.ends)
