"""A model of random weights, built in memory in a published variant's formats: what `bench --synthetic` measures.

Speed does not depend on the values of weights, so a person learns what a checkpoint would run at here before it is
downloaded. The weights go through the same `Model` as loaded ones; only where their bytes come from differs. Its
answers mean nothing.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import numpy as np

from qwen_core.bench.synthetic_shapes import shape_config
from qwen_core.checkpoint.architecture import TextTensor, mtp_tensors, text_tensors
from qwen_core.checkpoint.directory import Checkpoint, TensorInfo
from qwen_core.checkpoint.footprint import state_bytes
from qwen_core.checkpoint.layout import role_of
from qwen_core.checkpoint.mtp import MtpTensors
from qwen_core.checkpoint.quantization import QuantSpec, stored_parts
from qwen_core.checkpoint.recipe import Variant, recipe_spec
from qwen_core.device.backend import default_dtype, mx
from qwen_core.device.machine import memory_limit
from qwen_core.errors import CapacityError
from qwen_core.figures import decimal_size
from qwen_core.model.kernels.proof import NONE, proven
from qwen_core.model.model import Model
from qwen_core.model.mtp import MtpLayer
from qwen_core.model.weights import DTYPES, LoadCancelled, TensorPlan, Weights, plan_tensors, plan_weights
from qwen_core.protocol.weight_tiers import WeightTiers
from qwen_core.session.turn import never

_PIECE_ELEMENTS = 4 << 20
# For activations, the buffers of a prefill step and what the process itself needs.
HEADROOM_BYTES = 512 << 20
# Root mean square of an element whose bits are random: E2M1 of {0, .5, 1, 1.5, 2, 3, 4, 6}, and E4M3 with its top
# exponent bit clear (see `_packed`), both numerically from the formats' tables.
_RMS = {"nvfp4": 2.926, "mxfp4": 2.926, "mxfp8": 0.598}


def synthetic_checkpoint(
    shape: str, variant: Variant | None, layers: int | None = None, *, mtp: bool = False
) -> Checkpoint:
    """The headers that a checkpoint of this shape and variant would have (None: bf16), with its first `layers` layers,
    and with an MTP layer if `mtp` says so.

    Its files do not exist. Raises SettingsError for a shape that does not exist.
    """
    config = shape_config(shape)
    if layers is not None:
        config = replace(config, num_hidden_layers=layers, layer_types=config.layer_types[:layers])
    name = Path(f"synthetic-{shape}-{variant.name if variant else 'bf16'}")
    table, specs = _headers(text_tensors(config, lm_head=not config.tie_word_embeddings), variant, name)
    return Checkpoint(
        path=name,
        config=config,
        raw_config={},
        tensors=MappingProxyType(table),
        text=MappingProxyType(table),
        specs=MappingProxyType(specs),
        spec_sources=MappingProxyType(dict.fromkeys(specs, "override")),
        converted=True,
        generation_config={},
        tokenizer_path=None,
        shards=(),
        mtp=MtpTensors(*_headers(mtp_tensors(config), variant, name), converted=True) if mtp else None,
    )


def _headers(
    tensors: Iterable[TextTensor], variant: Variant | None, file: Path
) -> tuple[dict[str, TensorInfo], dict[str, QuantSpec]]:
    """Headers and formats of `tensors`, where each gets what the recipe makes of its role."""
    table: dict[str, TensorInfo] = {}
    specs: dict[str, QuantSpec] = {}
    offset = 0
    for tensor in tensors:
        spec = recipe_spec(variant, role_of(tensor.module)) if variant and tensor.is_matrix else None
        if spec is not None:
            specs[tensor.module] = spec
        for part, (dtype, shape) in _stored(tensor, spec).items():
            nbytes = math.prod(shape) * {"U32": 4, "BF16": 2, "U8": 1}[dtype]
            table[part] = TensorInfo(part, dtype, shape, file, offset, nbytes)
            offset += nbytes
    return table, specs


def _stored(tensor: TextTensor, spec: QuantSpec | None) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Stored parts of a weight: name -> (dtype, shape)."""
    if spec is None:
        return {tensor.name: ("BF16", tensor.shape)}
    return {f"{tensor.module}.{part}": stored for part, stored in stored_parts(tensor.shape, spec).items()}


def check_fits(checkpoint: Checkpoint, dtype: str, context: int, limit: int) -> None:
    """Raise CapacityError where weights, state and a little headroom need more than `limit` bytes."""
    weights = sum(plan.nbytes for plan in [*plan_weights(checkpoint, dtype), *_mtp_plans(checkpoint, dtype)])
    needed = weights + sum(state_bytes(checkpoint.config, context, DTYPES[dtype].size)) + HEADROOM_BYTES
    if needed > limit:
        raise CapacityError(
            f"{checkpoint.path.name} needs {decimal_size(needed)} of memory as {dtype}, but {decimal_size(limit)} are "
            "free here: measure fewer layers with --layers 4, or choose a smaller shape or variant"
        )


