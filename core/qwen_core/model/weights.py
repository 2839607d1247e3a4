"""Bytes of a checkpoint to MLX arrays, tensor by tensor, in three tiers that are chosen per tensor and reported.

mapped    Metal only: the array is the mapped file itself. For tensors that are used as stored and whose place in the
          file is a multiple of their element size.
copied    read from the file, a piece at a time.
streamed  `mx.load`, for file systems that cannot map.

All three hand out the same values: quantised weights packed as stored, everything else in the compute type, the raw
Hugging Face layout already turned into MLX's. What the arrays mean is model.py's business.
"""

import ctypes
import math
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np

from qwen_core.checkpoint.architecture import Kind, TextTensor, text_tensors
from qwen_core.checkpoint.directory import Checkpoint, TensorInfo
from qwen_core.checkpoint.mapped_file import MappedFile
from qwen_core.checkpoint.part_bytes import PartBytes, Runs
from qwen_core.checkpoint.tensor_bytes import TensorBytes
from qwen_core.checkpoint.tensor_scale import checked_factor, is_tensor_scale
from qwen_core.device.backend import mx
from qwen_core.device.hardware import memory_bytes
from qwen_core.errors import CapacityError, CheckpointError, QwenError, SettingsError, quote
from qwen_core.figures import decimal_size
from qwen_core.protocol.events import LoadProgress
from qwen_core.protocol.weight_tiers import WeightTiers

DTYPES: dict[str, mx.Dtype] = {"float32": mx.float32, "bfloat16": mx.bfloat16, "float16": mx.float16}
# How numpy holds each stored type (it has no bfloat16), and what MLX calls it.
_STORED: dict[str, tuple[type[np.uint8 | np.uint16 | np.uint32 | np.float16 | np.float32], mx.Dtype]] = {
    "U8": (np.uint8, mx.uint8),
    "U32": (np.uint32, mx.uint32),
    "BF16": (np.uint16, mx.bfloat16),
    "F16": (np.float16, mx.float16),
    "F32": (np.float32, mx.float32),
}
# Below this a window of whole pages costs more than the copy that it saves.
_LEAST_MAPPED = 1 << 16
# A tensor larger than this is copied in pieces of about this size, so that little but the result is ever in memory.
_PIECE = 4 << 20
# Of glibc's malloc.h.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_MOST_KEPT = 32 << 20
_kept = _MOST_KEPT


class LoadCancelled(QwenError):
    """`stop` ended the load before all weights were in memory. None of them is kept."""

    def __init__(self) -> None:
        super().__init__("loading was stopped")


@dataclass(frozen=True)
class TensorPlan:
    """What becomes of one stored tensor: its type and shape in memory, and whether 1 is added to its values.

    Of a part of a tensor `info` and `shape` are the part's, and `runs` says where the whole has it.
    """

    name: str
    info: TensorInfo
    dtype: mx.Dtype
    shape: tuple[int, ...]
    add_one: bool
    runs: Runs | None = None

    @property
    def stored_dtype(self) -> mx.Dtype:
        return _STORED[self.info.dtype][1]

    @property
    def used_as_stored(self) -> bool:
        """Whether the bytes in the file are the array (a conv1d of the raw layout differs in shape alone)."""
        return self.dtype == self.stored_dtype and not self.add_one

    @property
    def nbytes(self) -> int:
        """Bytes of the array in memory."""
        return math.prod(self.shape) * self.dtype.size


class Weights:
    """The loaded arrays by canonical name, and how they came into memory.

    `arrays` may be emptied by its user, which then owns them. Those that are `mapped`, by name, keep their file mapped
    by themselves.
    """

    def __init__(self, arrays: dict[str, mx.array], tiers: WeightTiers, mapped: frozenset[str] = frozenset()) -> None:
        self.arrays = arrays
        self.tiers = tiers
        self.mapped = mapped

    def close(self) -> None:
        """Let go of the arrays and give cached buffers back to the system."""
        self.arrays.clear()
        mx.clear_cache()


