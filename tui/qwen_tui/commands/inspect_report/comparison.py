"""Two checkpoints side by side: which modules differ, and how. Lines and JSON are comparison_lines.py's."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

from qwen_core.checkpoint.layout import Layout, ModuleLayout, Total, total
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


def _named_alike(*layouts: Layout) -> Iterator[Layout]:
    """The layouts, with stacks of experts called as MLX calls them where raw files are compared with MLX's."""
    differ = len({layout.mixture.fused for layout in layouts if layout.mixture is not None}) > 1
    for layout in layouts:
        modules = (part for module in layout.modules for part in (_parts(module) if differ else (module,)))
        yield replace(layout, modules=tuple(modules))


def _parts(module: ModuleLayout) -> Iterator[ModuleLayout]:
    """A module under the names that MLX has for it: gate and up of experts, which raw files have in one, are two."""
    raw = module.canonical
    names = _MLX_STACKS.get(module.role, (module.role,))
    for name in names:
        experts, *rest = module.shape
        yield replace(
            module,
            canonical=raw.removesuffix(module.role) + name,
            role=name,
            shape=(experts, rest[0] // len(names), *rest[1:]) if rest else module.shape,
            nbytes=module.nbytes // len(names),
            token_bytes=module.token_bytes // len(names),
        )


_MLX_STACKS = {
    "experts.gate_up_proj": ("switch_mlp.gate_proj", "switch_mlp.up_proj"),
    "experts.down_proj": ("switch_mlp.down_proj",),
}


def compare(left: Subject, right: Subject, filters: Filters) -> Comparison:
    """Pair the modules of two models by name, stacks of experts by MLX's. Raises FilterError for a word that neither
    knows."""
    one, other = _named_alike(left.layout, right.layout)
    passes: Callable[[ModuleLayout], bool] = selector(filters, one, other)
    names = dict.fromkeys(module.canonical for layout in (one, other) for module in layout.modules)
    pairs = []
    for name in names:
        pair = Pair(name, one.index.get(name), other.index.get(name))
        if any(module is not None and passes(module) for module in (pair.left, pair.right)):
            pairs.append(pair)
    return Comparison(left, right, tuple(pairs))
