"""Which format each weight gets: the two built-in recipes behind one small interface.

The `unsloth` recipe itself is recipe.py's. A person's own rules are read in rules_file.py.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import cast

from qwen_core.checkpoint.layout import layer_of, role_of
from qwen_core.checkpoint.quantization import FLOAT_MODES, MODES, Mode, QuantSpec, choices, is_runnable
from qwen_core.checkpoint.recipe import AFFINE_GROUP, ROUTING, VARIANTS, Variant, default_spec, recipe_spec
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


class Rules:
    """What decides the format of every linear layer and of the embedding; all other tensors stay floats.

    As it is, nothing is quantised: only names and layout change.
    """

    @property
    def name(self) -> str:
        """What the rules are called, for people."""
        return "unquantised"

    def decide(self, weight: Weight) -> QuantSpec | None:
        """The format of a weight; None leaves it a float."""
        return None

    def origin(self, weight: Weight) -> str | None:
        """What a person wrote that decided about a weight, to be named in messages; None where nobody wrote it."""
        return None

    def default(self, specs: Iterable[QuantSpec]) -> QuantSpec | None:
        """The top level of the config's block for a model with these formats; None: no block at all."""
        return None

    def check(self, weights: Iterable[Weight]) -> None:
        """Raise SettingsError if the rules cannot be meant for a model with these weights."""


@dataclass(frozen=True)
class VariantRules(Rules):
    """The `unsloth` recipe of one published variant."""

    variant: Variant

    @property
    def name(self) -> str:
        return self.variant.name

    def decide(self, weight: Weight) -> QuantSpec | None:
        return recipe_spec(self.variant, weight.role)

    def default(self, specs: Iterable[QuantSpec]) -> QuantSpec | None:
        return default_spec(self.variant)


@dataclass(frozen=True)
class UniformRules(Rules):
    """Every linear layer and the embedding in one format; of a mixture of experts not what chooses and weighs them."""

    spec: QuantSpec

    @property
    def name(self) -> str:
        return f"uniform {self.spec}"

    def decide(self, weight: Weight) -> QuantSpec | None:
        return None if weight.role in ROUTING else self.spec

    def default(self, specs: Iterable[QuantSpec]) -> QuantSpec | None:
        return self.spec


def rules_of_format(name: str) -> Rules:
    """Everything in one format, by its name: "bf16", "nvfp4", "mxfp4", "mxfp8", "affine" (4 bits) or "affine6"."""
    if name == "bf16":
        return Rules()
    bits = name.removeprefix("affine")
    if bits.isdecimal():
        return built_in_rules("uniform", "affine", int(bits))
    if name not in MODES:
        raise SettingsError(f"the format {quote(repr(name))} is unknown: choose bf16, {', '.join(MODES)} or affine6")
    return built_in_rules("uniform", cast(Mode, name))


def built_in_rules(recipe: str, mode: Mode, bits: int | None = None, group_size: int | None = None) -> Rules:
    """The rules that `--q-recipe`, `--q-mode`, `--q-bits` and `--q-group-size` ask for.

    Raises SettingsError for a combination that does not exist.
    """
    if recipe not in RECIPES:
        raise SettingsError(f"the recipe {quote(repr(recipe))} is unknown: choose one of {', '.join(RECIPES)}")
    own_bits, own_group = FLOAT_MODES.get(mode, (4, AFFINE_GROUP))
    spec = QuantSpec(mode, own_bits if bits is None else bits, own_group if group_size is None else group_size)
    if not is_runnable(spec):
        raise SettingsError(f"MLX cannot run {spec}: {choices(mode)}")
    if recipe == "uniform":
        return UniformRules(spec)
    if mode == "affine" and spec.group_size != AFFINE_GROUP:
        raise SettingsError(f"the unsloth recipe has groups of {AFFINE_GROUP}: other groups need --q-recipe uniform")
    return VariantRules(next(v for v in VARIANTS if (v.mode, v.bits) == (mode, spec.bits)))