def plan_weights(checkpoint: Checkpoint, dtype: str) -> list[TensorPlan]:
    """What will become of every text tensor. Raises SettingsError for an unknown compute type."""
    compute = DTYPES.get(dtype)
    if compute is None:
        raise SettingsError(f"dtype {quote(repr(dtype))} is unknown; choose one of {', '.join(DTYPES)}")
    expected = text_tensors(checkpoint.config, lm_head="lm_head.weight" in checkpoint.text)
    return plan_tensors(checkpoint.text, expected, compute, raw=not checkpoint.converted)


def plan_tensors(
    tensors: Mapping[str, TensorInfo], expected: Iterable[TextTensor], compute: mx.Dtype, *, raw: bool
) -> list[TensorPlan]:
    """What will become of `tensors`, which by canonical name are the `expected` ones with their scales and biases."""
    known = {tensor.name: tensor for tensor in expected}
    plans = []
    for name, info in tensors.items():
        tensor = known.get(name)
        kind: Kind = tensor.kind if tensor else "matrix"
        if info.dtype in ("U32", "U8"):
            plans.append(TensorPlan(name, info, _STORED[info.dtype][1], info.shape, add_one=False))
            continue
        # [C, 1, K] and [C, K, 1] are the same bytes, so the raw conv1d needs no transpose, only its shape.
        shape = tensor.shape if tensor and kind == "conv" else info.shape
        wanted = mx.float32 if kind == "decay" or is_tensor_scale(name) else compute
        plans.append(TensorPlan(name, info, wanted, shape, add_one=raw and kind == "norm"))
    return plans


