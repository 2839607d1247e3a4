"""Read the header of one safetensors file: name, dtype, shape and place of every tensor, no tensor bytes.

The safetensors library validates it: types and sizes, ranges that overlap, leave gaps or do not end with the file. It
gives no byte offsets in Python, so the JSON is then read here as well. What is checked beside that is what the library
does not do: bounds on how much is read at all, a name twice (it takes the last one), an entry that is a list instead of
an object, types and dimensions that nothing here computes with; and of a file cut short it does not say that it is.
What a tensor means is directory.py's business.
"""

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from safetensors import SafetensorError, safe_open

from qwen_core.errors import CheckpointError, printable, quote
from qwen_core.files import parse_json_object, require_file

FORMAT_HEADER_BYTES = 100_000_000  # the safetensors library's own cap
# What the headers of one directory may hold in all. The full 27B's name 1,732 tensors in 0.25 MB; parsing far more than
# that would take seconds and gigabytes before anything could be said about it.
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

    @property
    def element_aligned(self) -> bool:
        """Whether it begins at a multiple of its own element size."""
        return self.offset * 8 % DTYPE_BITS[self.dtype] == 0


def read_header(path: Path) -> dict[str, TensorInfo]:
    """Every tensor of a safetensors file by its on-disk name.

    Raises CheckpointError naming the file, and the tensor where there is one to name: not a safetensors file, a file
    cut short, a name twice, ranges that overlap or leave gaps, a size that contradicts dtype and shape.
    """
    size, where = require_file(path), quote(path)
    header = _read_header_bytes(path, size)
    start = 8 + len(header)
    refusal = _library_refusal(path)
    entries = parse_json_object(header, f"{where}: header")
    entries.pop("__metadata__", None)
    if refusal is not None:
        invalid = f"is not a valid safetensors file: {printable(refusal, 400)}"
        raise CheckpointError(f"{where} {_cut_short(entries, start, size) or invalid}")
    if len(entries) > MAX_TENSORS:
        raise CheckpointError(f"{where}: header of {len(entries):,} tensors, more than the {MAX_TENSORS:,} it may have")
    return {name: _tensor(path, name, entry, start) for name, entry in entries.items()}


def _library_refusal(path: Path) -> str | None:
    """What the safetensors library says against the file; None if it accepts it. Maps the file, reads its header."""
    try:
        with safe_open(path, framework="numpy"):
            return None
    except (SafetensorError, OSError, ValueError) as error:
        return str(error) or type(error).__name__


def check_header_sizes(paths: Iterable[Path]) -> None:
    """Refuse headers that are too long together, before any of them is read. Raises CheckpointError naming the longest.

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


def _cut_short(entries: dict[str, Any], start: int, size: int) -> str | None:
    """How a file that the library refuses ends too early: what happens to downloads, and says what to do."""
    try:
        ends = {start + entry["data_offsets"][1]: name for name, entry in entries.items()}
        end = min(end for end in ends if end > size)
    except (LookupError, TypeError, ValueError):  # no entry is sure to be one; none ends behind the file
        return None
    return f"is cut short: tensor {quote(ends[end])} ends at byte {end:,}, but the file has {size:,}; download it again"


def _tensor(path: Path, name: str, entry: Any, start: int) -> TensorInfo:
    """An entry of a header that the library has accepted, unless the file was changed meanwhile."""
    where = f"{quote(path)}: tensor {quote(name)}"
    try:
        dtype, shape, (begin, end) = entry["dtype"], tuple(entry["shape"]), entry["data_offsets"]
    except (LookupError, TypeError, ValueError):
        raise CheckpointError(f"{where}: its header entry is not an object of dtype, shape and data_offsets") from None
    if dtype not in DTYPE_BITS:
        raise CheckpointError(f"{where}: dtype {quote(repr(dtype))} is unknown")
    if len(shape) > MAX_DIMENSIONS:
        raise CheckpointError(f"{where} has {len(shape):,} dimensions, more than the {MAX_DIMENSIONS} it may have")
    return TensorInfo(name, dtype, shape, path, start + begin, end - begin)


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
    """The length of the header that `file` begins with. Raises CheckpointError if it cannot be one."""
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
