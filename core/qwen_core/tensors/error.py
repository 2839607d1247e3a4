"""How far a stored tensor is from the original it was made of: `compare_with_reference`.

The original is another checkpoint with unquantised weights, in the raw Hugging Face layout or in MLX's; both sides are
brought to MLX's layout first (norms hold 1 + w, conv1d is [channels, kernel, 1]). Weights are compared as they are: a
recipe that scales a matrix's columns and the norm before it by the inverse (AWQ) shows as error in both.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qwen_core.checkpoint.architecture import StackPlace, TextTensor, raw_place, text_tensors
from qwen_core.checkpoint.directory import Checkpoint, TensorInfo
from qwen_core.checkpoint.quantization import QuantSpec
from qwen_core.checkpoint.tensor_bytes import TensorBytes
from qwen_core.errors import CheckpointError, quote
from qwen_core.figures import shape_text
from qwen_core.tensors.decoding import Floats, decode_floats
from qwen_core.tensors.stored_tensor import (
    DEFAULT_LIMIT,
    FLOAT_BYTES,
    Examined,
    Stop,
    StoredTensor,
    check_stop,
    find_tensor,
    group_runs,
    in_pieces,
    read_float_bytes,
    read_packed,
    share_of,
)


@dataclass(frozen=True)
class WorstGroup:
    """The group with the largest root mean square error: its row, its first column, its elements, the error."""

    row: int
    column: int
    size: int
    rmse: float


@dataclass(frozen=True)
class TensorError(Examined):
    """The difference between a stored tensor and its reference, over `examined` of `elements` elements.

    Pairs in which either value is NaN or infinite are counted in `non_finite_count` and left out of all else; without
    any other pair every number below is None. With r the reference and e = stored - r:

    relative_error   sqrt(sum e^2 / sum r^2), 0 when exact, infinite where only the reference is all zeros
    snr_db           10 log10(sum r^2 / sum e^2) in decibels, infinite when exact; the same number in other words
    cosine           sum(stored r) / sqrt(sum stored^2 sum r^2); None where either side is all zeros
    worst            of groups of the stored weight, or of runs of 64 elements where it is unquantised; None when exact
    """

    module: str
    name: str
    spec: QuantSpec | None
    dtype: str
    reference_name: str
    reference_dtype: str
    shape: tuple[int, ...]
    elements: int
    examined: int
    non_finite_count: int
    max_abs_error: float | None
    rmse: float | None
    relative_error: float | None
    snr_db: float | None
    cosine: float | None
    worst: WorstGroup | None


def compare_with_reference(
    checkpoint: Checkpoint,
    reference: Checkpoint,
    module: str,
    *,
    expert: int | None = None,
    stop: Stop | None = None,
    limit_bytes: int = DEFAULT_LIMIT,
) -> TensorError:
    """Compare one tensor of the text model, named as for `read_values`, with that of `reference`; of a stack of experts
    one, if `expert` says so. Raw files have gate and up of an expert in one, where only an expert's can be compared.

    At most about `limit_bytes` are read of both sides together, then in evenly spread runs of whole groups. `stop` is
    asked before each run and ends the comparison with Cancelled. Raises CheckpointError for an unknown name, and where
    the reference lacks the tensor, has it in another shape, or has it quantised.
    """
    tensor = find_tensor(checkpoint, module, expert)
    expected = _text_tensor(checkpoint, tensor)
    original = _reference_tensor(reference, tensor, expected)
    if _mlx_shape(tensor.shape, expected, checkpoint) != _mlx_shape(original.shape, expected, reference):
        raise CheckpointError(
            f"{quote(original.file)}: tensor {quote(original.name)} has shape {shape_text(original.shape)}, but "
            f"{quote(tensor.weight.name)} has {shape_text(tensor.shape)}; this is not the original of that model"
        )
    is_norm = expected.kind == "norm"
    shifts = is_norm and not checkpoint.converted, is_norm and not reference.converted
    group = tensor.group_size
    cost = tensor.nbytes / max(tensor.groups, 1) + group * FLOAT_BYTES[original.dtype]
    sums = _Sums(group)
    with TensorBytes() as source, np.errstate(all="ignore"):  # NaN and infinite values are counted, not warned of
        for run in group_runs(tensor, limit_bytes, cost):
            check_stop(stop)
            begin, end = run.start * group, min(run.stop * group, tensor.elements)
            wanted = decode_floats(read_float_bytes(source, original, begin, end), original.dtype)
            first = run.start
            for stored in _stored_pieces(source, tensor, run, begin, end):
                sums.add(first, _shifted(stored, shifts[0]), _shifted(wanted[: stored.size], shifts[1]))
                wanted = wanted[stored.size :]
                first += stored.size // group
    return sums.result(tensor, original)


def _text_tensor(checkpoint: Checkpoint, tensor: StoredTensor) -> TextTensor:
    for expected in text_tensors(checkpoint.config, lm_head=not checkpoint.config.tie_word_embeddings):
        if expected.module == tensor.module:
            return expected
    raise CheckpointError(f"{tensor.where} is not part of the text model; only its tensors are compared")


def _reference_tensor(reference: Checkpoint, tensor: StoredTensor, expected: TextTensor) -> TensorInfo:
    place = raw_place(expected.module)
    info = reference.text.get(expected.name)
    if info is None and place is not None and (info := reference.text.get(place.name)) is not None:
        return _raw_share(info, tensor, place)
    if info is None:
        raise CheckpointError(
            f"reference {quote(reference.path)} lacks tensor {quote(expected.name)}, so {quote(tensor.weight.name)} "
            "cannot be compared"
        )
    spec = reference.specs.get(expected.module)
    if spec is not None:
        raise CheckpointError(
            f"{quote(info.file)}: reference tensor {quote(info.name)} is itself quantised ({spec}); "
            "compare with the unquantised original"
        )
    return info if tensor.expert is None else share_of(info, tensor.expert, tensor.experts)


def _raw_share(info: TensorInfo, tensor: StoredTensor, place: StackPlace) -> TensorInfo:
    """What a raw stack has of the tensor: it holds gate and up of the first expert, then those of the second."""
    if len(info.shape) != 3 or info.shape[0] != tensor.experts or info.shape[1] % place.runs:
        raise CheckpointError(
            f"{quote(info.file)}: tensor {quote(info.name)} has shape {shape_text(info.shape)}, which is not a "
            f"stack of {tensor.experts} experts"
        )
    if tensor.expert is not None:
        return share_of(info, tensor.expert * place.runs + place.number, tensor.experts * place.runs)
    if place.runs == 1:
        return info
    raise CheckpointError(
        f"{quote(info.file)}: tensor {quote(info.name)} has gate and up of each expert in one; compare an expert at a "
        "time (--expert 0)"
    )


def _mlx_shape(shape: tuple[int, ...], expected: TextTensor, checkpoint: Checkpoint) -> tuple[int, ...]:
    """conv1d is [channels, 1, kernel] in the raw layout and [channels, kernel, 1] in MLX's: the same bytes."""
    if expected.kind == "conv" and not checkpoint.converted and len(shape) == 3:
        return shape[0], shape[2], shape[1]
    return shape


