"""Activation-aware scaling: importance of input channels folded into weights, and out of what feeds them.

A channel that matters gets a larger share of the quantisation grid: its column is multiplied by s, and the norm (or
the rows) before it by 1/s, so that the float model computes what it did (FORMAT.md, "AWQ from an imatrix"). Here are
the factors; fold_search.py chooses the power, transform.py multiplies.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from qwen_core.checkpoint.config import FULL, ModelConfig
from qwen_core.errors import CheckpointError, quote

Vector = np.ndarray  # float32, one dimension; of a stack of experts two
_LEAST = 1e-8
# The recipe's. An importance is a mean of squares: this is the whole root mean square.
FIXED_EXPONENT = 0.5


@dataclass(frozen=True)
class Fold:
    """Factors for one tensor, float32: `rows` has one for each row of a matrix or each element of a norm's vector,
    `columns` one for each column of a matrix. Of a stack of experts either may be [experts, ...]."""

    rows: Vector | None = None
    columns: Vector | None = None


@dataclass(frozen=True)
class ScaledGroup:
    """Weights with one and the same input, and the module that this input can be scaled in.

    `wanted` are those whose importance decides, `also` further ones that read the same input and must be scaled with
    them. `producer` is a norm, or a projection whose rows are the input's channels.
    """

    producer: str
    wanted: tuple[str, ...]
    also: tuple[str, ...] = ()


def groups(config: ModelConfig) -> Iterator[ScaledGroup]:
    """The groups of every layer, by canonical module names."""
    for index, kind in enumerate(config.layer_types):
        layer = f"layers.{index}."
        norm = f"{layer}input_layernorm"
        if kind == FULL:
            yield ScaledGroup(norm, tuple(f"{layer}self_attn.{name}_proj" for name in "qkv"))
        else:
            mixer = f"{layer}linear_attn.in_proj_"
            # a and b stay floats, but they read the same norm: leaving them out would change what they compute.
            yield ScaledGroup(norm, (f"{mixer}qkv", f"{mixer}z"), (f"{mixer}a", f"{mixer}b"))
        yield from _feed_forward(f"{layer}post_attention_layernorm", f"{layer}mlp.", config.mixture is not None)


def _feed_forward(norm: str, mlp: str, is_mixture: bool) -> Iterator[ScaledGroup]:
    parts = (f"{mlp}switch_mlp.", f"{mlp}shared_expert.") if is_mixture else (mlp,)
    readers = tuple(f"{part}{name}_proj" for part in parts for name in ("gate", "up"))
    # The router and the shared expert's gate read the same norm.
    also = (f"{mlp}gate", f"{mlp}shared_expert_gate") if is_mixture else ()
    yield ScaledGroup(norm, readers, also)
    for part in parts:
        yield ScaledGroup(f"{part}up_proj", (f"{part}down_proj",))


def scale_of(importance: Vector, exponent: float = FIXED_EXPONENT) -> Vector:
    """s of each channel: a power of its importance, centred so that the largest and the smallest multiply to about 1.
    Of a stack's importance [experts, channels] each expert by itself."""
    if importance.ndim == 2:
        return np.stack([scale_of(one, exponent) for one in importance])
    s = np.power(np.maximum(importance, np.float32(_LEAST)), np.float32(exponent))
    centre = max(float(np.sqrt(s.max() * s.min())), _LEAST)
    return (s / centre).astype(np.float32)


def folds(config: ModelConfig, importance: Mapping[str, Vector], quantised: set[str] | None = None) -> dict[str, Fold]:
    """The factors of every tensor that folding touches, by canonical module name.

    `importance` is `read_imatrix`'s, whose widths are checked. `quantised` limits folding to groups with at least one
    of these modules; None takes all groups. Raises CheckpointError where the importance of a weight is missing, of a
    group that is not folded too (the file is then of another model), or where none is wanted.
    """
    check_importance(config, importance)
    scales = {
        group: scale_of(importance_of_group(group, importance))
        for group in groups(config)
        if quantised is None or not quantised.isdisjoint(group.wanted)
    }
    if not scales:
        raise CheckpointError(
            "the importance matrix has no effect: nothing that it could scale is quantised; leave it out"
        )
    return folds_of(scales)


def check_importance(config: ModelConfig, importance: Mapping[str, Vector]) -> None:
    """Raise CheckpointError where the importance of a weight is missing whose input can be scaled."""
    for group in groups(config):
        for module in group.wanted:
            if module not in importance:
                raise CheckpointError(f"the importance matrix has nothing on {quote(module)}: it is not of this model")


def importance_of_group(group: ScaledGroup, importance: Mapping[str, Vector]) -> Vector:
    """Of each channel the largest that a weight of the group has."""
    return np.maximum.reduce([importance[module] for module in group.wanted])


def folds_of(scales: Mapping[ScaledGroup, Vector]) -> dict[str, Fold]:
    """The factors of every tensor by canonical module name, of groups whose channels are scaled so."""
    rows = {group.producer: (1 / scale).astype(np.float32) for group, scale in scales.items()}
    columns = {module: scale for group, scale in scales.items() for module in (*group.wanted, *group.also)}
    return {module: Fold(rows.get(module), columns.get(module)) for module in rows | columns}
