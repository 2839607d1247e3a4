"""What the bytes of one tensor hold: range and mean, its scales, its codes, groups that say nothing, NaN.

`read_values` reads just that tensor, in runs of whole groups that it can stop between. The counting is done in
counting.py; drawing is left to others.
"""

from dataclasses import dataclass

import numpy as np

from qwen_core.checkpoint.directory import Checkpoint
from qwen_core.checkpoint.quantization import QuantSpec
from qwen_core.checkpoint.tensor_bytes import TensorBytes
from qwen_core.tensors.counting import (
    GroupValues,
    ScaleValues,
    read_affine,
    read_byte_scaled,
    read_floats,
)
from qwen_core.tensors.decoding import Floats, decode_floats, decode_scales
from qwen_core.tensors.histogram import CodeCounts, Histogram
from qwen_core.tensors.stored_tensor import (
    DEFAULT_LIMIT,
    FLOAT_BYTES,
    Examined,
    Stop,
    StoredTensor,
    find_tensor,
    group_runs,
    read_factor,
    read_float_bytes,
    read_packed,
)

FIRST_ROWS = 4
FIRST_COLUMNS = 8


@dataclass(frozen=True)
class RowSample:
    """The first elements of one row: their values, and the stored bits they come from in hexadecimal.

    `words` are 32-bit packed words (the last may go on beyond the values), for a float tensor one element each. `scale`
    and `bias` are those of the row's first group, None where there is none.
    """

    row: int
    values: tuple[float, ...]
    words: tuple[str, ...]
    scale: float | None
    bias: float | None


@dataclass(frozen=True)
class TensorValues(Examined):
    """One tensor's values. Counts and statistics are of the `examined` elements, of `elements` in all.

    `module` is the canonical name without ".weight" and `names` the on-disk names of what was read; `dtype` is the
    stored type of the weight, `spec` None for floats, `shape` that of the unquantised weight. The four statistics are
    of finite elements, None without any; the standard deviation is the population's. `values` is there for float
    tensors; `scales`, `codes` and `groups` for quantised ones. Values are as stored: a norm of the raw layout is 1
    less than the factor that it stands for. `factor` is that of a whole nvfp4 weight, which every value has in it. Of a
    stack of `experts` (else 0) all are counted, or `expert` alone, whose `shape` it then is.
    """

    module: str
    names: tuple[str, ...]
    spec: QuantSpec | None
    dtype: str
    shape: tuple[int, ...]
    stored_bytes: int
    elements: int
    examined: int
    minimum: float | None
    maximum: float | None
    mean: float | None
    standard_deviation: float | None
    nan_count: int
    infinite_count: int
    zero_count: int
    values: Histogram | None
    scales: ScaleValues | None
    codes: CodeCounts | None
    groups: GroupValues | None
    first_rows: tuple[RowSample, ...]
    factor: float | None = None
    experts: int = 0
    expert: int | None = None


def read_values(
    checkpoint: Checkpoint,
    module: str,
    *,
    expert: int | None = None,
    stop: Stop | None = None,
    limit_bytes: int = DEFAULT_LIMIT,
) -> TensorValues:
    """Read and summarise one tensor, named as on disk or canonically, as a module or as one of its parts.

    `expert`: that one alone of a stack of experts.

    At most about `limit_bytes` of its stored bytes are read, then in evenly spread runs of whole groups. `stop` is
    asked before each run and ends the reading with Cancelled. Raises CheckpointError for an unknown name or expert, a
    type without values to show, or a file that cannot be read.
    """
    tensor = find_tensor(checkpoint, module, expert)
    runs = group_runs(tensor, limit_bytes)
    # NaN and infinite values are what is looked for here, and nothing to warn of.
    with TensorBytes() as source, np.errstate(all="ignore"):
        if tensor.spec is None:
            found = read_floats(source, tensor, runs, stop)
        elif tensor.biases is None:
            found = read_byte_scaled(source, tensor, tensor.spec, runs, stop)
        else:
            found = read_affine(source, tensor, tensor.spec, runs, stop)
        rows = tuple(_first_row(source, tensor, row) for row in range(min(FIRST_ROWS, tensor.rows)))
        factor = read_factor(source, tensor)
    moments = found.moments
    return TensorValues(
        module=tensor.module,
        names=tuple(part.name for part in tensor.parts),
        spec=tensor.spec,
        dtype=tensor.weight.dtype,
        shape=tensor.shape,
        stored_bytes=tensor.nbytes,
        elements=tensor.elements,
        examined=moments.count + moments.nan_count + moments.infinite_count,
        minimum=moments.minimum,
        maximum=moments.maximum,
        mean=moments.mean,
        standard_deviation=moments.standard_deviation,
        nan_count=moments.nan_count,
        infinite_count=moments.infinite_count,
        zero_count=moments.zero_count,
        values=found.values,
        scales=found.scales,
        codes=found.codes,
        groups=found.groups,
        first_rows=rows if tensor.elements else (),
        experts=tensor.experts,
        expert=tensor.expert,
        factor=None if factor is None else float(factor),
    )


def _first_row(source: TensorBytes, tensor: StoredTensor, row: int) -> RowSample:
    columns = min(FIRST_COLUMNS, tensor.columns)
    start = row * tensor.columns
    if tensor.spec is None:
        data = read_float_bytes(source, tensor.weight, start, start + columns)
        size = FLOAT_BYTES[tensor.weight.dtype]
        hexadecimal = tuple(f"{int(pattern):0{2 * size}x}" for pattern in data.view(np.dtype(f"<u{size}")))
        return RowSample(row, _plain(decode_floats(data, tensor.weight.dtype)), hexadecimal, None, None)
    spec, group = tensor.spec, start // tensor.group_size
    packed = read_packed(source, tensor, range(group, group + 1))
    words = packed.words[0, : -(-columns * spec.bits // 32)]
    factors = packed.stored_scales if packed.biases is not None else decode_scales(packed.stored_scales, spec.mode)
    return RowSample(
        row=row,
        values=_plain(packed.values(spec)[0, :columns]),
        words=tuple(f"{int(word):08x}" for word in words),
        scale=float(factors[0, 0]),
        bias=float(packed.biases[0, 0]) if packed.biases is not None else None,
    )


def _plain(values: Floats) -> tuple[float, ...]:
    return tuple(map(float, values))
