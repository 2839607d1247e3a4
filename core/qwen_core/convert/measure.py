"""What rounding costs each weight, measured while it is written, and how it is rounded where costs decide.

The error of a weight is sum(importance x (W - W')^2) over its elements, W' what the stored bytes stand for with folded
factors taken out again; its size the same sum of W^2. Importance is the mean square of an input channel: with it the
error is what the output of the layer is off by, without it (1 everywhere) the plain one.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from qwen_core.convert.awq import Fold, Vector
from qwen_core.convert.plan import Decision
from qwen_core.convert.rounding import Parts, quantised, restored, searched, weighted_square
from qwen_core.device.backend import mx
from qwen_core.errors import CheckpointError, quote
from qwen_core.tensors.rounding_error import RoundingError

# Importances are mean squares: what is added to a product of them is counted in float32 a piece at a time.
_LEAST_FACTOR = 1e-12


@dataclass(frozen=True)
class Weighting:
    """What a square of an error is multiplied by, float32: `columns` [1, columns], `rows` [rows, 1] or None."""

    columns: mx.array
    rows: mx.array | None

    @property
    def whole(self) -> mx.array:
        return self.columns if self.rows is None else self.columns * self.rows


class Measure:
    """The errors of a conversion, by canonical module name, in `errors` when it is over.

    `importance` is `read_imatrix`'s; a weight that it lacks is measured plainly. `search` rounds by `searched`.
    """

    def __init__(self, importance: Mapping[str, Vector] | None = None, *, search: bool = False) -> None:
        self.importance = importance or {}
        self.search = search
        self.errors: dict[str, RoundingError] = {}

    def pack(self, exact: mx.array, decision: Decision, fold: Fold | None, row: int) -> Parts:
        """The stored parts of rows from `row` on; `exact` is what is to be stored, float32, folded already."""
        spec = decision.spec
        assert spec is not None
        weighting = self.weighting(decision, fold, row, exact.shape[0])
        rounded = exact.astype(mx.bfloat16)
        parts = searched(rounded, spec, weighting.whole) if self.search else quantised(rounded, spec)
        error = weighted_square(weighting.whole, restored(parts, spec) - exact)
        size = weighted_square(weighting.whole, exact)
        check_sums(np.array([error, size]), decision.source.name)
        before = self.errors.get(decision.module, RoundingError(0, 0, decision.module in self.importance))
        self.errors[decision.module] = RoundingError(before.error + error, before.size + size, before.weighted)
        return parts

    def weighting(self, decision: Decision, fold: Fold | None, row: int, rows: int) -> Weighting:
        """The weights of `rows` rows from `row` on, which are one expert's."""
        expert = row // decision.shape[-2]
        columns = importance_of(self.importance, decision, expert)
        if fold is not None and fold.columns is not None:
            columns = columns / np.square(fold.columns if fold.columns.ndim == 1 else fold.columns[expert])
        weights = mx.array(columns.astype(np.float32))[None]
        if fold is None or fold.rows is None:
            return Weighting(weights, None)
        factors = np.maximum(fold.rows.reshape(-1)[row : row + rows], _LEAST_FACTOR)
        return Weighting(weights, mx.array(1 / np.square(factors))[:, None])


def check_sums(sums: Vector, name: str) -> None:
    """Raise CheckpointError where sums of weighted squares of the tensor `name` have left the range of float32."""
    if not np.isfinite(sums).all():
        raise CheckpointError(
            f"the errors of {quote(name)} cannot be measured: its squares, by their importance, are beyond float32; "
            "the file is damaged, or --variant alone can convert it"
        )


def importance_of(importance: Mapping[str, Vector], decision: Decision, expert: int) -> Vector:
    """The importance of a matrix's columns; 1 where nothing is known of it."""
    found = importance.get(decision.module)
    if found is None:
        return np.ones(decision.shape[-1], np.float32)
    return found if found.ndim == 1 else found[expert]
