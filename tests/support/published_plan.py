"""What the published checkpoints contain: every tensor's name and shape, and how the `unsloth` recipe quantises it.

Written from FORMAT.md's tables, apart from the program's own description of the architecture, so that the two check
each other. Names here are canonical; checkpoints.py gives them a prefix and writes files.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

VARIANTS = ("nvfp4", "mxfp4", "mxfp8", "q2", "q3", "q4", "q5", "q6", "q8", "bf16")

# The 27B's text_config, and what a model that runs in a test overrides of it.
FULL: dict[str, Any] = {
    "model_type": "qwen3_5_text",
    "attention_bias": False,
    "attn_output_gate": True,
    "bos_token_id": 248044,
    "eos_token_id": 248044,
    "full_attention_interval": 4,
    "head_dim": 256,
    "hidden_act": "silu",
    "hidden_size": 5120,
    "intermediate_size": 17408,
    "linear_conv_kernel_dim": 4,
    "linear_key_head_dim": 128,
    "linear_num_key_heads": 16,
    "linear_num_value_heads": 48,
    "linear_value_head_dim": 128,
    "max_position_embeddings": 262144,
    "mtp_num_hidden_layers": 1,
    "num_attention_heads": 24,
    "num_hidden_layers": 64,
    "num_key_value_heads": 4,
    "rms_norm_eps": 1e-6,
    "tie_word_embeddings": False,
    "vocab_size": 248320,
}
SMALL: dict[str, Any] = {
    "eos_token_id": 0,
    "bos_token_id": 0,
    "head_dim": 64,
    "hidden_size": 128,
    "intermediate_size": 256,
    "linear_key_head_dim": 64,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_value_head_dim": 64,
    "max_position_embeddings": 32768,
    "num_attention_heads": 4,
    "num_hidden_layers": 4,
    "num_key_value_heads": 2,
    "vocab_size": 512,
}

# What turns the 27B's text_config into the 35B-A3B's, and the small one into a small mixture.
FULL_MIXTURE: dict[str, Any] = {
    "hidden_size": 2048,
    "linear_num_value_heads": 32,
    "moe_intermediate_size": 512,
    "num_attention_heads": 16,
    "num_experts": 256,
    "num_experts_per_tok": 8,
    "num_hidden_layers": 40,
    "num_key_value_heads": 2,
    "shared_expert_intermediate_size": 512,
}
SMALL_MIXTURE: dict[str, Any] = {
    "moe_intermediate_size": 64,
    "num_experts": 8,
    "num_experts_per_tok": 2,
    "shared_expert_intermediate_size": 128,
}

# What turns the small ones into models that four ranks can share, whatever their quantisation.
SHARED = {"linear_num_key_heads": 4, "linear_num_value_heads": 8}
SHARED_MIXTURE = SHARED | SMALL_MIXTURE | {"moe_intermediate_size": 256, "shared_expert_intermediate_size": 256}


@dataclass(frozen=True)
class Spec:
    """Mode, bits, group of a quantised weight in the tests' own words."""

    mode: str
    bits: int
    group: int

    @property
    def config(self) -> dict[str, Any]:
        return {"bits": self.bits, "group_size": self.group, "mode": self.mode}


@dataclass(frozen=True)
class Planned:
    """One weight: canonical tensor name, unquantised shape, and its role.

    Roles: ffn, down, attn, embed, head (quantised by the recipe), linear (a bf16 matrix), norm, gated_norm, conv,
    A_log, dt_bias. Experts have a dimension before the rows.
    """

    name: str
    shape: tuple[int, ...]
    role: str


def text_config(small: bool, overrides: Mapping[str, Any]) -> dict[str, Any]:
    """A complete text_config; layer_types and RoPE fields follow from the sizes unless overridden."""
    config = {**FULL, **(SMALL if small else {}), **overrides}
    if "num_experts" in config:
        config["model_type"] = "qwen3_5_moe_text"
        config.pop("intermediate_size")
    interval = config["full_attention_interval"]
    kinds = ["linear_attention"] * (interval - 1) + ["full_attention"]
    config.setdefault("layer_types", [kinds[i % interval] for i in range(config["num_hidden_layers"])])
    pairs = config["head_dim"] // 8
    third = pairs // 3
    config.setdefault(
        "rope_parameters",
        {
            "mrope_interleaved": True,
            "mrope_section": [pairs - 2 * third, third, third],
            "partial_rotary_factor": 0.25,
            "rope_theta": 10000000,
            "rope_type": "default",
        },
    )
    return config


def text_plan(config: Mapping[str, Any]) -> Iterator[Planned]:
    """Every weight of the text model."""
    hidden, vocabulary = config["hidden_size"], config["vocab_size"]
    yield Planned("embed_tokens.weight", (vocabulary, hidden), "embed")
    if not config["tie_word_embeddings"]:
        yield Planned("lm_head.weight", (vocabulary, hidden), "head")
    yield Planned("norm.weight", (hidden,), "norm")
    for index, kind in enumerate(config["layer_types"]):
        layer = _full_layer(config) if kind == "full_attention" else _linear_layer(config)
        for weight in (*layer, *_feed_forward(config)):
            yield Planned(f"layers.{index}.{weight.name}", weight.shape, weight.role)


