"""How much of an importance matrix to fold in, group by group, by the error that quantised weights then have.

Every exponent of a grid from 0 (nothing is folded) to 1 is tried on the weights themselves, in the format each will
get: sum over channels of importance x (W - dequantised(quantised(W s)) / s)^2. The least wins, so that folding never
makes this error larger. No forward pass, and a few megabytes of the group in memory.

nvfp4's scales are E4M3, whose precision is lost below 2^-6: weights of a usual size are there. One factor for all
channels of a group, a power of two that the norm or the rows before it are divided by, brings them back; it does what
MLX's `global_scale` does, in files that mlx-lm reads too (0.32.2 takes no `global_scale` in a linear layer, nor does
MLX's `quantized_matmul`).

Between two matrices (rows of up_proj, columns of down_proj) both change: there the sum of both relative errors counts,
so that little is not gained in one by rounding much of the other anew.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

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
from qwen_core.convert.measure import Measure, check_sums
from qwen_core.convert.meter import Meter
from qwen_core.convert.plan import ConversionPlan, Decision, Progress
from qwen_core.convert.rounding import nearest, weighted_square
from qwen_core.convert.transform import row_pieces, values_of
from qwen_core.device.backend import mx
from qwen_core.errors import CheckpointError

GRID = tuple(float(exponent) for exponent in np.linspace(0, 1, 20))
# Exact in every type, so that nothing but the scales changes.
GAINS = tuple(2.0**power for power in (0, 2, 4, 6, 8, 10))
# A group whose squared error would be smaller by less than this share stays as it is. Scaling rounds all of its weights
# anew, which moves a model's predictions by some percent either way: measured on six small models, gains of less than a
# tenth made the KL divergence worse as often as better.
LEAST_GAIN = 0.1


@dataclass(frozen=True)
class FoldChoice:
    """What was chosen for a group: exponent 0 folds nothing of importance. `gain` is one factor for all channels.
    `before` and `after` are sqrt(error / size) of its weights."""

    group: ScaledGroup
    exponent: float
    gain: float
    before: float
    after: float


def search_folds(
    plan: ConversionPlan,
    importance: Mapping[str, Vector],
    *,
    gains: bool = False,
    progress: Progress | None = None,
) -> tuple[dict[str, Fold], tuple[FoldChoice, ...]]:
    """The factors of every tensor that folding touches, by canonical module name, and what was chosen for each group
    with a quantised weight. Without importance there are only `gains`, where those are wanted.

    Raises CheckpointError where the importance of a weight is missing, and where no such group is quantised.
    """
    if importance:
        check_importance(plan.checkpoint.config, importance)
    decisions = {decision.module: decision for decision in plan.decisions if decision.part == "text"}
    wanted = quantised_groups(plan)
    if not wanted:
        raise CheckpointError(
            "the importance matrix has no effect: nothing that it could scale is quantised; leave it out"
        )
    gained = [group for group in wanted if gains and _takes_gain(group, decisions)]
    passes = [*(wanted if importance else ()), *gained]
    meter = Meter(
        sum(decisions[module].source_bytes for group in passes for module in _measured(group, decisions)), progress
    )
    scales: dict[ScaledGroup, Vector] = {}
    choices: list[FoldChoice] = []
    with TensorBytes() as source:
        search = _Search(source, decisions, Measure(importance), meter)
        for group in wanted if importance else gained:
            known = folds_of(scales)
            scale, choice = _exponent(search, group, importance, known)
            if group in gained:
                scale, choice = _gain(search, choice, scale, known)
            choices.append(choice)
            if choice.exponent or choice.gain != 1:
                scales[group] = scale
    return folds_of(scales), tuple(choices)


def quantised_groups(plan: ConversionPlan) -> list[ScaledGroup]:
    """The groups with a quantised weight: what is folded into no other lessens its error."""
    return [group for group in groups(plan.checkpoint.config) if not plan.specs.keys().isdisjoint(group.wanted)]


def _exponent(
    search: "_Search", group: ScaledGroup, importance: Mapping[str, Vector], known: Mapping[str, Fold]
) -> tuple[Vector, FoldChoice]:
    if not importance:
        return search.ones(group), FoldChoice(group, 0.0, 1.0, 0.0, 0.0)
    tried = [scale_of(importance_of_group(group, importance), exponent) for exponent in GRID]
    errors = search.errors(group, tried, known)
    best = _best(errors)
    return tried[best], FoldChoice(group, GRID[best], 1.0, float(np.sqrt(errors[0])), float(np.sqrt(errors[best])))


def _gain(search: "_Search", choice: FoldChoice, scale: Vector, known: Mapping[str, Fold]) -> tuple[Vector, FoldChoice]:
    tried = [(scale * np.float32(gain)).astype(np.float32) for gain in GAINS]
    errors = search.errors(choice.group, tried, known)
    best = _best(errors)
    before = choice.before or float(np.sqrt(errors[0]))
    return tried[best], replace(choice, gain=GAINS[best], before=before, after=float(np.sqrt(errors[best])))


def _takes_gain(group: ScaledGroup, decisions: Mapping[str, Decision]) -> bool:
    """Whether a weight of the group has E4M3 scales, which are coarse below 2^-6."""
    specs = [decisions[module].spec for module in group.wanted]
    return any(spec and spec.mode == "nvfp4" for spec in specs)


def _best(errors: np.ndarray) -> int:
    best = int(np.argmin(errors))
    return best if errors[best] < errors[0] * (1 - LEAST_GAIN) else 0


def _measured(group: ScaledGroup, decisions: Mapping[str, Decision]) -> list[str]:
    """The quantised weights that are scaled with a group; with them the rows that feed it, rounded anew as well."""
    scaled = (*group.wanted, *group.also, group.producer)
    return [module for module in scaled if decisions[module].spec is not None]


class _Search:
    """Errors of the weights of one source."""

    def __init__(self, source: TensorBytes, decisions: Mapping[str, Decision], measure: Measure, meter: Meter) -> None:
        self._source, self._decisions, self._measure, self._meter = source, decisions, measure, meter

    def ones(self, group: ScaledGroup) -> Vector:
        """Factors that change nothing; where the rows of a stack feed the group, each expert's own."""
        shape = self._decisions[group.wanted[0]].shape
        is_stack = self._decisions[group.producer].is_stack
        return np.ones((shape[0], shape[-1]) if is_stack else shape[-1:], np.float32)

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
        check_sums(sums[:, 0], decision.source.name)
        self._meter.finish(decision.source_bytes)
        return sums

    def _of_piece(
        self, bits: np.ndarray, decision: Decision, fold: Fold, row: int, spec: QuantSpec
    ) -> tuple[float, float]:
        exact = values_of(bits, decision, fold, row).astype(mx.float32)
        cost = self._measure.weighting(decision, fold, row, len(bits)).whole
        error = weighted_square(cost, nearest(exact.astype(mx.bfloat16), spec) - exact)
        return error, weighted_square(cost, exact)
