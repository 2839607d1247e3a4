"""Which format each weight gets: the two built-in recipes behind one small interface.

The `unsloth` recipe itself is recipe.py's. A person's own rules are read in rules_file.py.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from qwen_core.checkpoint.layout import layer_of, role_of
from qwen_core.checkpoint.quantization import AFFINE_BITS, AFFINE_GROUPS, FLOAT_MODES, Mode, QuantSpec, is_runnable
from qwen_core.checkpoint.recipe import AFFINE_GROUP, VARIANTS, Variant, default_spec, recipe_spec
from qwen_core.errors import SettingsError, quote

RECIPES = ("unsloth", "uniform")


@dataclass(frozen=True)
class Weight:
    """A weight to decide about: `module` is its canonical name, `layers` how many layers the model has."""

    module: str
    layers: int

    @property
    def role(self) -> str:
        return role_of(self.module)

    @property
    def layer(self) -> int | None:
        return layer_of(self.module)


class Rules(Protocol):
    """What decides the format of every linear layer and of the embedding; all other tensors stay floats."""

    @property
    def name(self) -> str:
        """What the rules are called, for people."""
        ...

    def decide(self, weight: Weight) -> QuantSpec | None:
        """The format of a weight; None leaves it a float."""
        ...

    def origin(self, weight: Weight) -> str | None:
        """What a person wrote that decided about a weight, to be named in messages; None where nobody wrote it."""
        ...

    def default(self, specs: Iterable[QuantSpec]) -> QuantSpec | None:
        """The top level of the config's block for a model with these formats; None: no block at all."""
        ...

    def check(self, weights: Iterable[Weight]) -> None:
        """Raise SettingsError if the rules cannot be meant for a model with these weights."""
        ...


@dataclass(frozen=True)
class Unquantised:
    """Nothing is quantised: only names and layout change."""

    name: str = "unquantised"

    def decide(self, weight: Weight) -> QuantSpec | None:
        return None

    def origin(self, weight: Weight) -> str | None:
        return None

    def default(self, specs: Iterable[QuantSpec]) -> QuantSpec | None:
        return None

    def check(self, weights: Iterable[Weight]) -> None:
        return


@dataclass(frozen=True)
class VariantRules:
    """The `unsloth` recipe of one published variant."""

    variant: Variant

    @property
    def name(self) -> str:
        return self.variant.name

    def decide(self, weight: Weight) -> QuantSpec | None:
        return recipe_spec(self.variant, weight.role)

    def origin(self, weight: Weight) -> str | None:
        return None

    def default(self, specs: Iterable[QuantSpec]) -> QuantSpec | None:
        return default_spec(self.variant)

    def check(self, weights: Iterable[Weight]) -> None:
        return


@dataclass(frozen=True)
class UniformRules:
    """Every linear layer and the embedding in one format."""

    spec: QuantSpec

    @property
    def name(self) -> str:
        return f"uniform {self.spec}"

    def decide(self, weight: Weight) -> QuantSpec | None:
        return self.spec

    def origin(self, weight: Weight) -> str | None:
        return None

    def default(self, specs: Iterable[QuantSpec]) -> QuantSpec | None:
        return self.spec

    def check(self, weights: Iterable[Weight]) -> None:
        return


def built_in_rules(recipe: str, mode: Mode, bits: int | None = None, group_size: int | None = None) -> Rules:
    """The rules that `--q-recipe`, `--q-mode`, `--q-bits` and `--q-group-size` ask for.

    Raises SettingsError for a combination that does not exist.
    """
    if recipe not in RECIPES:
        raise SettingsError(f"the recipe {quote(repr(recipe))} is unknown: choose one of {', '.join(RECIPES)}")
    own_bits, own_group = FLOAT_MODES.get(mode, (4, AFFINE_GROUP))
    spec = QuantSpec(mode, own_bits if bits is None else bits, own_group if group_size is None else group_size)
    if not is_runnable(spec):
        if mode == "affine":
            choices = f"bits {', '.join(map(str, AFFINE_BITS))} and groups {', '.join(map(str, AFFINE_GROUPS))}"
        else:
            choices = f"{own_bits} bits and group {own_group} alone"
        raise SettingsError(f"MLX cannot run {spec}: {mode} has {choices}")
    if recipe == "uniform":
        return UniformRules(spec)
    if mode == "affine" and spec.group_size != AFFINE_GROUP:
        raise SettingsError(f"the unsloth recipe has groups of {AFFINE_GROUP}: other groups need --q-recipe uniform")
    return VariantRules(next(v for v in VARIANTS if (v.mode, v.bits) == (mode, spec.bits)))
