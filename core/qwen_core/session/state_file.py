"""The state of a conversation on disk, so that a long one goes on without prefill: a safetensors file.

It holds the ids that were fed and every array of the `State` after them, under the model's fingerprint, the compute
type, MLX's version and the number of ranks: a file that does not fit exactly is refused with one line, and prefill does
the work instead.
"""

import os
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import numpy as np

from qwen_core.checkpoint.headers import read_header
from qwen_core.device.backend import mx
from qwen_core.errors import QwenError, quote
from qwen_core.model.model import Model
from qwen_core.model.part import PartModel
from qwen_core.model.state import State

FORMAT = "qwen-tui state 1"
IDS = "ids"
RANKS = "number of ranks"


class StateFileError(QwenError):
    """A saved state cannot be written, or does not belong to this model and program."""


def save_state(path: Path, model: Model, fingerprint: str, ids: Sequence[int], state: State) -> int:
    """Write `state`, which holds exactly `ids`; bytes written. The file appears whole or not at all.

    Raises StateFileError where it cannot be written.
    """
    if not ids:
        raise StateFileError("there is nothing to save yet: the conversation has no tokens")
    arrays = {IDS: mx.array(list(ids), mx.int32), **state.stored(path.stem)}
    mx.eval(list(arrays.values()))
    # The library adds an ending of its own to any other.
    draft = path.with_name(f".{path.name}.{os.getpid()}.safetensors")
    try:
        mx.save_safetensors(str(draft), arrays, _marks(model, fingerprint))
        draft.replace(path)
        return path.stat().st_size
    except (OSError, RuntimeError) as error:
        draft.unlink(missing_ok=True)
        raise StateFileError(f"the state cannot be saved to {quote(path)}: {quote(error)}") from None


def load_state(path: Path, model: Model, fingerprint: str, ids: Sequence[int]) -> tuple[list[int], State]:
    """(ids, state) of a file that `save_state` wrote for a beginning of `ids`.

    Raises StateFileError, one line that says why the file is of no use here: damaged, of another model, type, program,
    MLX or number of ranks, or of another conversation.
    """
    where = f"the saved state {quote(path)}"
    try:
        header = read_header(path)  # bounded and checked against the file's size before anything is allocated
        loaded = mx.load(str(path), format="safetensors", return_metadata=True)
    except (QwenError, OSError, RuntimeError, ValueError) as error:
        raise StateFileError(f"{where} is damaged: {quote(error)}") from None
    arrays, marks = loaded if isinstance(loaded, tuple) else ({}, {})
    if not isinstance(arrays, dict):
        raise StateFileError(f"{where} is damaged: it holds no named arrays")
    marks.setdefault(RANKS, "1")  # earlier versions knew no other
    for name, value in _marks(model, fingerprint).items():
        if marks.get(name) != value:
            raise StateFileError(f"{where} is of another {name} ({quote(marks.get(name))}, here {quote(value)})")
    saved = arrays.pop(IDS, None)
    if saved is None or IDS not in header:
        raise StateFileError(f"{where} is damaged: it has no ids")
    found = [int(token) for token in np.array(saved).reshape(-1)]
    if not found or found != list(ids[: len(found)]):
        raise StateFileError(f"{where} is of another conversation")
    state = model.new_state()
    try:
        state.adopt(len(found), arrays)
    except ValueError as error:
        raise StateFileError(f"{where} is damaged: {quote(error)}") from None
    return found, state


def _marks(model: Model, fingerprint: str) -> dict[str, str]:
    ranks = model.collectives.ranks if isinstance(model, PartModel) else 1
    return {
        "format": FORMAT,
        "model": fingerprint,
        "compute type": model.dtype,
        "MLX": version("mlx"),
        RANKS: str(ranks),
    }
