"""Each weight's format by least total error under a budget: a Lagrangian sweep over what candidates.py measured.

The total is the sum of the weights' errors over that of their sizes: with an importance matrix the share of all
outputs' power that is noise. For a price of a byte every weight takes the format with the least
error + price x bytes; as the price falls each goes through the corners of the lower convex hull of its formats. All
steps of all weights in the order of what they gain a byte are therefore every best choice there is, but for what is
left over at the end, which goes to the steps that still fit.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from qwen_core.checkpoint.quantization import QuantSpec
from qwen_core.checkpoint.variants import stored_bytes
from qwen_core.convert.candidates import Candidates, formats_of
from qwen_core.convert.plan import ConversionPlan, Decision
from qwen_core.errors import SettingsError

Cost = Callable[[Decision, int], int]
"""What a weight stored in so many bytes takes of a budget."""


@dataclass(frozen=True)
class Budget:
    """At most `limit` of what `cost` counts, weights that are never quantised and all other tensors included.

    `words` names it for people, `unit` turns an amount of it into words.
    """

    limit: float
    cost: Cost
    words: str
    unit: Callable[[float], str]


@dataclass(frozen=True)
class Point:
    """One choice of the sweep: what it takes of the budget, its total error, its bytes on disk."""

    amount: int
    error: float
    nbytes: int


@dataclass(frozen=True)
class Choice:
    """The formats by canonical module name (None: float), and every point of the sweep up to the largest."""

    specs: Mapping[str, QuantSpec | None]
    point: Point
    sweep: tuple[Point, ...]


@dataclass(frozen=True)
class _Option:
    spec: QuantSpec | None
    amount: int
    error: float
    nbytes: int


@dataclass(frozen=True)
class _Step:
    """From one option of a weight to a better one."""

    module: str
    to: _Option
    gain: float
    amount: int


def check_budget(plan: ConversionPlan, budget: Budget) -> None:
    """Raise SettingsError where even the smallest formats need more: it names the least and the most possible. Nothing
    has to be measured for it. `plan` is of all floats."""
    least = most = 0
    for decision in plan.decisions:
        whole = budget.cost(decision, decision.nbytes)
        sizes = (stored_bytes(decision.shape, spec) for spec in formats_of(decision))
        least += min([whole, *(budget.cost(decision, size) for size in sizes)])
        most += whole
    if budget.limit < least:
        raise SettingsError(
            f"{budget.words} cannot be met: of this model the least is {budget.unit(least)} (every weight in its "
            f"smallest format), the most {budget.unit(most)} (nothing quantised)"
        )


def choose(plan: ConversionPlan, found: Mapping[str, Candidates], budget: Budget) -> Choice:
    """The formats of the least total error within `budget`. `plan` is of all floats.

    Raises SettingsError as `check_budget` does.
    """
    check_budget(plan, budget)
    size = _size(found)
    options = {
        decision.module: _hull(_options(decision, found[decision.module], budget.cost, size))
        for decision in plan.decisions
        if decision.module in found
    }
    now = {module: hull[0] for module, hull in options.items()}
    rest = [decision for decision in plan.decisions if decision.module not in found]
    fixed = sum(budget.cost(decision, decision.nbytes) for decision in rest)
    fixed_bytes = sum(decision.nbytes for decision in rest)
    steps = sorted(_steps(options), key=lambda step: -step.gain / max(step.amount, 1e-9))
    sweep = [_point(now, fixed, fixed_bytes)]
    chosen, skipped, taken = dict(now), set[str](), sweep[0].amount
    for step in steps:
        last = sweep[-1]
        before = now[step.module]
        now[step.module] = step.to
        sweep.append(
            Point(last.amount + step.amount, last.error - step.gain, last.nbytes + step.to.nbytes - before.nbytes)
        )
        # Once a weight's step did not fit, its later ones would not be steps from where it is.
        if step.module not in skipped and taken + step.amount <= budget.limit:
            chosen[step.module] = step.to
            taken += step.amount
        else:
            skipped.add(step.module)
    return Choice(
        {module: option.spec for module, option in chosen.items()}, _point(chosen, fixed, fixed_bytes), tuple(sweep)
    )


def point_of(
    plan: ConversionPlan, found: Mapping[str, Candidates], specs: Mapping[str, QuantSpec | None], cost: Cost
) -> Point:
    """What given formats come to; a weight without one stays a float."""
    size = _size(found)
    options = {
        decision.module: _option(decision, found[decision.module], specs.get(decision.module), cost, size)
        for decision in plan.decisions
        if decision.module in found
    }
    rest = [decision for decision in plan.decisions if decision.module not in found]
    return _point(
        options, sum(cost(decision, decision.nbytes) for decision in rest), sum(decision.nbytes for decision in rest)
    )


def _size(found: Mapping[str, Candidates]) -> float:
    """Of all weights, what errors are shares of."""
    return sum(one.size for one in found.values()) or 1.0


def _options(decision: Decision, found: Candidates, cost: Cost, size: float) -> list[_Option]:
    return [_option(decision, found, spec, cost, size) for spec in (*formats_of(decision), None)]


def _option(decision: Decision, found: Candidates, spec: QuantSpec | None, cost: Cost, size: float) -> _Option:
    nbytes = decision.nbytes if spec is None else stored_bytes(decision.shape, spec)
    return _Option(spec, cost(decision, nbytes), found.error(spec) / size, nbytes)


def _hull(options: Sequence[_Option]) -> list[_Option]:
    """The corners of the lower convex hull of (amount, error), from the least amount on."""
    corners: list[_Option] = []
    for option in sorted(options, key=lambda option: (option.amount, option.error, option.nbytes)):
        if corners and option.error >= corners[-1].error:
            continue  # more for nothing
        while len(corners) > 1 and _slope(corners[-2], corners[-1]) <= _slope(corners[-1], option):
            corners.pop()
        if len(corners) == 1 and corners[0].amount == option.amount:
            corners.pop()
        corners.append(option)
    return corners


def _slope(one: _Option, other: _Option) -> float:
    """What a unit more gains."""
    return (one.error - other.error) / max(other.amount - one.amount, 1e-9)


def _steps(options: Mapping[str, Sequence[_Option]]) -> Iterator[_Step]:
    for module, hull in options.items():
        for one, other in pairwise(hull):
            yield _Step(module, other, one.error - other.error, other.amount - one.amount)


def _point(options: Mapping[str, _Option], fixed: int, fixed_bytes: int) -> Point:
    chosen = options.values()
    return Point(
        fixed + sum(option.amount for option in chosen),
        sum(option.error for option in chosen),
        fixed_bytes + sum(option.nbytes for option in chosen),
    )
