"""The filters of `inspect`: words of the command line to a choice of modules. An unknown one names the choices."""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from qwen_core.errors import QwenError, quote

if TYPE_CHECKING:  # the help of the command imports this file, and must not need NumPy
    from qwen_core.checkpoint.layout import Layout, ModuleLayout

OUTSIDE = "outside"
_RANGE = re.compile(r"([0-9]{1,6})(?:-([0-9]{1,6}))?")


class FilterError(QwenError):
    """A role, mode or layer that the model does not have."""


@dataclass(frozen=True)
class Filters:
    """What was asked for; an empty tuple asks for everything. Within one filter any may match, all filters must."""

    roles: tuple[str, ...] = ()
    modes: tuple[str, ...] = ()
    layers: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.roles or self.modes or self.layers)


def select(layout: "Layout", filters: Filters) -> "tuple[ModuleLayout, ...]":
    """The modules of `layout` that pass. Raises FilterError."""
    return tuple(filter(selector(filters, layout), layout.modules))


def selector(filters: Filters, *layouts: "Layout") -> "Callable[[ModuleLayout], bool]":
    """Whether a module passes. A word has to be known in one of the layouts, else FilterError is raised."""
    modules = [module for layout in layouts for module in layout.modules]
    roles = _known("role", filters.roles, [module.role for module in modules])
    modes = _known("mode", filters.modes, [module.mode for module in modules])
    layers = _layers(filters.layers, max(len(layout.layer_kinds) for layout in layouts))

    def passes(module: "ModuleLayout") -> bool:
        return (
            (not roles or module.role in roles)
            and (not modes or module.mode in modes)
            and (not filters.layers or module.layer in layers)
        )

    return passes


def _known(what: str, wanted: Iterable[str], present: Sequence[str]) -> frozenset[str]:
    choices = dict.fromkeys(present)
    for word in wanted:
        if word not in choices:
            raise FilterError(
                f"{quote(word)!r} is not a {what} of this model. Choose from: {', '.join(sorted(choices))}"
            )
    return frozenset(wanted)


def _layers(words: Iterable[str], count: int) -> frozenset[int | None]:
    """ "0-3,7" as numbers; "outside" (what lies in no layer) as None."""
    found: set[int | None] = set()
    for word in (part.strip() for text in words for part in text.split(",")):
        if word == OUTSIDE:
            found.add(None)
            continue
        match = _RANGE.fullmatch(word)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
        if first > last or last >= count:
            raise FilterError(
                f"{quote(word)!r} is not a layer of this model. Choose from: 0-{count - 1}, ranges such as "
                f"0-{min(3, count - 1)}, and {OUTSIDE}"
            )
        found.update(range(first, last + 1))
    return frozenset(found)
