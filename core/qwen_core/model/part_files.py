"""Saved states of several ranks: each keeps its own part, in a file of its own.

Rank 0's is the file that a person knows (session/state_file.py); it names the others' and has the mark that tells them
from those of another time.
"""

import os
import re
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex
from typing import Self, cast

from qwen_core.checkpoint.headers import read_header
from qwen_core.device.backend import mx
from qwen_core.files import private_folder
from qwen_core.model.state import State

_LONGEST = 40
_NAME = re.compile(rf"[A-Za-z0-9_-]{{1,{_LONGEST}}}")
_MARK = re.compile(r"[0-9a-f]{16}")


@dataclass(frozen=True)
class PartsName:
    """`name`: what the other ranks' files are named after; `mark`: what is in them, new for every time of saving."""

    name: str
    mark: str

    @classmethod
    def new(cls, wanted: str) -> Self:
        """For a state that is saved now."""
        return cls(re.sub(r"[^A-Za-z0-9_-]", "-", wanted)[:_LONGEST] or "state", token_hex(8))

    @classmethod
    def of_array(cls, array: mx.array | None) -> Self:
        """From what `array` gave. Raises ValueError for none, and for anything else."""
        if array is None:
            raise ValueError("it was saved where one machine had all of the model")
        if array.dtype == mx.uint8 and array.size <= 2 * _LONGEST:
            text = bytes(cast(list[int], array.reshape(-1).tolist())).decode("ascii", "replace")
            name, _, mark = text.partition(" ")
            if _NAME.fullmatch(name) and _MARK.fullmatch(mark):
                return cls(name, mark)
        raise ValueError("it does not say where the other ranks have their parts")

    def array(self) -> mx.array:
        """As it is kept beside rank 0's arrays."""
        return mx.array(list(f"{self.name} {self.mark}".encode()), mx.uint8)

    def file(self, folder: Path, rank: int) -> Path:
        """A rank's file. Raises ValueError for a name that may lead elsewhere."""
        if not _NAME.fullmatch(self.name):
            raise ValueError("no name of a file")
        return folder / f"{self.name}.rank{rank}.safetensors"


def write_part(file: Path, mark: str, state: State) -> None:
    """Write one rank's part of `state`. The file appears whole or not at all. Raises OSError or RuntimeError."""
    private_folder(file.parent)
    draft = file.with_name(f".{file.name}.{os.getpid()}.safetensors")
    try:
        mx.save_safetensors(str(draft), state.stored(), {"mark": mark})
        draft.replace(file)
    finally:
        draft.unlink(missing_ok=True)


def read_part(file: Path, mark: str, length: int, state: State) -> None:
    """Have the empty `state` become what a rank wrote of `length` tokens.

    Raises OSError, RuntimeError, ValueError or QwenError where there is no such part, or one that does not fit.
    """
    read_header(file)  # bounded and checked against the file's size before anything is allocated
    loaded = mx.load(str(file), format="safetensors", return_metadata=True)
    arrays, marks = loaded if isinstance(loaded, tuple) else ({}, {})
    if not isinstance(arrays, dict) or marks.get("mark") != mark:
        raise ValueError("a part of another state")
    state.adopt(length, arrays)
