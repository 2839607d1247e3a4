"""Rules that a budget chose, weight by weight; and as the text of a recipe, which rules_file.py reads back."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby

from qwen_core.checkpoint.layout import layer_of
from qwen_core.checkpoint.quantization import QuantSpec
from qwen_core.convert.rules import Rules, Weight


@dataclass(frozen=True)
class FittedRules(Rules):
    """`specs` by canonical module name; a weight without one stays a float."""

    title: str
    specs: Mapping[str, QuantSpec | None]

    @property
    def name(self) -> str:
        return self.title

    def decide(self, weight: Weight) -> QuantSpec | None:
        return self.specs.get(weight.module)

    def default(self, specs: Iterable[QuantSpec]) -> QuantSpec | None:
        """The format of most modules, so that fewest have to be named in config.json."""
        common = Counter(specs).most_common(1)
        return common[0][0] if common else None


def recipe_text(name: str, specs: Mapping[str, QuantSpec | None]) -> str:
    """TOML rules that give every weight of `specs` its format: one for each run of layers that treat a role alike."""
    roles: dict[str, dict[int | None, QuantSpec | None]] = {}
    for module, spec in specs.items():
        roles.setdefault(_path(module), {})[layer_of(module)] = spec
    lines = [f"name = {json.dumps(name)}"]
    for path, layers in roles.items():
        for spec, first, last in _runs(layers):
            lines += ["", "[[rule]]", f"match = {json.dumps(path)}"]
            if first is not None and (first, last) != _ends(layers):
                lines.append(f"layers = [{first}, {last}]")
            lines += _format(spec)
    return "\n".join(lines) + "\n"


def _path(module: str) -> str:
    """The module's place in its layer ("mlp.up_proj"), which no other kind of layer has; outside its name."""
    return module if layer_of(module) is None else module.split(".", 2)[2]


def _ends(layers: Mapping[int | None, QuantSpec | None]) -> tuple[int | None, int | None]:
    numbers = list(layers)
    return numbers[0], numbers[-1]


def _runs(
    layers: Mapping[int | None, QuantSpec | None],
) -> Iterator[tuple[QuantSpec | None, int | None, int | None]]:
    """(format, first layer, last layer) of neighbours among the layers that have the weight."""
    for spec, run in groupby(layers.items(), key=lambda item: item[1]):
        numbers = [number for number, _ in run]
        yield spec, numbers[0], numbers[-1]


def _format(spec: QuantSpec | None) -> list[str]:
    if spec is None:
        return ["keep = true"]
    lines = [f'mode = "{spec.mode}"']
    if spec.mode == "affine":
        lines += [f"bits = {spec.bits}", f"group_size = {spec.group_size}"]
    return lines
