"""One tensor of the source through MLX to the bytes of the result, a few megabytes at a time.

Rows are quantised independently of each other, so pieces of rows give the same elements and scales as the whole. It
matters: on a CPU `mx.quantize` to fp4 takes forty times its input in temporaries.
"""

from collections.abc import Iterator
from math import prod

import numpy as np

from qwen_core.checkpoint.tensor_bytes import TensorBytes
from qwen_core.convert.awq import Fold
from qwen_core.convert.measure import Measure
from qwen_core.convert.plan import Decision
from qwen_core.convert.rounding import quantised
from qwen_core.device.backend import mx
from qwen_core.errors import CheckpointError, quote

Bytes = tuple[str, int, memoryview]  # output name, offset in bytes, data

# Source bytes that are worked on at a time.
PIECE = 4 << 20
# How numpy holds each float type that MLX reads, the bits of its exponent (all set: infinity or NaN), and MLX's name.
_FLOATS: dict[str, tuple[type[np.uint16 | np.uint32], int, mx.Dtype]] = {
    "BF16": (np.uint16, 0x7F80, mx.bfloat16),
    "F16": (np.uint16, 0x7C00, mx.float16),
    "F32": (np.uint32, 0x7F800000, mx.float32),
}


def transformed(
    file: TensorBytes,
    decision: Decision,
    fold: Fold | None = None,
    piece: int = PIECE,
    measure: Measure | None = None,
) -> Iterator[Bytes]:
    """The result's bytes of one tensor, in order; nothing where it has none. `measure` notes what rounding cost, and
    may round by it.

    Raises CheckpointError naming the tensor if it cannot be read or holds NaN or infinity, or numbers that the result's
    type cannot hold.
    """
    info = decision.source
    if not info.nbytes:
        return
    if info.dtype not in _FLOATS:
        for begin in range(0, info.nbytes, piece):
            yield decision.name, begin, file.read(info, begin, min(begin + piece, info.nbytes)).data
        return
    if not decision.is_matrix:
        source = file.read(info, 0, info.nbytes).view(_FLOATS[info.dtype][0])
        _check_finite(source, decision)
        yield from _float_bytes(source.reshape(info.shape), decision, fold, 0)
        return
    for row, part in row_pieces(file, decision, piece):
        if decision.spec is None:
            yield from _float_bytes(part, decision, fold, row)
        else:
            yield from _packed_bytes(part, decision, fold, row, measure)


def row_pieces(file: TensorBytes, decision: Decision, piece: int = PIECE) -> Iterator[tuple[int, np.ndarray]]:
    """A float matrix of the source in runs of rows of about `piece` bytes: the first row's number in the result, and
    the bits [rows, columns]. Rows of two experts are never in one run."""
    info, columns = decision.source, decision.shape[-1]
    element = _FLOATS[info.dtype][0]
    width = columns * element(0).itemsize
    row = 0
    for begin, rows in decision.row_runs():
        for first in range(begin, begin + rows, step := max(1, piece // width)):
            last = min(first + step, begin + rows)
            part = file.read(info, first * width, last * width).view(element).reshape(-1, columns)
            _check_finite(part, decision)
            yield row, part
            row += last - first


def element_type(decision: Decision) -> type[np.uint16 | np.uint32]:
    """How numpy holds the bits of a float tensor of the source."""
    return _FLOATS[decision.source.dtype][0]


def _check_finite(bits: np.ndarray, decision: Decision) -> None:
    info = decision.source
    exponent = _FLOATS[info.dtype][1]
    if bool(((bits & exponent) == exponent).any()):
        raise CheckpointError(
            f"{quote(info.file)}: tensor {quote(info.name)} holds NaN or infinity: the file is damaged, or its "
            "training went wrong"
        )


def _float_bytes(bits: np.ndarray, decision: Decision, fold: Fold | None, row: int) -> Iterator[Bytes]:
    """A tensor or some of its rows that stay floats."""
    output = decision.outputs[0]
    unchanged = output.dtype == decision.source.dtype and not decision.add_one and fold is None
    if unchanged and not decision.channels_last:
        data = np.ascontiguousarray(bits).reshape(-1)
        yield output.name, row * prod(bits.shape[1:]) * bits.itemsize, data.data
        return
    values = values_of(bits, decision, fold, row).astype(_FLOATS[output.dtype][2])
    _check_held(values, decision, output.dtype, ": choose --dtype bfloat16" if output.dtype == "F16" else "")
    yield output.name, row * prod(values.shape[1:]) * values.dtype.size, _memory(values)


def _packed_bytes(
    bits: np.ndarray, decision: Decision, fold: Fold | None, row: int, measure: Measure | None
) -> Iterator[Bytes]:
    """Some rows of a weight, quantised."""
    spec = decision.spec
    assert spec is not None
    # In bfloat16, so that the scales of affine are: it is what the published files were quantised from.
    exact = values_of(bits, decision, fold, row)
    values = exact.astype(mx.bfloat16)
    _check_held(values, decision, "BF16")
    if measure is None:
        parts = quantised(values, spec)
    else:
        parts = measure.pack(exact.astype(mx.float32), decision, fold, row)
    mx.eval(*parts)
    for array in parts:
        # The range of a group, largest less smallest, can be more than either.
        if array.dtype == mx.bfloat16:
            _check_held(array, decision, str(spec))
    for output, array in zip(decision.outputs, parts, strict=True):
        yield output.name, row * array.shape[1] * array.dtype.size, _memory(array)


def _check_held(values: mx.array, decision: Decision, form: str, advice: str = "") -> None:
    """Raise CheckpointError where finite numbers became infinite in the result's type."""
    if not mx.isfinite(values).all().item():
        raise CheckpointError(
            f"{quote(decision.source.file)}: tensor {quote(decision.name)} has values that {form} cannot hold{advice}"
        )


def values_of(bits: np.ndarray, decision: Decision, fold: Fold | None, row: int) -> mx.array:
    """The numbers of the result before it is rounded: exact, or in float32 where anything is computed."""
    array = mx.array(np.ascontiguousarray(bits)).view(_FLOATS[decision.source.dtype][2])
    if decision.channels_last:
        array = array.transpose(0, 2, 3, 4, 1)
    else:
        array = array.reshape(bits.shape if decision.is_matrix else decision.shape)
    if decision.add_one:
        array = 1.0 + array.astype(mx.float32)
    if fold is not None:
        array = array.astype(mx.float32)
        if fold.rows is not None:
            rows = mx.array(fold.rows.reshape(-1)[row : row + array.shape[0]])
            array = array * (rows[:, None] if array.ndim == 2 else rows)
        if fold.columns is not None:
            columns = fold.columns
            array = array * mx.array(columns if columns.ndim == 1 else columns[row // decision.shape[-2]])
    return array


def _memory(array: mx.array) -> memoryview:
    """The bytes of an array."""
    flat = mx.contiguous(array).reshape(-1).view(mx.uint8)
    mx.eval(flat)
    return np.asarray(flat).data
