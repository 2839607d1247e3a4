"""How much of an importance matrix to fold in, group by group, by the error that quantised weights then have.

Every exponent of a grid from 0 (nothing is folded) to 1 is tried on the weights themselves, in the format each will
get: sum over channels of importance x (W - dequantised(quantised(W s)) / s)^2. The least wins, so that folding never
makes this error larger. No forward pass, and a few megabytes of the group in memory.

Between two matrices (rows of up_proj, columns of down_proj) both change: there the sum of both relative errors counts.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from qwen_core.checkpoint.quantization import QuantSpec
from qwen_core.checkpoint.tensor_bytes import TensorBytes
from qwen_core.convert.awq import (
    Fold,
    ScaledGroup,
    Vector,
    check_importance,
    folds_of,
    groups,
    importance_of_group,
    scale_of,
)
from qwen_core.convert.measure import Measure
from qwen_core.convert.meter import Meter
from qwen_core.convert.plan import ConversionPlan, Decision, Progress
from qwen_core.convert.rounding import nearest, weighted_square
from qwen_core.convert.transform import row_pieces, values_of
from qwen_core.device.backend import mx
from qwen_core.errors import CheckpointError

GRID = tuple(float(exponent) for exponent in np.linspace(0, 1, 20))
# A smaller gain than this share of the error is chance: it stays unfolded.
LEAST_GAIN = 0.01


@dataclass(frozen=True)
class FoldChoice:
    """What was chosen for a group: 0 folds nothing. `before` and `after` are sqrt(error / size) of its weights."""

    group: ScaledGroup
    exponent: float
    before: float
    after: float


def search_folds(
    plan: ConversionPlan, importance: Mapping[str, Vector], progress: Progress | None = None
) -> tuple[dict[str, Fold], tuple[FoldChoice, ...]]:
    """The factors of every tensor that folding touches, by canonical module name, and what was chosen for each group
    with a quantised weight.

    Raises CheckpointError where the importance of a weight is missing, and where no such group is quantised.
    """
    check_importance(plan.checkpoint.config, importance)
    decisions = {decision.module: decision for decision in plan.decisions if decision.part == "text"}
    wanted = [group for group in groups(plan.checkpoint.config) if not plan.specs.keys().isdisjoint(group.wanted)]
    if not wanted:
        raise CheckpointError(
            "the importance matrix has no effect: nothing that it could scale is quantised; leave it out"
        )
    total = sum(decisions[module].source_bytes for group in wanted for module in _measured(group, decisions))
    meter = Meter(total, progress)
    scales: dict[ScaledGroup, Vector] = {}
    choices: list[FoldChoice] = []
    with TensorBytes() as source:
        search = _Search(source, decisions, Measure(importance), meter)
        for group in wanted:
            known = folds_of(scales)
            tried = [scale_of(importance_of_group(group, importance), exponent) for exponent in GRID]
            errors = search.errors(group, tried, known)
            best = _best(errors)
            choices.append(FoldChoice(group, GRID[best], float(np.sqrt(errors[0])), float(np.sqrt(errors[best]))))
            if best:
                scales[group] = tried[best]
    return folds_of(scales), tuple(choices)


def _best(errors: np.ndarray) -> int:
    best = int(np.argmin(errors))
    return best if errors[best] < errors[0] * (1 - LEAST_GAIN) else 0


def _measured(group: ScaledGroup, decisions: Mapping[str, Decision]) -> list[str]:
    """The quantised weights of a group; with them the rows that feed it, where their scales are not free of size."""
    members = [module for module in group.wanted if decisions[module].spec is not None]
    producer = decisions[group.producer]
    if producer.is_matrix and producer.spec is not None and producer.spec.mode != "affine":
        members.append(group.producer)
    return members


class _Search:
    """Errors of the weights of one source."""

    def __init__(self, source: TensorBytes, decisions: Mapping[str, Decision], measure: Measure, meter: Meter) -> None:
        self._source, self._decisions, self._measure, self._meter = source, decisions, measure, meter

    def errors(self, group: ScaledGroup, tried: Sequence[Vector], known: Mapping[str, Fold]) -> np.ndarray:
        """error / size of the group with each of the scales [scales]; `known` has been folded in before."""
        readers, producer = np.zeros((2, len(tried))), np.zeros(len(tried))
        for module in _measured(group, self._decisions):
            decision, before = self._decisions[module], known.get(module, Fold())
            is_producer = module == group.producer
            folds = [
                Fold((1 / scale).astype(np.float32), before.columns) if is_producer else Fold(before.rows, scale)
                for scale in tried
            ]
            found = self._of_weight(decision, folds)
            if is_producer:
                producer += found[0] / found[1]
            else:
                readers += found
        return readers[0] / np.maximum(readers[1], 1e-30) + producer

    def _of_weight(self, decision: Decision, folds: Iterable[Fold]) -> np.ndarray:
        """[error and size, folds]"""
        assert decision.spec is not None
        folds = list(folds)
        sums = np.zeros((2, len(folds)))
        self._meter.begin(decision.source.name)
        for row, bits in row_pieces(self._source, decision):
            for index, fold in enumerate(folds):
                sums[:, index] += self._of_piece(bits, decision, fold, row, decision.spec)
            self._meter.reached((row + len(bits)) / np.prod(decision.shape[:-1]) * decision.source_bytes)
        self._meter.finish(decision.source_bytes)
        return sums

    def _of_piece(
        self, bits: np.ndarray, decision: Decision, fold: Fold, row: int, spec: QuantSpec
    ) -> tuple[float, float]:
        exact = values_of(bits, decision, fold, row).astype(mx.float32)
        cost = self._measure.weighting(decision, fold, row, len(bits)).whole
        error = weighted_square(cost, nearest(exact.astype(mx.bfloat16), spec) - exact)
        return error, weighted_square(cost, exact)
