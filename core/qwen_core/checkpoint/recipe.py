"""The `unsloth` recipe of the nine published variants: which weight gets which quantisation (FORMAT.md).

A table and its arithmetic. variants.py compares what is on disk with it and predicts sizes; a converter follows it.
"""

from dataclasses import dataclass

from qwen_core.checkpoint.quantization import FLOAT_MODES, Mode, QuantSpec

AFFINE_GROUP = 64

# Bits above the base B of every weight the recipe quantises, by role; all others stay as they are.
_EXTRA_BITS: dict[str, int] = {
    "gate_proj": 0,
    "up_proj": 0,
    "down_proj": 1,
    "switch_mlp.gate_proj": 0,
    "switch_mlp.up_proj": 0,
    "switch_mlp.down_proj": 1,
    "experts.gate_up_proj": 0,
    "experts.down_proj": 1,
    "shared_expert.gate_proj": 0,
    "shared_expert.up_proj": 0,
    "shared_expert.down_proj": 1,
    "q_proj": 2,
    "k_proj": 2,
    "v_proj": 2,
    "in_proj_qkv": 2,
    "in_proj_z": 2,
    "embed_tokens": 2,
    "lm_head": 3,
}
# Whatever the mode, these two stay affine.
ALWAYS_AFFINE = ("embed_tokens", "lm_head")
# What chooses and weighs the experts of a mixture: a rounding there is another expert.
ROUTING = ("gate", "shared_expert_gate")
# Linear layers that the recipe keeps in bf16.
KEPT = ("o_proj", "out_proj", "in_proj_a", "in_proj_b", *ROUTING)


@dataclass(frozen=True)
class Variant:
    """A published variant: `--q-mode` and `--q-bits` of the recipe."""

    name: str
    mode: Mode
    bits: int


VARIANTS: tuple[Variant, ...] = (
    Variant("UD-Q2_K_XL", "affine", 2),
    Variant("UD-Q3_K_XL", "affine", 3),
    Variant("UD-Q4_K_XL", "affine", 4),
    Variant("UD-Q5_K_XL", "affine", 5),
    Variant("UD-Q6_K_XL", "affine", 6),
    Variant("UD-Q8_K_XL", "affine", 8),
    Variant("UD-MXFP4_K_XL", "mxfp4", 4),
    Variant("UD-NVFP4_K_XL", "nvfp4", 4),
    Variant("UD-MXFP8_K_XL", "mxfp8", 8),
)


def find_variant(text: str) -> Variant | None:
    """The published variant that a person means by "UD-NVFP4_K_XL", "nvfp4" or "Q4"; None if there is none."""
    wanted = text.upper().removeprefix("UD-").removesuffix("_K_XL")
    return next((variant for variant in VARIANTS if variant.name == f"UD-{wanted}_K_XL"), None)


def default_spec(variant: Variant) -> QuantSpec:
    """The top level of the quantization block, from which modules that differ are named as overrides.

    The tool that made the published files gave only nvfp4 a default of its own; the mxfp variants say affine there
    and name every module that is not (FORMAT.md, "The quantisation block").
    """
    if variant.mode == "nvfp4":
        return QuantSpec("nvfp4", *FLOAT_MODES["nvfp4"])
    return QuantSpec("affine", variant.bits, AFFINE_GROUP)


def snap(bits: int) -> int:
    """The nearest width the recipe uses: 7 and above become 8, below 2 becomes 2."""
    return 2 if bits < 2 else 8 if bits >= 7 else bits


def recipe_spec(variant: Variant, role: str) -> QuantSpec | None:
    """What the recipe makes of a weight of this role ("gate_proj", "lm_head", ...); None leaves it in bf16.

    nvfp4 turns 4-bit decisions into nvfp4; mxfp4 and mxfp8 turn 4-bit ones into mxfp4 and 8-bit ones into mxfp8. The
    embedding and the head stay affine.
    """
    extra = _EXTRA_BITS.get(role)
    if extra is None:
        return None
    bits = snap(variant.bits + extra)
    modes: dict[int, Mode] = {}
    if role not in ALWAYS_AFFINE:
        if variant.mode == "nvfp4":
            modes = {4: "nvfp4"}
        elif variant.mode in ("mxfp4", "mxfp8"):
            modes = {4: "mxfp4", 8: "mxfp8"}
    mode = modes.get(bits)
    if mode is None:
        return QuantSpec("affine", bits, AFFINE_GROUP)
    return QuantSpec(mode, *FLOAT_MODES[mode])
