"""Whether the headers of a GGUF file can be true, before the gguf package reads them.

Its reader takes counts and lengths at their word: an array that claims 2^33 elements in fifty bytes keeps it busy, with
growing memory, for hours. Here they are walked once against the size of the file and nothing is kept. What is within
bounds may still be nonsense; the reader finds that out by itself.
"""

import struct
from pathlib import Path
from typing import BinaryIO

# Keys, array elements and tensors together: an importance matrix of the 27B has a few thousand, and the reader takes a
# second for ten thousand.
MAX_ENTRIES = 1 << 14
# Arrays within arrays. What llama.cpp writes has none.
_MAX_DEPTH = 4
_MAX_DIMENSIONS = 8
# Bytes of each scalar type by its number in the format; beside them are strings and arrays.
_SCALARS = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
_STRING, _ARRAY = 8, 9


def check_bounds(path: Path, ending: str) -> bool:
    """Whether the name of any tensor ends with `ending`. Raises ValueError for counts or lengths in the headers that
    the file has no room for, or that no importance matrix has."""
    with path.open("rb") as file:
        return _Walk(file, path.stat().st_size).headers(ending.encode())


class _Walk:
    """A position in the file, and how many more entries may come."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file, self._size = file, size
        self._position = 4  # behind the magic
        self._entries = MAX_ENTRIES
        self._order = "<"

    def headers(self, ending: bytes) -> bool:
        # The version is a small number: read in the wrong byte order its low half is empty.
        if self._number("I") & 0xFFFF == 0:
            self._order = ">"
        tensors, keys = self._number("Q"), self._number("Q")
        self._count(keys)
        self._count(tensors)
        for _ in range(keys):
            self._string()
            self._value(self._number("I"), 0)
        is_named = False
        for _ in range(tensors):
            self._string()
            is_named = self._ends_with(ending) or is_named
            dimensions = self._number("I")
            if dimensions > _MAX_DIMENSIONS:
                raise ValueError(f"a tensor of {dimensions:,} dimensions")
            self._skip(8 * dimensions + 4 + 8)  # sizes, type, offset
        return is_named

    def _ends_with(self, ending: bytes) -> bool:
        """Whether `ending` stands right before the position: of a name, however long it is, no more is read."""
        self._file.seek(self._position - len(ending))
        return self._file.read(len(ending)) == ending

    def _value(self, kind: int, depth: int) -> None:
        if kind in _SCALARS:
            self._skip(_SCALARS[kind])
        elif kind == _STRING:
            self._string()
        elif kind == _ARRAY and depth < _MAX_DEPTH:
            inner, length = self._number("I"), self._number("Q")
            self._count(length)
            if inner in _SCALARS:
                self._skip(_SCALARS[inner] * length)
                return
            for _ in range(length):
                self._value(inner, depth + 1)
        else:
            raise ValueError("arrays nested too deeply" if kind == _ARRAY else f"a value of the unknown type {kind}")

    def _count(self, count: int) -> None:
        """Take `count` entries from those that are left. Each has at least one byte."""
        self._entries -= count
        if count > self._size - self._position or self._entries < 0:
            raise ValueError(f"{count:,} entries in a file of {self._size:,} bytes")

    def _string(self) -> None:
        self._skip(self._number("Q"))

    def _number(self, form: str) -> int:
        begin, width = self._position, struct.calcsize(f"<{form}")
        self._skip(width)
        self._file.seek(begin)
        return int(struct.unpack(self._order + form, self._file.read(width))[0])

    def _skip(self, count: int) -> None:
        self._position += count
        if self._position > self._size:
            raise ValueError(f"its headers go on behind the end of the file ({self._size:,} bytes)")
