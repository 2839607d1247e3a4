"""A person's own recipe as a TOML file: rules in order, the first that matches a weight decides.

    name = "mine"                          # optional
    [[rule]]
    match = ["mlp.gate_proj", "mlp.up_proj"]   # module paths, at their end; * and ? stand for any characters
    layers = [0, 31]                       # optional: from, to (both included; -1 is the last layer)
    mode = "nvfp4"                         # affine (with bits and group_size), nvfp4, mxfp4 or mxfp8
    [[rule]]
    match = "*"
    keep = true                            # stays a float; as does every weight that no rule matches

The whole file is checked before anything is read, and every complaint names its rule.
"""

import tomllib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from qwen_core.checkpoint.quantization import FLOAT_MODES, MODES, Mode, QuantSpec, choices, is_runnable
from qwen_core.convert.rules import Rules, Weight
from qwen_core.errors import CheckpointError, SettingsError, quote
from qwen_core.files import read_text

MAX_FILE_BYTES = 1 << 20
# What Windows editors put before UTF-8; TOML has no place for it.
_MARK = "\N{BYTE ORDER MARK}"
_KEYS = {"match", "layers", "mode", "bits", "group_size", "keep"}


@dataclass(frozen=True)
class Rule:
    """One rule. `where` names it in messages; `layers` is (first, last) as written; `spec` None keeps floats."""

    where: str
    patterns: tuple[str, ...]
    layers: tuple[int, int] | None
    spec: QuantSpec | None

    def matches(self, weight: Weight) -> bool:
        if self.layers is not None:
            if weight.layer is None:
                return False
            first, last = (index + weight.layers if index < 0 else index for index in self.layers)
            if not first <= weight.layer <= last:
                return False
        return any(_is_match(weight.module, pattern) for pattern in self.patterns)


def _is_match(module: str, pattern: str) -> bool:
    return fnmatchcase(module, pattern) or fnmatchcase(module, f"*.{pattern}")


@dataclass(frozen=True)
class CustomRules(Rules):
    """The rules of one file."""

    title: str
    rules: tuple[Rule, ...]

    @property
    def name(self) -> str:
        return self.title

    def decide(self, weight: Weight) -> QuantSpec | None:
        rule = self._first(weight)
        return None if rule is None else rule.spec

    def origin(self, weight: Weight) -> str | None:
        rule = self._first(weight)
        return None if rule is None else rule.where

    def _first(self, weight: Weight) -> Rule | None:
        return next((rule for rule in self.rules if rule.matches(weight)), None)

    def default(self, specs: Iterable[QuantSpec]) -> QuantSpec | None:
        """The format of most modules, so that fewest have to be named in config.json."""
        common = Counter(specs).most_common(1)
        return common[0][0] if common else None

    def check(self, weights: Iterable[Weight]) -> None:
        """Raise SettingsError for what can only be a slip of the pen: a rule that no weight of the model ever reaches,
        a pattern that is no module's, a layer that the model has not."""
        weights = list(weights)
        # A model with tied embeddings has no lm_head, but a recipe for several models may name it.
        modules = {weight.module for weight in weights} | {"lm_head"}
        for rule in self.rules:
            for index in rule.layers or ():
                layers = weights[0].layers
                if not -layers <= index < layers:
                    raise SettingsError(
                        f"{rule.where}: layers names {index}, but the model has {layers} layers: 0 to {layers - 1}, "
                        f"or -{layers} to -1 from the end"
                    )
            for pattern in rule.patterns if len(rule.patterns) > 1 else ():
                if not any(_is_match(module, pattern) for module in modules):
                    raise SettingsError(f"{rule.where}: its pattern {quote(pattern)} matches no weight of this model")
        reached: set[str] = set()
        matched: set[str] = set()
        for weight in weights:
            hits = [rule.where for rule in self.rules if rule.matches(weight)]
            reached.update(hits[:1])
            matched.update(hits)
        for rule in self.rules:
            if rule.where not in reached:
                reason = "earlier rules take all that it matches" if rule.where in matched else "it matches no weight"
                raise SettingsError(f"{rule.where} has no effect on this model: {reason}")


def read_rules(path: Path) -> CustomRules:
    """The rules in the file at `path`. Raises SettingsError naming the file and the rule that is wrong."""
    where = f"the recipe {quote(path)}"
    try:
        values = tomllib.loads(read_text(path, MAX_FILE_BYTES).removeprefix(_MARK))
    except CheckpointError as error:
        raise SettingsError(f"the recipe cannot be read: {error}") from None
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise SettingsError(f"{where} is not TOML: {quote(error)}") from None
    unknown = sorted(set(values) - {"name", "rule"})
    if unknown:
        raise SettingsError(f"{where} has the key {quote(unknown[0])}: it takes name and [[rule]] tables")
    name = values.get("name", path.stem)
    if not isinstance(name, str):
        raise SettingsError(f"{where}: name must be text")
    rules = values.get("rule")
    if not isinstance(rules, list) or not rules:
        raise SettingsError(f"{where} has no rules: write at least one [[rule]] table")
    return CustomRules(name, tuple(_rule(value, f"{where}, rule {i}") for i, value in enumerate(rules, 1)))


def _rule(value: Any, where: str) -> Rule:
    if not isinstance(value, dict):
        raise SettingsError(f"{where} is not a table")
    match = value.get("match")
    patterns = [match] if isinstance(match, str) else match
    if not isinstance(patterns, list) or not patterns or not all(isinstance(p, str) and p for p in patterns):
        raise SettingsError(f"{where} needs match: a module path, or a list of them")
    where = f"{where} ({quote(', '.join(patterns))})"
    unknown = sorted(set(value) - _KEYS)
    if unknown:
        raise SettingsError(f"{where} has the key {quote(unknown[0])}: it takes {', '.join(sorted(_KEYS))}")
    keep = value.get("keep", False)
    if not isinstance(keep, bool):
        raise SettingsError(f"{where}: keep must be true or false")
    if keep and {"mode", "bits", "group_size"} & set(value):
        raise SettingsError(f"{where}: keep and a format cannot be used together")
    if not keep and "mode" not in value:
        raise SettingsError(f"{where} needs a mode, or keep = true")
    return Rule(where, tuple(patterns), _layers(value.get("layers"), where), None if keep else _spec(value, where))


def _layers(value: Any, where: str) -> tuple[int, int] | None:
    if value is None:
        return None
    if not isinstance(value, list) or len(value) != 2 or not all(type(index) is int for index in value):
        raise SettingsError(f"{where}: layers must be two whole numbers, from and to")
    return value[0], value[1]


def _spec(value: dict[str, Any], where: str) -> QuantSpec:
    modes: dict[str, Mode] = {mode: mode for mode in MODES}
    mode = modes.get(value["mode"]) if isinstance(value["mode"], str) else None
    if mode is None:
        raise SettingsError(f"{where}: mode {quote(repr(value['mode']))} is not one of {', '.join(modes)}")
    default_bits, default_group = FLOAT_MODES.get(mode, (None, 64))
    bits, group = value.get("bits", default_bits), value.get("group_size", default_group)
    if type(bits) is not int or type(group) is not int:
        raise SettingsError(f"{where}: affine needs bits, and bits and group_size must be whole numbers")
    spec = QuantSpec(mode, bits, group)
    if not is_runnable(spec):
        raise SettingsError(f"{where}: MLX cannot run {spec}: {choices(mode)}")
    return spec
