"""The JSON files of the demo checkpoint, in the shape Qwen3.5 publishes them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from .twin import TwinConfig


def raw_config(c: TwinConfig, tokenizer: Tokenizer) -> dict[str, Any]:
    """config.json of the unquantised checkpoint."""
    kinds = ["full_attention" if c.is_full(i) else "linear_attention" for i in range(c.num_hidden_layers)]
    half = int(c.head_dim * c.partial_rotary_factor) // 2
    third = half // 3
    text = {
        "attention_bias": False,
        "attention_dropout": 0.0,
        "attn_output_gate": True,
        "bos_token_id": tokenizer.token_to_id("<|endoftext|>"),
        "dtype": "bfloat16",
        "eos_token_id": tokenizer.token_to_id("<|endoftext|>"),
        "full_attention_interval": c.full_attention_interval,
        "head_dim": c.head_dim,
        "hidden_act": "silu",
        "hidden_size": c.hidden_size,
        "initializer_range": 0.02,
        "intermediate_size": c.intermediate_size,
        "layer_types": kinds,
        "linear_conv_kernel_dim": c.linear_conv_kernel_dim,
        "linear_key_head_dim": c.linear_key_head_dim,
        "linear_num_key_heads": c.linear_num_key_heads,
        "linear_num_value_heads": c.linear_num_value_heads,
        "linear_value_head_dim": c.linear_value_head_dim,
        "mamba_ssm_dtype": "float32",
        "max_position_embeddings": 4096,
        "model_type": "qwen3_5_text",
        "mtp_num_hidden_layers": 0,
        "num_attention_heads": c.num_attention_heads,
        "num_hidden_layers": c.num_hidden_layers,
        "num_key_value_heads": c.num_key_value_heads,
        "output_gate_type": "swish",
        "pad_token_id": None,
        "partial_rotary_factor": c.partial_rotary_factor,
        "rms_norm_eps": c.rms_norm_eps,
        "rope_parameters": {
            "mrope_interleaved": True,
            "mrope_section": [half - 2 * third, third, third],
            "partial_rotary_factor": c.partial_rotary_factor,
            "rope_theta": int(c.rope_theta),
            "rope_type": "default",
        },
        "tie_word_embeddings": False,
        "use_cache": True,
        "vocab_size": c.vocab_size,
    }
    return {
        "architectures": ["Qwen3_5ForConditionalGeneration"],
        "language_model_only": True,
        "model_type": "qwen3_5",
        "text_config": text,
        "tie_word_embeddings": False,
    }


def generation_config(tokenizer: Tokenizer) -> dict[str, Any]:
    """Modest sampling: what this model knows it knows by heart, and chance only adds mistakes."""
    end, text_end = (tokenizer.token_to_id(t) for t in ("<|im_end|>", "<|endoftext|>"))
    return {
        "bos_token_id": text_end,
        "do_sample": True,
        "eos_token_id": [end, text_end],
        "pad_token_id": text_end,
        "presence_penalty": 0.0,  # the recommended 1.5 would forbid this model to repeat a city's name
        "temperature": 0.6,
        "top_k": 20,
        "top_p": 0.95,
    }
