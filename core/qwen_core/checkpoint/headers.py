"""Read the header of one safetensors file: name, dtype, shape and place of every tensor, no tensor bytes.

The safetensors library validates first. It gives no byte offsets in Python and names no tensor when it refuses, so
the JSON header is then read here as well, with the same rules (format description in the safetensors README) and with
messages that name the tensor. What a tensor means is directory.py's business.
"""

import math
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from safetensors import SafetensorError, safe_open

from qwen_core.errors import CheckpointError, quote
from qwen_core.files import parse_json_object, require_file

FORMAT_HEADER_BYTES = 100_000_000  # the safetensors library's own cap
# What the headers of one directory may hold in all. The full 27B has 0.25 MB of 1,732 tensors; parsing far more than
# that takes seconds and gigabytes before anything could be said about it.
MAX_HEADER_BYTES = 4 << 20
MAX_TENSORS = 20_000
MAX_DIMENSIONS = 32

# Bits of an element (safetensors 0.8). Files may hold more than this program runs, for example in a vision tower.
DTYPE_BITS = {
    "BOOL": 8, "U8": 8, "I8": 8, "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8,
    "U16": 16, "I16": 16, "F16": 16, "BF16": 16, "U32": 32, "I32": 32, "F32": 32,
    "U64": 64, "I64": 64, "F64": 64, "C64": 64, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6,
}  # fmt: skip


