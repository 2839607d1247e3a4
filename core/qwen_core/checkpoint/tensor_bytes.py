"""Ranges of stored tensors, read from their files into memory.

Read, not mapped: a mapped page behind the end of a file that was cut short meanwhile ends the process by a signal. A
read that gives too little is an error like any other.
"""

from io import FileIO
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from qwen_core.checkpoint.headers import TensorInfo
from qwen_core.errors import CheckpointError, quote


class TensorBytes:
    """Reads what it is asked for, each file opened once. A context manager; of one thread."""

    def __init__(self) -> None:
        self._files: dict[Path, FileIO] = {}

    def __enter__(self) -> "TensorBytes":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        for file in self._files.values():
            file.close()
        self._files.clear()

    def read(self, info: TensorInfo, begin: int, end: int) -> NDArray[np.uint8]:
        """Bytes [begin, end) of a tensor, in memory of its own that is aligned for any element type.

        Raises CheckpointError where the file cannot be read, or has become shorter.
        """
        where = f"{quote(info.file)}: tensor {quote(info.name)}"
        data = np.empty(end - begin, np.uint8)
        done = 0
        try:
            file = self._files.get(info.file)
            if file is None:
                file = self._files[info.file] = FileIO(info.file)
            file.seek(info.offset + begin)
            while done < data.size:
                count = file.readinto(data.data[done:])
                if not count:
                    raise CheckpointError(f"{where} cannot be read: the file became shorter after it was opened")
                done += count
        except (OSError, ValueError) as error:
            raise CheckpointError(f"{where} cannot be read: {quote(error)}") from None
        return data

    def groups(self, info: TensorInfo, run: range, groups: int) -> NDArray[np.uint8]:
        """The share of a run of groups in a tensor that all `groups` share evenly."""
        each = info.nbytes // groups
        return self.read(info, run.start * each, run.stop * each)
