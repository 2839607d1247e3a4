"""The stored bytes of one tensor: found by any of its names, and read in runs of whole groups.

Below values.py and error.py, which say what the bytes mean. A checkpoint is untrusted and may change
while it is read: every fault is one CheckpointError line that names file and tensor, and nothing larger than a run is
ever held in memory.
"""

import difflib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from math import prod

import numpy as np

from qwen_core.checkpoint.architecture import is_stack
from qwen_core.checkpoint.directory import Checkpoint, TensorInfo
from qwen_core.checkpoint.nvidia import PARTS
from qwen_core.checkpoint.quantization import FLOAT_DTYPES, QuantSpec, canonical_name
from qwen_core.checkpoint.tensor_bytes import TensorBytes
from qwen_core.checkpoint.tensor_scale import TENSOR_SCALES, factor_of, tensor_scale_of
from qwen_core.errors import CheckpointError, QwenError, quote
from qwen_core.tensors.decoding import Bytes, Floats, decode_floats, dequantise

DEFAULT_LIMIT = 64 << 20
# Elements of an unquantised tensor have no groups; they are sampled, and compared, in runs of this many.
FLOAT_GROUP = 64
# Elements of one run: enough to read in one go and to be worth a table of counts, few enough to stop at once.
RUN_ELEMENTS = 1 << 18
# Elements of one piece of a run, where each is decoded: few enough to stay in the processor's cache, enough that the
# work outweighs the dozens of NumPy calls it is done by (measured: 1.3 s for 89 million 5-bit weights, 2.6 s at a
# quarter of this).
PIECE_ELEMENTS = 1 << 16

FLOAT_BYTES: Mapping[str, int] = {"BF16": 2, "F16": 2, "F32": 4}

_PARTS = (".weight", ".scales", ".biases", *(f".{part}" for part in (*TENSOR_SCALES, *PARTS)))
_MAX_SUGGESTIONS = 3
_MAX_CANDIDATES = 4096
_MAX_COMPARED_LENGTH = 128

Stop = Callable[[], bool]


class Cancelled(QwenError):
    """`stop` said so before the whole tensor was read."""

    def __init__(self) -> None:
        super().__init__("reading the tensor was stopped")


class Examined:
    """How much of a tensor was looked at: `examined` of its `elements`."""

    elements: int
    examined: int

    @property
    def sampled(self) -> bool:
        """Whether only a part was: whole groups, evenly spread."""
        return self.examined < self.elements

    @property
    def share(self) -> float:
        """The examined share of all elements; 1 for a tensor without any."""
        return self.examined / self.elements if self.elements else 1.0