def _feed_forward(config: Mapping[str, Any]) -> Iterator[Planned]:
    hidden = config["hidden_size"]
    yield Planned("input_layernorm.weight", (hidden,), "norm")
    yield Planned("post_attention_layernorm.weight", (hidden,), "norm")
    if "num_experts" in config:
        experts, inner, shared = (
            config[key] for key in ("num_experts", "moe_intermediate_size", "shared_expert_intermediate_size")
        )
        yield Planned("mlp.gate.weight", (experts, hidden), "linear")
        yield from _swiglu("mlp.switch_mlp.", (experts,), hidden, inner)
        yield from _swiglu("mlp.shared_expert.", (), hidden, shared)
        yield Planned("mlp.shared_expert_gate.weight", (1, hidden), "linear")
    else:
        yield from _swiglu("mlp.", (), hidden, config["intermediate_size"])


def _swiglu(prefix: str, stack: tuple[int, ...], hidden: int, inner: int) -> Iterator[Planned]:
    yield Planned(f"{prefix}gate_proj.weight", (*stack, inner, hidden), "ffn")
    yield Planned(f"{prefix}up_proj.weight", (*stack, inner, hidden), "ffn")
    yield Planned(f"{prefix}down_proj.weight", (*stack, hidden, inner), "down")


def _full_layer(config: Mapping[str, Any]) -> Iterator[Planned]:
    hidden, head = config["hidden_size"], config["head_dim"]
    query, key = config["num_attention_heads"] * head, config["num_key_value_heads"] * head
    for name, rows in (("q", 2 * query), ("k", key), ("v", key)):
        yield Planned(f"self_attn.{name}_proj.weight", (rows, hidden), "attn")
    yield Planned("self_attn.o_proj.weight", (hidden, query), "linear")
    for name in ("q_norm", "k_norm"):
        yield Planned(f"self_attn.{name}.weight", (head,), "norm")


def _linear_layer(config: Mapping[str, Any]) -> Iterator[Planned]:
    hidden, heads = config["hidden_size"], config["linear_num_value_heads"]
    key = config["linear_num_key_heads"] * config["linear_key_head_dim"]
    value = heads * config["linear_value_head_dim"]
    yield Planned("linear_attn.in_proj_qkv.weight", (2 * key + value, hidden), "attn")
    yield Planned("linear_attn.in_proj_z.weight", (value, hidden), "attn")
    for name in "ab":
        yield Planned(f"linear_attn.in_proj_{name}.weight", (heads, hidden), "linear")
    yield Planned("linear_attn.out_proj.weight", (hidden, value), "linear")
    yield Planned("linear_attn.conv1d.weight", (2 * key + value, config["linear_conv_kernel_dim"], 1), "conv")
    yield Planned("linear_attn.norm.weight", (config["linear_value_head_dim"],), "gated_norm")
    yield Planned("linear_attn.A_log", (heads,), "A_log")
    yield Planned("linear_attn.dt_bias", (heads,), "dt_bias")


def vision_plan(hidden: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    """The vision tower that every published checkpoint carries in bf16: (full on-disk name, shape)."""
    width, inner, merged = 1152, 4304, 4608

    def with_bias(name: str, shape: tuple[int, ...]) -> Iterator[tuple[str, tuple[int, ...]]]:
        yield f"vision_tower.{name}.weight", shape
        yield f"vision_tower.{name}.bias", shape[:1]

    for block in range(27):
        yield from with_bias(f"blocks.{block}.attn.qkv", (3 * width, width))
        yield from with_bias(f"blocks.{block}.attn.proj", (width, width))
        yield from with_bias(f"blocks.{block}.mlp.linear_fc1", (inner, width))
        yield from with_bias(f"blocks.{block}.mlp.linear_fc2", (width, inner))
        yield from with_bias(f"blocks.{block}.norm1", (width,))
        yield from with_bias(f"blocks.{block}.norm2", (width,))
    yield from with_bias("merger.norm", (width,))
    yield from with_bias("merger.linear_fc1", (merged, merged))
    yield from with_bias("merger.linear_fc2", (hidden, merged))
    yield from with_bias("patch_embed.proj", (width, 2, 16, 16, 3))
    yield "vision_tower.pos_embed.weight", (2304, width)


def _snap(bits: int) -> int:
    if bits < 2:
        return 2
    return 8 if bits >= 7 else bits


def base_bits(variant: str) -> int:
    """--q-bits of a variant: 4 for nvfp4 and mxfp4, 8 for mxfp8, the digit of the others."""
    return 8 if variant == "mxfp8" else 4 if variant in ("nvfp4", "mxfp4") else int(variant[1:])


def spec_of(variant: str, role: str) -> Spec | None:
    """The recipe's decision for one weight; None where it stays bf16."""
    extra = {"ffn": 0, "down": 1, "attn": 2, "embed": 2, "head": 3}.get(role)
    if variant == "bf16" or extra is None:
        return None
    bits = _snap(base_bits(variant) + extra)
    if role in ("ffn", "down", "attn"):
        if variant == "nvfp4" and bits == 4:
            return Spec("nvfp4", 4, 16)
        if variant in ("mxfp4", "mxfp8") and bits in (4, 8):
            return Spec("mxfp4", 4, 32) if bits == 4 else Spec("mxfp8", 8, 32)
    return Spec("affine", bits, 64)


def default_spec(variant: str) -> Spec:
    """The top level of the quantization block, as the tool wrote it."""
    return Spec("nvfp4", 4, 16) if variant == "nvfp4" else Spec("affine", base_bits(variant), 64)
