"""A weight file as memory: the window of a tensor in a mapped file, for arrays that are the file itself.

Plain mmap and numpy; whether a view is adopted is decided in weights.py. What is copied is read (tensor_bytes.py).
"""

import mmap
from pathlib import Path

import numpy as np

from qwen_core.checkpoint.headers import TensorInfo
from qwen_core.errors import CheckpointError, quote


def window(offset: int, nbytes: int, page: int) -> tuple[int, int, int]:
    """The smallest run of whole pages that covers [offset, offset + nbytes): (start, length, delta).

    `start` and `length` are multiples of `page` and `delta = offset - start` is below it. Metal adopts only memory
    that begins on a page and is whole pages long.
    """
    start = offset // page * page
    delta = offset - start
    return start, -(-(delta + nbytes) // page) * page, delta


class MappedFile:
    """One file mapped read-only. Views keep the mapping alive; `close` drops it once no view is left.

    Raises OSError or ValueError from the constructor where the file system cannot map, and CheckpointError from
    `bytes_of` where the file has become shorter than its header said.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with path.open("rb") as file:
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self._bytes = np.frombuffer(self._map, dtype=np.uint8)

    def bytes_of(self, info: TensorInfo) -> np.ndarray:
        """The tensor's bytes, flat, as a view on the mapping.

        The file's length is checked again first: reading a mapping past the end of its file ends the process.
        """
        end = info.offset + info.nbytes
        if end > self._bytes.size or end > self._map.size():
            raise CheckpointError(f"{quote(self.path)} became shorter while tensor {quote(info.name)} was loaded")
        return self._bytes[info.offset : end]

    def window_of(self, info: TensorInfo) -> tuple[np.ndarray, int]:
        """(the bytes of the tensor's page window, where in it the tensor begins), as a view on the mapping.

        The last window of a file ends where the file does, which may be inside a page.
        """
        self.bytes_of(info)
        start, length, delta = window(info.offset, info.nbytes, mmap.PAGESIZE)
        return self._bytes[start : start + length], delta

    def pre_read(self, info: TensorInfo) -> None:
        """Bring the tensor's pages into memory now: a cold page inside a Metal command can trip the GPU watchdog."""
        pages, _ = self.window_of(info)
        pages[:: mmap.PAGESIZE].max(initial=0)

    def close(self) -> None:
        """Drop this object's hold on the mapping; it is unmapped with the last view on it."""
        self._bytes = np.empty(0, dtype=np.uint8)
        try:
            self._map.close()
        except BufferError:  # an adopted array still looks at it and keeps it
            return
