"""Importance matrices in llama.cpp's older format (.dat), as the tensors that its newer one has.

A count of entries, each a name, a number of calls and values; then the number of calls and the name of the text
(tools/imatrix/imatrix.cpp, save_imatrix_legacy). A value is the mean square of a channel times the calls.
"""

import struct
from pathlib import Path

import numpy as np

from qwen_core.convert.gguf_bounds import MAX_ENTRIES

MAX_NAME_BYTES = 256
# The only entries whose values are those of several experts, one after the other.
_STACKS = "_exps."


def read_dat(path: Path, sums: str, counts: str, experts: int) -> dict[str, np.ndarray]:
    """`NAME` + `sums` [channels] and `NAME` + `counts` of every entry; `experts` is how many a stack has.

    Raises ValueError where the bytes are no such file. What comes behind the entries is not read.
    """
    data = path.read_bytes()
    tensors: dict[str, np.ndarray] = {}
    (entries,), place = struct.unpack_from("<i", data), 4
    if not 0 < entries <= MAX_ENTRIES:
        raise ValueError(f"it would have {entries} entries")
    for _ in range(entries):
        name, place = _name(data, place)
        calls, size = struct.unpack_from("<ii", data, place)
        place += 8
        if size <= 0 or size * 4 > len(data) - place:
            raise ValueError(f"an entry would have {size} values")
        tensors[name + sums] = np.frombuffer(data, "<f4", size, place).copy()
        tensors[name + counts] = np.full(experts if _STACKS in name else 1, calls, np.float32)
        place += size * 4
    return tensors


def _name(data: bytes, place: int) -> tuple[str, int]:
    (length,) = struct.unpack_from("<i", data, place)
    end = place + 4 + length
    if not 0 < length <= MAX_NAME_BYTES or end > len(data):
        raise ValueError(f"a name would have {length} bytes")
    return data[place + 4 : end].decode(), end
