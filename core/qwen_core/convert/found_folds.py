"""What was folded into the weights of a quantised model, found by comparing it with its unquantised original.

awq.py multiplies columns and divides what feeds them, and a checkpoint says nothing about it. But both models have
their norms unquantised: the original's norm over the folded one's is the factor of every column that reads it, exactly
(rounding of the folded norm included). Where rows of up_proj feed columns of down_proj, the factor of a channel is how
much shorter its row has become, which quantisation itself changes by 2 % at 2 bits and by less than 1 % above: rows are
quantised by themselves, so that noise is the same share of each whatever its factor. A small column is lost in the
noise of its neighbours, but the columns tell whether there was a fold: noise is independent in the two matrices.
"""

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from qwen_core.checkpoint.directory import Checkpoint
from qwen_core.checkpoint.layout import PARTS
from qwen_core.checkpoint.quantization import QuantSpec
from qwen_core.convert.awq import Fold, ScaledGroup, Vector, groups
from qwen_core.device.backend import mx
from qwen_core.model.layers import packed_projection
from qwen_core.model.weights import load_weights

# Below this correlation of the rows' and the columns' factors (their logarithms) there was no fold, or one that is
# smaller than the noise.
_LEAST_CORRELATION = 0.5


def load_modules(checkpoint: Checkpoint, modules: Iterable[str], dtype: str) -> dict[str, mx.array]:
    """The arrays of some modules alone, by canonical tensor name, as `load_weights` gives them."""
    wanted = {module + part for module in modules for part in PARTS}
    some = {name: info for name, info in checkpoint.text.items() if name in wanted}
    return load_weights(replace(checkpoint, text=some), dtype).arrays


def unpacked(arrays: dict[str, mx.array], module: str, spec: QuantSpec | None) -> mx.array:
    """The weight of one of the `arrays`, float32."""
    if spec is None:
        return arrays[f"{module}.weight"].astype(mx.float32)
    return packed_projection(dict(arrays), module, spec).dequantized(mx.float32)


def find_folds(original: Checkpoint, model: Checkpoint) -> dict[str, Fold]:
    """The factors that `model`'s matrices were multiplied by before they were quantised, by canonical module name.

    Both must be of one architecture and sizes, `original` unquantised. Modules that nothing was folded into are absent,
    and so are norms.
    """
    rows: dict[str, Vector] = {}
    columns: dict[str, Vector] = {}
    for group in groups(model.config):
        if group.producer.endswith("_proj"):
            scale = _between_matrices(original, model, group, columns.get(group.producer))
            if scale is not None:
                rows[group.producer] = 1 / scale
        else:
            scale = _of_norm(original, model, group.producer)
        if scale is not None:
            columns |= dict.fromkeys((*group.wanted, *group.also), scale)
    return {module: Fold(rows.get(module), columns.get(module)) for module in rows | columns}


def _of_norm(original: Checkpoint, model: Checkpoint, norm: str) -> Vector | None:
    """The factors of the columns that read `norm`; None where both norms are equal but for the stored rounding."""
    before, after = (load_modules(checkpoint, [norm], "float32")[f"{norm}.weight"] for checkpoint in (original, model))
    stored = {"BF16": mx.bfloat16, "F16": mx.float16}.get(model.text[f"{norm}.weight"].dtype, mx.float32)
    if mx.array_equal(before.astype(stored).astype(mx.float32), after).item():
        return None
    ratio = _ratio(np.array(before), np.array(after))
    return None if bool((ratio == 1).all()) else ratio


def _between_matrices(
    original: Checkpoint, model: Checkpoint, group: ScaledGroup, folded: Vector | None
) -> Vector | None:
    """The factors of the columns that the producer's rows feed; `folded` are those of its own columns."""
    (consumer,) = group.wanted
    before, after = (load_modules(c, (group.producer, consumer), "float32") for c in (original, model))
    row = unpacked(before, group.producer, None)
    if folded is not None:
        row = row * mx.array(folded)
    shrunk = _gain(row, unpacked(after, group.producer, model.specs.get(group.producer)), axis=1)
    grown = _gain(unpacked(before, consumer, None), unpacked(after, consumer, model.specs.get(consumer)), axis=0)
    logarithms = np.stack([np.log(grown), -np.log(shrunk)]).astype(np.float64)
    spread = logarithms.std(axis=1)
    if not spread.all():
        return None
    centred = logarithms - logarithms.mean(axis=1, keepdims=True)
    if float((centred[0] * centred[1]).mean() / spread.prod()) < _LEAST_CORRELATION:
        return None
    return (1 / shrunk).astype(np.float32)


def _gain(before: mx.array, after: mx.array, axis: int) -> Vector:
    """How much longer each row (axis 1) or column (axis 0) has become. Of all estimates this leans least: projected on
    the original a row is too short by the share of noise, projected on the quantised one too long."""
    return np.sqrt(_ratio(np.array((after * after).sum(axis)), np.array((before * before).sum(axis))))


def _ratio(above: Vector, below: Vector) -> Vector:
    """1 where it is no positive number: what is 0 on one side says nothing, and matters to nobody."""
    with np.errstate(all="ignore"):
        ratio = above / below
    return np.where(np.isfinite(ratio) & (ratio > 0), ratio, 1).astype(np.float32)
