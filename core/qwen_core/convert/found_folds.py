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

from qwen_core.checkpoint.architecture import is_stack
from qwen_core.checkpoint.directory import Checkpoint
from qwen_core.checkpoint.layout import PARTS
from qwen_core.convert.awq import Fold, ScaledGroup, Vector, groups
from qwen_core.convert.matrices import matrices
from qwen_core.device.backend import mx
from qwen_core.model.weights import load_weights

# Below this correlation of the rows' and the columns' factors (their logarithms) there was no fold, or one that is
# smaller than the noise.
_LEAST_CORRELATION = 0.5
# Factors that are all above this are no noise, but one for all channels: fold_search.py's gains, from 4 on.
_LEAST_GAIN = 2.0


def load_modules(checkpoint: Checkpoint, modules: Iterable[str], dtype: str) -> dict[str, mx.array]:
    """The arrays of some modules alone, by canonical tensor name, as `load_weights` gives them."""
    wanted = {module + part for module in modules for part in PARTS}
    some = {name: info for name, info in checkpoint.text.items() if name in wanted}
    return load_weights(replace(checkpoint, text=some), dtype).arrays


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
    """The factors of the columns that the producer's rows feed, of a stack those of each expert; `folded` are those of
    its own columns."""
    (consumer,) = group.wanted
    shrunk, grown = [], []
    checkpoints = (original, model)
    weights = [matrices(checkpoint, module) for module in (group.producer, consumer) for checkpoint in checkpoints]
    for before, after, consumer_before, consumer_after in zip(*weights, strict=True):
        row = before if folded is None else before * mx.array(folded)
        shrunk.append(_gain(row, after, axis=1))
        grown.append(_gain(consumer_before, consumer_after, axis=0))
    if not _are_opposite(np.stack(grown), np.stack(shrunk)):
        return None
    scale = (1 / np.stack(shrunk)).astype(np.float32)
    return scale if is_stack(group.producer) else scale[0]


def _are_opposite(grown: np.ndarray, shrunk: np.ndarray) -> bool:
    """Whether the columns [experts, channels] have grown by what the rows that feed them have shrunk.

    All experts of a stack were folded or none, each around a centre of its own: so they are judged together.
    """
    logarithms = np.stack([np.log(grown), -np.log(shrunk)]).astype(np.float64)
    if logarithms.mean(axis=(1, 2)).min() > np.log(_LEAST_GAIN):
        return True
    centred = logarithms - logarithms.mean(axis=-1, keepdims=True)
    spread = np.sqrt((centred**2).mean(axis=(1, 2)))
    if not spread.all():
        return False
    return float((centred[0] * centred[1]).mean() / spread.prod()) >= _LEAST_CORRELATION


def _gain(before: mx.array, after: mx.array, axis: int) -> Vector:
    """How much longer each row (axis 1) or column (axis 0) has become. Of all estimates this leans least: projected on
    the original a row is too short by the share of noise, projected on the quantised one too long."""
    return np.sqrt(_ratio(np.array((after * after).sum(axis)), np.array((before * before).sum(axis))))


def _ratio(above: Vector, below: Vector) -> Vector:
    """1 where it is no positive number: what is 0 on one side says nothing, and matters to nobody."""
    with np.errstate(all="ignore"):
        ratio = above / below
    return np.where(np.isfinite(ratio) & (ratio > 0), ratio, 1).astype(np.float32)