def _stored_pieces(source: TensorBytes, tensor: StoredTensor, run: range, begin: int, end: int) -> Iterator[Floats]:
    """The elements [begin, end) of the groups of `run`, flat, in pieces of whole groups."""
    if tensor.spec is None:
        yield from in_pieces(decode_floats(read_float_bytes(source, tensor.weight, begin, end), tensor.weight.dtype))
        return
    for packed in read_packed(source, tensor, run).pieces(tensor.group_size):
        yield packed.values(tensor.spec).reshape(-1)


def _shifted(values: Floats, add_one: bool) -> Floats:
    """Raw norms are less 1; the sum is taken in float32, as the model takes it."""
    return np.float32(1) + values if add_one else values


class _Sums:
    """What has been added up of both sides, run by run, in float64."""

    def __init__(self, group_size: int) -> None:
        self._size = group_size
        self._examined = 0
        self._finite = 0
        self._reference = 0.0
        self._stored = 0.0
        self._product = 0.0
        self._error = 0.0
        self._largest = 0.0
        self._worst = (0.0, -1)  # mean square error, group

    def add(self, first_group: int, stored: Floats, reference: Floats) -> None:
        """The elements of consecutive groups, flat, from `first_group` on."""
        if stored.size == 0:
            return
        left, right = stored.astype(np.float64), reference.astype(np.float64)
        error = left - right
        finite = None
        if not math.isfinite(error.sum()):
            finite = np.isfinite(error)
            left, right, error = (np.where(finite, part, 0) for part in (left, right, error))
        self._examined += stored.size
        self._finite += stored.size if finite is None else int(finite.sum())
        self._largest = max(self._largest, float(error.max()), -float(error.min()))
        # Sums of products, not dot products: BLAS would spread them over every core, beside a model that is decoding.
        self._product += float((left * right).sum())
        self._stored += float(np.multiply(left, left, out=left).sum())
        self._reference += float(np.multiply(right, right, out=right).sum())
        squares = np.multiply(error, error, out=error)
        self._error += float(squares.sum())
        self._note_worst(first_group, squares, finite)

    def _note_worst(self, first_group: int, squares: NDArray[np.float64], finite: NDArray[np.bool_] | None) -> None:
        kept = np.ones(squares.size, bool) if finite is None and squares.size % self._size else finite
        sums = self._per_group(squares)
        means = sums / (self._size if kept is None else np.maximum(self._per_group(kept.astype(np.float64)), 1))
        index = int(means.argmax())
        if means[index] > self._worst[0]:
            self._worst = float(means[index]), first_group + index

    def _per_group(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """The sum of each group; the last may be short. einsum adds along so short an axis several times faster."""
        padding = -values.size % self._size
        whole = np.pad(values, (0, padding)) if padding else values
        return np.einsum("ij->i", whole.reshape(-1, self._size))

    def result(self, tensor: StoredTensor, original: TensorInfo) -> TensorError:
        return TensorError(
            module=tensor.module,
            name=tensor.weight.name,
            spec=tensor.spec,
            dtype=tensor.weight.dtype,
            reference_name=original.name,
            reference_dtype=original.dtype,
            shape=tensor.shape,
            elements=tensor.elements,
            examined=self._examined,
            non_finite_count=self._examined - self._finite,
            max_abs_error=self._largest if self._finite else None,
            rmse=math.sqrt(self._error / self._finite) if self._finite else None,
            relative_error=self._relative() if self._finite else None,
            snr_db=self._decibels() if self._finite else None,
            cosine=self._cosine(),
            worst=self._worst_group(tensor) if self._error else None,
        )

    def _relative(self) -> float:
        if self._error == 0:
            return 0.0
        return math.sqrt(self._error / self._reference) if self._reference else math.inf

    def _decibels(self) -> float:
        if self._error == 0:
            return math.inf
        return 10 * math.log10(self._reference / self._error) if self._reference else -math.inf

    def _cosine(self) -> float | None:
        scale = math.sqrt(self._stored) * math.sqrt(self._reference)
        return max(-1.0, min(1.0, self._product / scale)) if scale else None

    def _worst_group(self, tensor: StoredTensor) -> WorstGroup:
        mean, group = self._worst
        begin = group * self._size
        row, column = divmod(begin, tensor.columns)
        return WorstGroup(row, column, min(self._size, tensor.elements - begin), math.sqrt(mean))