def check_capacity(plans: list[TensorPlan], dtype: str, limit: int) -> None:
    """Raise CapacityError where the arrays of `plans` alone need more than `limit` bytes of memory."""
    needed = sum(plan.nbytes for plan in plans)
    if needed <= limit:
        return
    stored = sum(plan.info.nbytes for plan in plans)
    advice = "choose a smaller variant of the model"
    smaller: tuple[str, ...] = ()
    halved = sum(plan.nbytes // 2 if plan.dtype == mx.float32 else plan.nbytes for plan in plans)
    if dtype == "float32" and needed > 1.2 * stored and halved <= limit:
        advice = f"choose --dtype bfloat16, or {advice.removeprefix('choose ')}"
        smaller = ("bfloat16", "float16")
    where = f"{quote(plans[0].info.file.parent)}: " if plans else ""
    raise CapacityError(
        f"{where}the weights need {decimal_size(needed)} of memory as {dtype} ({decimal_size(stored)} on disk), but "
        f"this machine has {decimal_size(limit)}; {advice}",
        smaller,
    )


def can_adopt() -> bool:
    """Whether MLX can take mapped memory as an array without a copy: on Metal only (unified memory)."""
    return mx.metal.is_available()


def adopt(memory: np.ndarray) -> mx.array:
    """An array that is `memory`. Raises ValueError where the device cannot address it in place."""
    return mx.asarray(memory, copy=False)


def is_mappable(plan: TensorPlan) -> bool:
    """Whether the tensor could be used where it lies in its file."""
    if plan.runs is not None and not plan.runs.is_one:
        return False
    return plan.used_as_stored and plan.info.nbytes >= _LEAST_MAPPED and plan.info.offset % plan.stored_dtype.size == 0


def map_tensor(file: MappedFile, plan: TensorPlan, adopt: Callable[[np.ndarray], mx.array] = adopt) -> mx.array:
    """The tensor as an array on its file's own pages: its page window is adopted, then sliced and shaped.

    Needs `is_mappable(plan)`. `adopt` takes the window, which begins on a page; a slice of the result costs nothing.
    """
    element, dtype = _STORED[plan.info.dtype]
    memory, delta = file.window_of(plan.info)
    size = dtype.size
    file.pre_read(plan.info)
    whole = adopt(memory[: memory.size // size * size].view(element))
    begin = delta // size
    return whole[begin : begin + plan.info.nbytes // size].view(dtype).reshape(plan.shape)


def copy_tensor(source: TensorBytes | PartBytes, plan: TensorPlan, piece: int = _PIECE) -> mx.array:
    """The tensor read from its file into MLX's memory, in the type it is used in.

    Beside the result, about `piece` bytes of the file and their copy are in memory at any moment.
    """
    info = plan.info
    element, dtype = _STORED[info.dtype]

    def take(begin: int, end: int) -> mx.array:
        return mx.array(source.read(info, begin * dtype.size, end * dtype.size).view(element)).view(dtype)

    if info.nbytes <= piece or len(plan.shape) < 2:
        return _finish(take(0, info.nbytes // dtype.size), plan)
    columns = plan.shape[-1]
    rows = math.prod(plan.shape[:-1])
    step = max(1, piece // (columns * dtype.size))
    result = mx.zeros((rows, columns), plan.dtype)
    mx.eval(result)
    # Pieces in the memory of those before: to have it from the system anew took longer than to read the file.
    with _kept_freed(_MOST_KEPT):
        for row in range(0, rows, step):
            last = min(row + step, rows)
            part = take(row * columns, last * columns).reshape(last - row, columns)
            # Evaluated at once and with no other owner, `result` is written in place.
            result[row:last] = part.astype(plan.dtype)
            mx.eval(result)
    return result.reshape(plan.shape)


def _finish(array: mx.array, plan: TensorPlan) -> mx.array:
    """Shape, shift and cast a tensor that is in memory as stored, and compute it now."""
    array = array.reshape(plan.shape)
    if plan.add_one:
        # transformers multiplies by 1.0 + weight.float() (modeling_qwen3_5.py, Qwen3_5RMSNorm).
        array = 1.0 + array.astype(mx.float32)
    array = array.astype(plan.dtype)
    mx.eval(array)
    return array


class _Loader:
    """Loads planned tensors one at a time, keeping each weight file open or, failing that, its lazy arrays."""

    def __init__(self, may_adopt: bool) -> None:
        self._may_adopt = may_adopt
        self._files: dict[Path, MappedFile] = {}
        self._source = TensorBytes()
        self._lazy: dict[Path, dict[str, mx.array]] = {}
        self.bytes = {"mapped": 0, "copied": 0, "streamed": 0}
        self.mapped: set[str] = set()

    def load(self, plan: TensorPlan) -> mx.array:
        file = self._file(plan.info.file)
        if file is None and plan.runs is None:
            array, tier = _finish(self._streamed(plan.info).view(plan.stored_dtype), plan), "streamed"
        else:
            array, tier = self._from_memory(file, plan)
        self.bytes[tier] += plan.nbytes
        if tier == "mapped":
            self.mapped.add(plan.name)
        return array

    def _from_memory(self, file: MappedFile | None, plan: TensorPlan) -> tuple[mx.array, str]:
        if file is not None and self._may_adopt and is_mappable(plan):
            try:
                array = map_tensor(file, plan)
                mx.eval(array)
                return array, "mapped"
            except ValueError:
                # Metal refuses a window that the end of the file cuts short within a page.
                pass
        return copy_tensor(self._source if plan.runs is None else PartBytes(self._source, plan.runs), plan), "copied"

    def _file(self, path: Path) -> MappedFile | None:
        if path in self._lazy:
            return None
        if path not in self._files:
            try:
                self._files[path] = MappedFile(path)
            except (OSError, ValueError):
                self._lazy[path] = _load_lazily(path)
                return None
        return self._files[path]

    def _streamed(self, info: TensorInfo) -> mx.array:
        array = self._lazy[info.file].pop(info.name, None)
        if array is None or array.nbytes != info.nbytes:
            raise CheckpointError(f"{quote(info.file)} changed while tensor {quote(info.name)} was loaded")
        return array

    def close(self) -> None:
        for file in self._files.values():
            file.close()
        self._source.close()
        self._lazy.clear()


def _load_lazily(path: Path) -> dict[str, mx.array]:
    loaded = mx.load(str(path), format="safetensors")
    if not isinstance(loaded, dict):
        raise CheckpointError(f"{quote(path)} cannot be read as safetensors")
    return loaded


@contextmanager
def given_back() -> Iterator[None]:
    """What is freed here, the temporaries of loading, goes back to the system at once: neither MLX nor the C library
    holds on to it. MLX's limit is put back afterwards.
    """
    previous = mx.set_cache_limit(0)
    try:
        with _kept_freed(1 << 17):
            yield
    finally:
        mx.set_cache_limit(previous)


@contextmanager
def _kept_freed(most: int) -> Iterator[None]:
    """`_keep_freed` for a while."""
    global _kept
    previous, _kept = _kept, most
    _keep_freed(most)
    try:
        yield
    finally:
        _kept = previous
        _keep_freed(previous)


def _keep_freed(most: int) -> None:
    """Have glibc keep freed memory for its next use in blocks below `most` bytes, and twice as much at the heap's end.

    By itself it raises this from 128 KiB to what was freed last, at most 32 MiB (mallopt(3), M_MMAP_THRESHOLD).
    """
    set_option = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if set_option is not None:
        set_option(_TRIM_THRESHOLD, 2 * most)
        set_option(_MMAP_THRESHOLD, most)


def load_weights(
    checkpoint: Checkpoint,
    dtype: str,
    *,
    progress: Callable[[LoadProgress], None] | None = None,
    stop: Callable[[], bool] | None = None,
    memory_limit: int | None = None,
) -> Weights:
    """Bring every text tensor into memory as `dtype` ("float32", "bfloat16" or "float16").

    `progress` is called before the first tensor and after each; `stop` is asked before each and ends the load with
    LoadCancelled. Raises CapacityError, before anything is read, for weights above `memory_limit` bytes (by default
    this machine's memory), SettingsError for an unknown dtype, CheckpointError for a file that cannot be read.
    """
    plans = plan_weights(checkpoint, dtype)
    check_capacity(plans, dtype, memory_bytes() if memory_limit is None else memory_limit)
    return load_plans(plans, progress=progress, stop=stop)


def load_plans(
    plans: Sequence[TensorPlan],
    *,
    progress: Callable[[LoadProgress], None] | None = None,
    stop: Callable[[], bool] | None = None,
) -> Weights:
    """Bring the tensors of `plans` into memory; the rest as `load_weights` says it."""
    total = sum(plan.nbytes for plan in plans)
    arrays: dict[str, mx.array] = {}
    loader = _Loader(can_adopt())

    def report() -> None:
        if progress is not None:
            tiers = WeightTiers(**loader.bytes)
            progress(LoadProgress("weights", tiers.total, total, tiers))

    try:
        with given_back():
            report()
            for plan in sorted(plans, key=lambda plan: (str(plan.info.file), plan.info.offset)):
                if stop is not None and stop():
                    raise LoadCancelled
                arrays[plan.name] = _load_one(loader, plan)
                report()
    finally:
        loader.close()
    return Weights(arrays, WeightTiers(**loader.bytes), frozenset(loader.mapped))


def _load_one(loader: _Loader, plan: TensorPlan) -> mx.array:
    where = f"tensor {quote(plan.info.name)} of {quote(plan.info.file)}"
    try:
        array = loader.load(plan)
        if is_tensor_scale(plan.name):
            checked_factor(plan.name, cast(float, array.item()), where)
        return array
    except QwenError:
        raise
    except (MemoryError, RuntimeError, OSError, ValueError) as error:
        if isinstance(error, MemoryError) or "allocate" in str(error):
            raise CapacityError(f"out of memory while loading {where} ({plan.nbytes:,} bytes)") from None
        raise CheckpointError(f"{where} cannot be loaded: {quote(error)}") from None