@dataclass(frozen=True)
class StoredTensor:
    """One weight of a checkpoint with the tensors it is stored in.

    `module` is its canonical name without ".weight"; `shape` that of the unquantised weight. Elements are counted
    along rows; group i holds elements i * group_size and on (the last group of an unquantised tensor may be short).
    Of a stack of `experts` (else 0) the rows are those of one expert after the other; if `expert` says so, of that one
    alone, and then `shape` and the parts are that expert's.
    `tensor_scale` holds the factor of a whole nvfp4 weight, where it has one.
    """

    module: str
    weight: TensorInfo
    scales: TensorInfo | None
    biases: TensorInfo | None
    spec: QuantSpec | None
    shape: tuple[int, ...]
    tensor_scale: TensorInfo | None = None
    experts: int = 0
    expert: int | None = None

    @property
    def parts(self) -> tuple[TensorInfo, ...]:
        parts = self.weight, self.scales, self.biases, self.tensor_scale
        return tuple(part for part in parts if part is not None)

    @property
    def where(self) -> str:
        """How messages name it: file and on-disk name."""
        return f"{quote(self.weight.file)}: tensor {quote(self.weight.name)}"

    @property
    def rows(self) -> int:
        """Rows of the tensor seen as a matrix: its first dimension (of a stack its first two), or 1 for a vector."""
        return prod(self.shape[: self._row_dimensions]) if len(self.shape) > 1 else 1

    @property
    def columns(self) -> int:
        return prod(self.shape[self._row_dimensions :]) if len(self.shape) > 1 else prod(self.shape)

    @property
    def _row_dimensions(self) -> int:
        return 2 if self.experts and self.expert is None else 1

    @property
    def elements(self) -> int:
        return prod(self.shape)

    @property
    def nbytes(self) -> int:
        return sum(part.nbytes for part in self.parts)

    @property
    def group_size(self) -> int:
        return self.spec.group_size if self.spec else FLOAT_GROUP

    @property
    def groups(self) -> int:
        return -(-self.elements // self.group_size)


def find_tensor(checkpoint: Checkpoint, name: str, expert: int | None = None) -> StoredTensor:
    """The tensor that `name` means: on disk or canonical, of a module or of one of its stored parts.

    `expert`: that one of a stack of experts. Raises CheckpointError for an unknown name, with similar ones, for a
    tensor that is neither floats nor a quantised weight of the text model or the MTP layer, and for an expert that is
    not there.
    """
    tensor = _find(checkpoint, name)
    if is_stack(tensor.module) and len(tensor.shape) == 3:
        tensor = replace(tensor, experts=tensor.shape[0])
    return tensor if expert is None else _of_expert(tensor, expert)


def _of_expert(tensor: StoredTensor, expert: int) -> StoredTensor:
    if not tensor.experts:
        raise CheckpointError(f"{tensor.where} has no experts")
    if not 0 <= expert < tensor.experts:
        raise CheckpointError(f"{tensor.where} has no expert {expert}: choose 0 to {tensor.experts - 1}")

    def share(part: TensorInfo | None) -> TensorInfo | None:
        return None if part is None else share_of(part, expert, tensor.experts)

    return replace(
        tensor,
        weight=share_of(tensor.weight, expert, tensor.experts),
        scales=share(tensor.scales),
        biases=share(tensor.biases),
        shape=tensor.shape[1:],
        expert=expert,
    )


def share_of(info: TensorInfo, number: int, shares: int) -> TensorInfo:
    """Of a stack [experts, rows, columns] whose rows are cut into `shares` in all the one of that number, as a matrix
    [rows, columns] where it lies."""
    each = info.nbytes // shares
    experts, rows, columns = info.shape
    shape = (experts * rows // shares, columns)
    return replace(info, shape=shape, offset=info.offset + number * each, nbytes=each)


def _find(checkpoint: Checkpoint, name: str) -> StoredTensor:
    canonical = canonical_name(name)
    for module in _modules_of(canonical):
        if module in checkpoint.used_specs:
            return _quantised(checkpoint, module)
    others = {canonical_name(other): info for other, info in checkpoint.tensors.items()}
    for table, wanted in ((checkpoint.tensors, name), (checkpoint.used_tensors, canonical), (others, canonical)):
        info = table.get(wanted) or table.get(f"{wanted}.weight")
        if info is not None:
            return _unquantised(info, canonical.removesuffix(".weight"))
    raise CheckpointError(f"{quote(checkpoint.path)} has no tensor {quote(name)}{_suggestions(checkpoint, canonical)}")


def _modules_of(canonical: str) -> Iterator[str]:
    yield canonical
    for part in _PARTS:
        if canonical.endswith(part):
            yield canonical.removesuffix(part)


def _quantised(checkpoint: Checkpoint, module: str) -> StoredTensor:
    spec, tensors = checkpoint.used_specs[module], checkpoint.used_tensors
    weight = tensors[f"{module}.weight"]
    shape = (*weight.shape[:-1], weight.shape[-1] * 32 // spec.bits)
    scales, biases = tensors[f"{module}.scales"], tensors.get(f"{module}.biases")
    factor = tensor_scale_of(tensors, module)
    held = None if factor is None else tensors[factor]
    return StoredTensor(module, weight, scales, biases, spec, shape, tensor_scale=held)


def _unquantised(info: TensorInfo, module: str) -> StoredTensor:
    tensor = StoredTensor(module, info, None, None, None, info.shape)
    if info.dtype not in FLOAT_DTYPES:
        raise CheckpointError(
            f"{tensor.where} has dtype {quote(info.dtype)}; values can be shown of {', '.join(FLOAT_DTYPES)} tensors "
            "and of quantised weights of the text model and the MTP layer"
        )
    return tensor


def _suggestions(checkpoint: Checkpoint, wanted: str) -> str:
    """ "; similar: ..." with the closest names there are, or nothing. Work is bounded for hostile names and tables."""
    if not wanted or len(wanted) > _MAX_COMPARED_LENGTH:
        return ""
    names: dict[str, None] = {}
    for name in islice(checkpoint.tensors, _MAX_CANDIDATES):
        canonical = canonical_name(name)
        for part in _PARTS:
            canonical = canonical.removesuffix(part)
        if len(canonical) <= _MAX_COMPARED_LENGTH:
            names[canonical] = None
    # A part of a name ("gate_proj") is what people type; only without one is a misspelling looked for, of the whole
    # name or of its last word.
    close = [name for name in names if wanted in name]
    close = close or difflib.get_close_matches(wanted, names, _MAX_SUGGESTIONS)
    if not close:
        words = dict.fromkeys(name.rsplit(".", 1)[-1] for name in names)
        near = difflib.get_close_matches(wanted.rsplit(".", 1)[-1], words, 1)
        close = [name for name in names if near and name.endswith(near[0])]
    close = close[:_MAX_SUGGESTIONS]
    return f"; similar: {', '.join(map(quote, close))}" if close else ""


def group_runs(tensor: StoredTensor, limit_bytes: int, bytes_per_group: float | None = None) -> list[range]:
    """Which groups to read: all of them in runs, or evenly spread runs of at most `limit_bytes` in all.

    A sample begins with the first group and ends with the last, never repeats one, and holds at least one.
    `bytes_per_group` is what a group costs, by default its share of the stored bytes.
    """
    total = tensor.groups
    if total == 0:
        return []
    cost = bytes_per_group or tensor.nbytes / total
    length = max(1, RUN_ELEMENTS // tensor.group_size)
    allowed = max(1, int(limit_bytes / cost))
    if allowed >= total:
        return [range(begin, min(begin + length, total)) for begin in range(0, total, length)]
    # Several runs even of a small sample: one alone would say something of the first rows only.
    length = max(1, min(length, allowed // 16))
    count = max(1, allowed // length)
    starts = [0] if count == 1 else [index * (total - length) // (count - 1) for index in range(count)]
    return [range(start, start + length) for start in starts]


@dataclass(frozen=True)
class PackedRun:
    """A run of groups of a quantised weight: words [groups, words of one], scales and biases [groups, 1].

    `stored_scales` are bytes for the modes with byte scales, else equal to the decoded scales of affine. `factor` is
    the whole weight's.
    """

    words: np.ndarray
    stored_scales: np.ndarray
    biases: Floats | None
    factor: np.float32 | None = None

    def values(self, spec: QuantSpec) -> Floats:
        """The elements, float32 [groups, group size], as MLX computes them in float32."""
        return dequantise(self.words, self.stored_scales, self.biases, spec, self.factor)

    def pieces(self, group_size: int) -> Iterator["PackedRun"]:
        """The run in pieces of whole groups, of about PIECE_ELEMENTS elements each. Views; nothing is copied."""
        step = max(1, PIECE_ELEMENTS // group_size)
        for begin in range(0, len(self.words), step):
            part = slice(begin, begin + step)
            biases = None if self.biases is None else self.biases[part]
            yield PackedRun(self.words[part], self.stored_scales[part], biases, self.factor)


def read_packed(source: TensorBytes, tensor: StoredTensor, run: range) -> PackedRun:
    """A run of groups of a quantised tensor."""
    assert tensor.scales is not None
    words = source.groups(tensor.weight, run, tensor.groups).view(np.dtype("<u4")).reshape(len(run), -1)
    scales = source.groups(tensor.scales, run, tensor.groups)
    if tensor.biases is None:
        return PackedRun(words, scales[:, None], None, read_factor(source, tensor))
    biases = decode_floats(source.groups(tensor.biases, run, tensor.groups), tensor.biases.dtype)
    return PackedRun(words, decode_floats(scales, tensor.scales.dtype)[:, None], biases[:, None])


def read_factor(source: TensorBytes, tensor: StoredTensor) -> np.float32 | None:
    """The factor of a whole nvfp4 weight, whatever number it is; None where there is none."""
    info = tensor.tensor_scale
    if info is None:
        return None
    return np.float32(factor_of(info.name, float(decode_floats(source.read(info, 0, 4), "F32")[0])))


def read_float_bytes(source: TensorBytes, info: TensorInfo, begin: int, end: int) -> Bytes:
    """Elements [begin, end) of an unquantised tensor, as stored."""
    size = FLOAT_BYTES[info.dtype]
    return source.read(info, begin * size, end * size)


def in_pieces(values: Floats) -> Iterator[Floats]:
    """Views of a flat array, PIECE_ELEMENTS long but for the last."""
    for begin in range(0, values.size, PIECE_ELEMENTS):
        yield values[begin : begin + PIECE_ELEMENTS]


def check_stop(stop: Stop | None) -> None:
    """Raise Cancelled if `stop` says so."""
    if stop is not None and stop():
        raise Cancelled
