"""Which published variant a layout is, told from the evidence of its tensors; and what each variant would cost.

Directory names prove nothing: a name is given only where every module agrees with the recipe.
"""

from collections import Counter
from dataclasses import dataclass
from math import prod

from qwen_core.checkpoint.architecture import text_tensors
from qwen_core.checkpoint.config import ModelConfig
from qwen_core.checkpoint.directory import Checkpoint
from qwen_core.checkpoint.layout import Layout, ModuleLayout, make_layout, role_of, token_bytes
from qwen_core.checkpoint.quantization import QuantSpec
from qwen_core.checkpoint.recipe import KEPT, VARIANTS, Variant, recipe_spec


@dataclass(frozen=True)
class Verdict:
    """`name`: a published variant ("UD-NVFP4_K_XL"), "uniform affine 4-bit g64", "modelopt nvfp4 4-bit g16",
    "bf16", or "custom".

    `evidence` says in one line what it rests on; `nearest` is the published variant that agrees most, and `differing`
    the canonical names of the modules that do not follow it (empty for a published variant).
    """

    name: str
    evidence: str
    nearest: str | None = None
    differing: tuple[str, ...] = ()


@dataclass(frozen=True)
class Cost:
    """Bytes of the text model's weights under some plan, as stored, and those that one token reads."""

    nbytes: int
    token_bytes: int


def identify(layout: Layout) -> Verdict:
    """What the quantisation of `layout` is called."""
    matrices = [module for module in layout.modules if module.is_matrix]
    specs = Counter(module.spec for module in matrices if module.spec is not None)
    if not specs:
        modes = Counter(module.mode for module in matrices)
        name = modes.most_common(1)[0][0] if len(modes) == 1 else "custom"
        return Verdict(name, f"none of {len(matrices)} matrices is quantised")
    distances = {variant.name: _differing(variant, matrices) for variant in VARIANTS}
    nearest = min(distances, key=lambda name: len(distances[name]))
    differing = distances[nearest]
    if not differing:
        kept = sum(module.role in KEPT for module in matrices)
        evidence = f"all {len(matrices) - kept} quantised matrices and the {kept} kept in float follow its recipe"
        return Verdict(nearest, evidence, nearest)
    if len(specs) == 1:
        (spec,) = specs
        plain = [module.role for module in matrices if module.spec is None]
        writers = {module.writer for module in matrices if module.spec is not None}
        writer = writers.pop() if len(writers) == 1 else "mlx"
        first, written = ("uniform", "") if writer == "mlx" else (writer, f" as {writer} wrote them")
        evidence = f"{specs[spec]} of {len(matrices)} matrices are {spec}{written}"
        if plain:
            evidence += f", the others ({', '.join(sorted(set(plain)))}) are not quantised"
        return Verdict(f"{first} {spec.mode} {spec.bits}-bit g{spec.group_size}", evidence, nearest, differing)
    roles = ", ".join(sorted({role_of(name) for name in differing})[:6])
    evidence = f"{len(differing)} of {len(matrices)} matrices differ from the nearest, {nearest}: {roles}"
    return Verdict("custom", evidence, nearest, differing)


def variant_name(checkpoint: Checkpoint) -> str:
    """The name alone."""
    return identify(make_layout(checkpoint)).name


def _differing(variant: Variant, matrices: list[ModuleLayout]) -> tuple[str, ...]:
    return tuple(module.canonical for module in matrices if module.spec != recipe_spec(variant, module.role))


def stored_bytes(shape: tuple[int, ...], spec: QuantSpec | None, float_bits: int = 16) -> int:
    """Bytes of a weight of this shape as FORMAT.md stores it: packed elements, scales, biases; else plain floats."""
    count = prod(shape)
    if spec is None:
        return count * float_bits // 8
    groups = count // spec.group_size
    return count * spec.bits // 8 + groups * (4 if spec.mode == "affine" else 1)


def predict(config: ModelConfig, variant: Variant | None) -> Cost:
    """What the text model of `config` would cost as `variant`; None: all in bf16."""
    total = per_token = 0
    for tensor in text_tensors(config, lm_head=not config.tie_word_embeddings):
        spec = recipe_spec(variant, role_of(tensor.module)) if variant is not None and tensor.is_matrix else None
        nbytes = stored_bytes(tensor.shape, spec)
        total += nbytes
        per_token += token_bytes(config, tensor, nbytes)
    return Cost(total, per_token)