def synthetic_model(
    checkpoint: Checkpoint,
    dtype: str | None = None,
    *,
    context: int = 0,
    seed: int = 0,
    limit: int | None = None,
    progress: Callable[[int, int], None] | None = None,
    stop: Callable[[], bool] = never,
    kernels: bool = True,
) -> Model:
    """Random weights for the headers of `synthetic_checkpoint`, as a `Model`. Equal seeds give equal weights.

    `context`: tokens that will be fed, for the check of memory against `limit` (None: what this device has).
    `progress` gets bytes done and bytes in all. `kernels`: as `load_model`. Raises CapacityError before anything is
    made, and LoadCancelled when `stop`, asked before each tensor, says so.
    """
    dtype = dtype or default_dtype()
    check_fits(checkpoint, dtype, context, memory_limit() if limit is None else limit)
    plans = plan_weights(checkpoint, dtype)
    arrays = _random(plans, checkpoint.text, checkpoint.specs, (seed,), progress, stop)
    tiers = WeightTiers(copied=sum(plan.nbytes for plan in plans))
    chosen = proven(checkpoint.config, DTYPES[dtype]) if kernels else NONE
    return Model(checkpoint, Weights(arrays, tiers), checkpoint.specs, dtype, kernels=chosen)


def synthetic_mtp(model: Model, *, seed: int = 0, stop: Callable[[], bool] = never) -> MtpLayer | None:
    """Random weights for the MTP layer of a `synthetic_model`; None where its checkpoint has none.

    Raises LoadCancelled as that does.
    """
    mtp = model.checkpoint.mtp
    if mtp is None:
        return None
    plans = _mtp_plans(model.checkpoint, model.dtype)
    return MtpLayer(model, _random(plans, mtp.tensors, mtp.specs, (seed, 1), None, stop), mtp.specs)


def _mtp_plans(checkpoint: Checkpoint, dtype: str) -> list[TensorPlan]:
    if checkpoint.mtp is None:
        return []
    return plan_tensors(checkpoint.mtp.tensors, mtp_tensors(checkpoint.config), DTYPES[dtype], raw=False)


def _random(
    plans: Sequence[TensorPlan],
    tensors: Mapping[str, TensorInfo],
    specs: Mapping[str, QuantSpec],
    seed: tuple[int, ...],
    progress: Callable[[int, int], None] | None,
    stop: Callable[[], bool],
) -> dict[str, mx.array]:
    """What `plans` make of `tensors`, by name."""
    total, done = sum(plan.nbytes for plan in plans), 0
    arrays: dict[str, mx.array] = {}
    for index, plan in enumerate(plans):
        if stop():
            raise LoadCancelled
        module, _, part = plan.name.rpartition(".")
        spec = specs.get(module)
        draw = np.random.default_rng((*seed, index))
        if spec is None:
            arrays[plan.name] = _plain(plan, draw)
        else:
            columns = tensors[f"{module}.weight"].shape[-1] * 32 // spec.bits
            arrays[plan.name] = _packed(plan, part, spec, columns, draw)
        mx.eval(arrays[plan.name])
        done += plan.nbytes
        if progress is not None:
            progress(done, total)
    return arrays


def _plain(plan: TensorPlan, draw: np.random.Generator) -> mx.array:
    """An unquantised tensor of sensible size, so that nothing overflows on its way through the layers."""
    if plan.name.endswith("A_log"):
        return mx.array(np.log(draw.uniform(0.05, 16, plan.shape)), dtype=plan.dtype)
    if plan.name.endswith("dt_bias"):
        return mx.array(draw.uniform(-4, 1, plan.shape), dtype=plan.dtype)
    mean, deviation = 0.0, 0.3 if plan.name.endswith("conv1d.weight") else plan.shape[-1] ** -0.5
    if "norm" in plan.name:
        mean, deviation = 1.0, 0.1
    return _by_rows(plan, lambda shape: mean + deviation * draw.standard_normal(shape, dtype=np.float32))


def _packed(plan: TensorPlan, part: str, spec: QuantSpec, columns: int, draw: np.random.Generator) -> mx.array:
    """One part of a quantised weight whose elements have a root mean square of about columns ** -0.5."""
    if part == "weight":
        # Random bits, but of E4M3 the top exponent bit is clear: with it some elements would be no number.
        mask = np.uint32(0xBFBFBFBF if spec.mode == "mxfp8" else 0xFFFFFFFF)
        return _by_rows(plan, lambda shape: draw.integers(0, 1 << 32, shape, dtype=np.uint32) & mask)
    rms = columns**-0.5
    if spec.mode == "affine":
        scale = rms / math.sqrt((4**spec.bits - 1) / 12)  # uniform codes 0 to 2^bits - 1
        value = scale if part == "scales" else -scale * (2**spec.bits - 1) / 2
        return mx.full(plan.shape, value, dtype=plan.dtype)
    scale = rms / _RMS[spec.mode]
    code = _e4m3(scale) if spec.mode == "nvfp4" else round(math.log2(scale)) + 127
    return mx.full(plan.shape, code, dtype=plan.dtype)


def _by_rows(plan: TensorPlan, make: Callable[[tuple[int, ...]], np.ndarray]) -> mx.array:
    """What `make` gives for some rows at a time, so that little but the result is ever in memory."""
    rows, *rest = plan.shape
    step = max(1, _PIECE_ELEMENTS // math.prod(rest))
    if rows <= step:
        return mx.array(make(plan.shape)).astype(plan.dtype)
    result = mx.zeros(plan.shape, plan.dtype)
    for row in range(0, rows, step):
        last = min(row + step, rows)
        # Evaluated at once and with no other owner, `result` is written in place.
        result[row:last] = mx.array(make((last - row, *rest))).astype(plan.dtype)
        mx.eval(result)
    return result


def _e4m3(value: float) -> int:
    """The byte of the E4M3 number nearest to a small positive `value`: 4 bits of exponent, bias 7, 3 of mantissa."""
    exponent = max(-6, math.floor(math.log2(value)))
    mantissa = round(value / 2**exponent * 8)  # 8 to 16; below 8 a subnormal
    return max(1, (exponent + 6) * 8 + mantissa)
