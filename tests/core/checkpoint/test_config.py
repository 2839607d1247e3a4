"""config.json to ModelConfig: both forms, defaults, and one clear line for everything that does not fit."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwen_core.checkpoint.config import MAX_LAYERS, MixtureConfig, ModelConfig, parse_config
from qwen_core.errors import CheckpointError
from support.published_plan import text_config

WHERE = "dir/config.json"


def small(**overrides: Any) -> dict[str, Any]:
    return text_config(True, overrides)


def parse(raw: dict[str, Any]) -> ModelConfig:
    return parse_config(raw, WHERE)


def test_nested_and_flat_configs_read_the_same() -> None:
    nested = parse({"model_type": "qwen3_5", "text_config": small()})
    flat = parse(small(model_type="qwen3_5"))
    assert nested == flat
    assert nested.layer_types == ("linear_attention",) * 3 + ("full_attention",)
    assert (nested.rotary_dim, nested.rope_theta) == (16, 1e7)


def test_the_published_config(fixtures_dir: Path) -> None:
    """The 27B's own file, against FORMAT.md's description of the model."""
    config = parse(json.loads((fixtures_dir / "qwen3.6" / "config.json").read_text()))
    assert (config.hidden_size, config.num_hidden_layers, config.vocab_size) == (5120, 64, 248320)
    assert config.layer_types == (("linear_attention",) * 3 + ("full_attention",)) * 16
    assert (config.rotary_dim, config.head_dim, config.rope_theta) == (64, 256, 1e7)
    assert (config.linear_key_dim, config.linear_value_dim, config.linear_conv_dim) == (2048, 6144, 10240)
    assert (config.tie_word_embeddings, config.eos_token_ids) == (False, (248044,))


def test_the_small_published_config_is_tied(fixtures_dir: Path) -> None:
    config = parse(json.loads((fixtures_dir / "Qwen3.5-0.8B.unsloth.config.json").read_text()))
    assert (config.tie_word_embeddings, config.hidden_size, config.num_hidden_layers) == (True, 1024, 24)


@pytest.mark.parametrize("level", ["top", "text"])
def test_tying_is_read_at_either_level(level: str) -> None:
    text = small(tie_word_embeddings=level == "text")
    assert parse(
        {"model_type": "qwen3_5", "text_config": text, "tie_word_embeddings": level == "top"}
    ).tie_word_embeddings


@given(layers=st.integers(1, 40), interval=st.integers(1, 8))
def test_layer_types_follow_the_interval_when_absent(layers: int, interval: int) -> None:
    raw = small(num_hidden_layers=layers, full_attention_interval=interval)
    del raw["layer_types"]
    kinds = parse(raw).layer_types
    assert len(kinds) == layers
    assert all((kind == "full_attention") == ((i + 1) % interval == 0) for i, kind in enumerate(kinds))


def test_rope_fields_may_stand_beside_instead_of_inside() -> None:
    raw = small(rope_theta=12345.0, partial_rotary_factor=0.5)
    del raw["rope_parameters"]
    assert (parse(raw).rope_theta, parse(raw).rotary_dim) == (12345.0, 32)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"model_type": "llama"}, ["'llama'", "qwen3_5", "qwen3_5_text"]),
        ({"model_type": "qwen3_moe"}, ["'qwen3_moe'", "not supported", "qwen3_5_moe"]),
        ({"model_type": "qwen3_5_moe"}, ["num_experts is missing"]),
        ({"model_type": ["qwen3_5"]}, ["model_type"]),
        ({"hidden_size": "128"}, ["hidden_size", "whole number", "'128'"]),
        ({"hidden_size": True}, ["hidden_size", "True"]),
        ({"hidden_size": 128.0}, ["hidden_size", "128.0"]),
        ({"hidden_size": 0}, ["hidden_size", "outside"]),
        ({"hidden_size": None}, ["hidden_size is missing"]),
        ({"num_hidden_layers": 10**9}, ["num_hidden_layers", str(MAX_LAYERS)]),
        ({"num_key_value_heads": 3}, ["num_attention_heads 4", "num_key_value_heads 3"]),
        ({"linear_num_value_heads": 3}, ["linear_num_value_heads 3", "linear_num_key_heads 2"]),
        ({"layer_types": ["full_attention"]}, ["layer_types has 1", "num_hidden_layers is 4"]),
        ({"layer_types": ["full_attention"] * 3 + ["sliding"]}, ["layer_types[3]", "'sliding'"]),
        ({"layer_types": "full_attention"}, ["layer_types must be a list"]),
        ({"linear_conv_kernel_dim": 1}, ["linear_conv_kernel_dim"]),
        ({"rope_parameters": {"rope_theta": -1}}, ["rope_theta", "positive"]),
        ({"rope_parameters": {}}, ["rope_theta is missing"]),
        ({"rope_parameters": [1]}, ["rope_parameters must be an object"]),
        (
            {"rope_parameters": {"rope_theta": 1e7, "partial_rotary_factor": 2}},
            ["partial_rotary_factor", "head_dim 64"],
        ),
        ({"rope_parameters": {"rope_theta": 1e7, "partial_rotary_factor": 0.05}}, ["partial_rotary_factor"]),
        ({"rms_norm_eps": 0}, ["rms_norm_eps"]),
        ({"rms_norm_eps": 10**400}, ["rms_norm_eps"]),
        ({"attention_bias": True}, ["attention_bias"]),
        ({"hidden_act": "gelu"}, ["hidden_act", "'gelu'", "silu"]),
        ({"attn_output_gate": False}, ["attn_output_gate"]),
        ({"num_experts": 8}, ["num_experts"]),
        ({"tie_word_embeddings": "yes"}, ["tie_word_embeddings"]),
        ({"eos_token_id": [0, "x"]}, ["eos_token_id"]),
        ({"eos_token_id": -1}, ["eos_token_id"]),
    ],
)
def test_what_does_not_fit_is_named(changes: dict[str, Any], says: list[str]) -> None:
    with pytest.raises(CheckpointError) as caught:
        parse({**small(), **changes})
    for part in (WHERE, *says):
        assert part in str(caught.value)


MIXTURE = {
    "model_type": "qwen3_5_moe_text",
    "num_experts": 8,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 64,
    "shared_expert_intermediate_size": 128,
}


def test_a_mixture_of_experts() -> None:
    raw = {**small(), **MIXTURE}
    del raw["intermediate_size"]
    assert parse(raw).mixture == MixtureConfig(experts=8, used=2, size=64, shared_size=128)
    assert parse({"model_type": "qwen3_5_moe", "text_config": raw}).mixture == parse(raw).mixture
    assert parse(small()).mixture is None


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"num_experts": None}, "num_experts is missing"),
        ({"num_experts": 0}, "num_experts is 0"),
        ({"num_experts": 1 << 20}, "num_experts is 1048576"),
        ({"num_experts_per_tok": 9}, "num_experts_per_tok is 9, outside 1 to 8"),
        ({"moe_intermediate_size": "64"}, "moe_intermediate_size must be a whole number"),
        ({"shared_expert_intermediate_size": None}, "shared_expert_intermediate_size is missing"),
        ({"mlp_only_layers": [0]}, "mlp_only_layers"),
        ({"decoder_sparse_step": 2}, "decoder_sparse_step is 2"),
        ({"norm_topk_prob": False}, "norm_topk_prob is False"),
    ],
)
def test_what_does_not_fit_a_mixture_is_named(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(CheckpointError, match=re.escape(says)):
        parse({**small(), **MIXTURE, **changes})


def test_a_dense_model_with_the_text_of_a_mixture() -> None:
    with pytest.raises(CheckpointError, match="model_type is qwen3_5 and, in text_config, qwen3_5_moe_text"):
        parse({"model_type": "qwen3_5", "text_config": {**small(), **MIXTURE}})


def test_text_config_must_be_an_object() -> None:
    with pytest.raises(CheckpointError, match="text_config must be an object"):
        parse({"model_type": "qwen3_5", "text_config": [1]})


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(key=st.sampled_from(sorted(small())), value=JSON, nested=st.booleans())
def test_no_value_of_any_field_is_a_crash(key: str, value: Any, nested: bool) -> None:
    text = {**small(), key: value}
    raw = {"model_type": "qwen3_5", "text_config": text} if nested else text
    try:
        config = parse(raw)
    except CheckpointError as error:
        assert str(error).isprintable()
    else:
        assert len(config.layer_types) == config.num_hidden_layers
