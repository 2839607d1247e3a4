"""Sizes of the models that `bench --synthetic` builds, as configs. No MLX, no weights: those are synthetic.py's."""

from collections.abc import Mapping
from typing import Any

from qwen_core.checkpoint.config import ModelConfig, parse_config
from qwen_core.errors import SettingsError, quote

# What every model of the family has in common (FORMAT.md, "The model").
_COMMON: dict[str, Any] = {
    "model_type": "qwen3_5_text",
    "attn_output_gate": True,
    "eos_token_id": 248044,
    "full_attention_interval": 4,
    "head_dim": 256,
    "hidden_act": "silu",
    "linear_conv_kernel_dim": 4,
    "linear_key_head_dim": 128,
    "linear_num_key_heads": 16,
    "linear_value_head_dim": 128,
    "max_position_embeddings": 262144,
    "num_key_value_heads": 4,
    "rms_norm_eps": 1e-6,
    "tie_word_embeddings": False,
    "vocab_size": 248320,
}
# The 27B and the 35B-A3B, a mixture of experts, are FORMAT.md's. The 9B and 4B have the sizes that public copies of
# Qwen3.5's configs and descriptions of them give; of the 4B its linear heads and its tied embedding are inferred from
# its parameter count. The tiny one is this project's own, for trying the command out.
_SIZES: dict[str, dict[str, Any]] = {
    "27b": {
        "hidden_size": 5120,
        "intermediate_size": 17408,
        "num_hidden_layers": 64,
        "num_attention_heads": 24,
        "linear_num_value_heads": 48,
    },
    "9b": {
        "hidden_size": 4096,
        "intermediate_size": 12288,
        "num_hidden_layers": 32,
        "num_attention_heads": 16,
        "linear_num_value_heads": 32,
    },
    "4b": {
        "hidden_size": 2560,
        "intermediate_size": 9216,
        "num_hidden_layers": 32,
        "num_attention_heads": 16,
        "linear_num_value_heads": 32,
        "tie_word_embeddings": True,
    },
    "35b-a3b": {
        "model_type": "qwen3_5_moe_text",
        "hidden_size": 2048,
        "num_hidden_layers": 40,
        "num_attention_heads": 16,
        "num_key_value_heads": 2,
        "linear_num_value_heads": 32,
        "num_experts": 256,
        "num_experts_per_tok": 8,
        "moe_intermediate_size": 512,
        "shared_expert_intermediate_size": 512,
    },
    "tiny": {
        "hidden_size": 256,
        "intermediate_size": 512,
        "num_hidden_layers": 8,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 64,
        "linear_num_key_heads": 2,
        "linear_num_value_heads": 4,
        "linear_key_head_dim": 64,
        "linear_value_head_dim": 64,
        "vocab_size": 4096,
        "eos_token_id": 0,
    },
}
SHAPES = tuple(_SIZES)


def shape_config(shape: str) -> ModelConfig:
    """The config of a shape by name. Raises SettingsError for one that does not exist."""
    sizes = _SIZES.get(shape)
    if sizes is None:
        raise SettingsError(f"{quote(repr(shape))} is not a shape: choose {', '.join(SHAPES)}")
    raw: Mapping[str, Any] = {**_COMMON, **sizes}
    rope = {"rope_type": "default", "rope_theta": 10_000_000, "partial_rotary_factor": 0.25}
    return parse_config({**raw, "rope_parameters": rope}, f"the synthetic {shape}")