@dataclass(frozen=True)
class TensorInfo:
    """One tensor as its shard header describes it. `offset` counts bytes from the start of the file."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    file: Path
    offset: int
    nbytes: int


def read_header(path: Path) -> dict[str, TensorInfo]:
    """Every tensor of a safetensors file by its on-disk name.

    Raises CheckpointError naming the file, and the tensor where there is one to name: not a safetensors file, a file
    cut short, a name twice, ranges that overlap or leave gaps, a size that contradicts dtype and shape.
    """
    size = require_file(path)
    header = _read_header_bytes(path, size)
    refusal = _library_refusal(path)
    tensors = _parse(path, size, header)
    if refusal is not None:
        raise CheckpointError(f"{quote(path)} is not a valid safetensors file: {quote(refusal)}")
    return tensors


def _library_refusal(path: Path) -> str | None:
    """What the safetensors library says against the file; None if it accepts it. Maps the file, reads its header."""
    try:
        with safe_open(path, framework="numpy"):
            return None
    except (SafetensorError, OSError, ValueError) as error:
        return str(error) or type(error).__name__


def check_header_sizes(paths: Iterable[Path]) -> None:
    """Refuse headers that are too long in all, before any of them is read. Raises CheckpointError naming the longest.

    A hostile directory of many files would otherwise pass with each of them just below the limit.
    """
    lengths = {path: _header_length(path, require_file(path)) for path in paths}
    if sum(lengths.values()) > MAX_HEADER_BYTES:
        longest = max(lengths, key=lambda path: lengths[path])
        raise CheckpointError(f"{quote(longest)}: {_too_long(sum(lengths.values()), len(lengths))}")


def _header_length(path: Path, size: int) -> int:
    try:
        with path.open("rb") as file:
            return _read_length(file, path, size)
    except OSError as error:
        raise CheckpointError(f"{quote(path)} cannot be read: {quote(error.strerror or error)}") from None


def _parse(path: Path, size: int, header: bytes) -> dict[str, TensorInfo]:
    where = quote(path)
    start = 8 + len(header)
    entries = parse_json_object(header, f"{where}: header")
    metadata = entries.pop("__metadata__", None)
    if metadata is not None and not isinstance(metadata, dict):
        raise CheckpointError(f"{where}: header: __metadata__ is not an object")
    if len(entries) > MAX_TENSORS:
        raise CheckpointError(f"{where}: header of {len(entries):,} tensors, more than the {MAX_TENSORS:,} it may have")
    tensors = [_entry(path, name, entry, start) for name, entry in entries.items()]
    tensors.sort(key=lambda info: (info.offset, info.nbytes))
    position = start
    for info in tensors:
        if info.offset != position:
            kind = "overlaps the one before it" if info.offset < position else "leaves a gap before it"
            raise CheckpointError(
                f"{where}: tensor {quote(info.name)} {kind}: it begins at byte {info.offset - start} of the data, "
                f"expected {position - start}"
            )
        position += info.nbytes
        if position > size:
            raise CheckpointError(
                f"{where} is cut short: tensor {quote(info.name)} ends at byte {position:,}, but the file has "
                f"{size:,}; download it again"
            )
    if position != size:
        raise CheckpointError(f"{where}: {size - position:,} bytes follow the last tensor; the file is damaged")
    return {info.name: info for info in tensors}


def _read_header_bytes(path: Path, size: int) -> bytes:
    where = quote(path)
    try:
        with path.open("rb") as file:
            length = _read_length(file, path, size)
            header = file.read(length)
    except OSError as error:
        raise CheckpointError(f"{where} cannot be read: {quote(error.strerror or error)}") from None
    if len(header) < length:
        raise CheckpointError(f"{where} changed while it was read")
    return header


def _read_length(file: BinaryIO, path: Path, size: int) -> int:
    """The length of the header that `file` begins with, if it is one that can be read."""
    where = quote(path)
    prefix = file.read(8)
    if prefix == b"version ":
        raise CheckpointError(f"{where} is a Git LFS pointer, not the weights; run `git lfs pull` in it")
    if len(prefix) < 8:
        raise CheckpointError(f"{where} is cut short: {size} bytes hold no safetensors header")
    (length,) = struct.unpack("<Q", prefix)
    if length > FORMAT_HEADER_BYTES:
        raise CheckpointError(
            f"{where}: header of {length:,} bytes is over the format's limit of {FORMAT_HEADER_BYTES:,}; "
            "this is not a safetensors file, or it is damaged"
        )
    if 8 + length > size:
        raise CheckpointError(f"{where} is cut short: header of {length:,} bytes in a file of {size:,}")
    if length > MAX_HEADER_BYTES:
        raise CheckpointError(f"{where}: {_too_long(length, 1)}")
    return length


def _too_long(length: int, files: int) -> str:
    what = "header" if files == 1 else f"headers of {files:,} files"
    return (
        f"{what} of {length:,} bytes, more than the {MAX_HEADER_BYTES:,} that a model of this family may have; "
        "the file is damaged, or no such model"
    )


def _entry(path: Path, name: str, entry: Any, start: int) -> TensorInfo:
    where = f"{quote(path)}: tensor {quote(name)}"
    if not isinstance(entry, dict):
        raise CheckpointError(f"{where}: its header entry is not an object")
    dtype, shape, span = entry.get("dtype"), _sizes(entry.get("shape")), _sizes(entry.get("data_offsets"))
    if not isinstance(dtype, str) or dtype not in DTYPE_BITS:
        raise CheckpointError(f"{where}: dtype {quote(repr(dtype))} is unknown")
    if shape is None:
        raise CheckpointError(f"{where}: shape {quote(repr(entry.get('shape')))} is not a list of sizes")
    if span is None or len(span) != 2 or span[0] > span[1]:
        raise CheckpointError(f"{where}: data_offsets {quote(repr(entry.get('data_offsets')))} are not a range")
    bits = math.prod(shape) * DTYPE_BITS[dtype]
    begin, end = span
    if bits % 8 or bits // 8 != end - begin:
        raise CheckpointError(
            f"{where}: {end - begin:,} bytes of data contradict dtype {dtype} and shape "
            f"{quote('x'.join(map(str, shape)))}"
        )
    return TensorInfo(name, dtype, tuple(shape), path, start + begin, end - begin)


def _sizes(value: Any) -> list[int] | None:
    """`value` if it is a short list of whole numbers that fit the format's 64 bits, else None."""
    if not isinstance(value, list) or len(value) > MAX_DIMENSIONS:
        return None
    if all(isinstance(v, int) and not isinstance(v, bool) and 0 <= v < 1 << 64 for v in value):
        return value
    return None
