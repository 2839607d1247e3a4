"""Two checkpoints side by side: which modules differ, and how. Lines and JSON are comparison_lines.py's."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from qwen_core.checkpoint.layout import ModuleLayout, Total, total
from qwen_tui.commands.inspect_report.roles import FAMILIES, family_of
from qwen_tui.commands.inspect_report.selection import Filters, selector
from qwen_tui.commands.inspect_report.subject import Subject

Difference = Literal["only left", "only right", "shape", "spec"]


@dataclass(frozen=True)
class Pair:
    """One module by its canonical name; None on a side that lacks it."""

    name: str
    left: ModuleLayout | None
    right: ModuleLayout | None

    @property
    def present(self) -> ModuleLayout:
        """Either side, for what both have in common."""
        found = self.left or self.right
        assert found is not None
        return found

    @property
    def differences(self) -> tuple[Difference, ...]:
        """What is not the same; empty for modules stored alike. Values are not looked at."""
        left, right = self.left, self.right
        if left is None:
            return ("only right",)
        if right is None:
            return ("only left",)
        found: list[Difference] = []
        if left.shape != right.shape:
            found.append("shape")
        if (left.mode, left.bits, left.group_size) != (right.mode, right.bits, right.group_size):
            found.append("spec")
        return tuple(found)


@dataclass(frozen=True)
class RoleComparison:
    """One row of the table by role: what either side stores, in the order of the layers."""

    label: str
    left: tuple[ModuleLayout, ...]
    right: tuple[ModuleLayout, ...]

    @property
    def totals(self) -> tuple[Total, Total]:
        return total(self.left), total(self.right)


@dataclass(frozen=True)
class Comparison:
    """`pairs` are the modules of either side that the filters left, in the order of the computation."""

    left: Subject
    right: Subject
    pairs: tuple[Pair, ...]

    @cached_property
    def differing(self) -> tuple[Pair, ...]:
        return tuple(pair for pair in self.pairs if pair.differences)

    def by_role(self) -> tuple[RoleComparison, ...]:
        """By the roles that a card names together, in its order."""
        rows: dict[str, list[Pair]] = {family.label: [] for family in FAMILIES}
        for pair in self.pairs:
            rows.setdefault(family_of(pair.present.role).label, []).append(pair)
        return tuple(
            RoleComparison(
                label,
                tuple(pair.left for pair in pairs if pair.left is not None),
                tuple(pair.right for pair in pairs if pair.right is not None),
            )
            for label, pairs in rows.items()
            if pairs
        )


def compare(left: Subject, right: Subject, filters: Filters) -> Comparison:
    """Pair the modules of two models by name. Raises FilterError for a word that neither knows."""
    passes: Callable[[ModuleLayout], bool] = selector(filters, left.layout, right.layout)
    names = dict.fromkeys(module.canonical for side in (left, right) for module in side.layout.modules)
    pairs = []
    for name in names:
        pair = Pair(name, left.layout.index.get(name), right.layout.index.get(name))
        if any(module is not None and passes(module) for module in (pair.left, pair.right)):
            pairs.append(pair)
    return Comparison(left, right, tuple(pairs))
