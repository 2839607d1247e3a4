"""Blocks of other tools: NVFP4 of NVIDIA's is read, every other scheme is one line that names it."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwen_core.checkpoint.directory import open_checkpoint
from qwen_core.checkpoint.quantization import QuantSpec, parse_quantization
from qwen_core.errors import CheckpointError
from support.bad_checkpoints import complaint
from support.checkpoints import edit_config, write_checkpoint
from support.nvfp4_files import COMPRESSED, MODELOPT

NVFP4 = QuantSpec("nvfp4", 4, 16)
FP8_LAYER = "model.language_model.layers.3.self_attn.q_proj"


def mixed(algorithm: object) -> dict[str, Any]:
    layers = {"lm_head": {"quant_algo": "W4A16_NVFP4"}, FP8_LAYER: {"quant_algo": algorithm}}
    return {"quant_method": "modelopt", "quant_algo": "MIXED_PRECISION", "quantized_layers": layers}


def grouped(*formats: str | None) -> dict[str, Any]:
    groups = {f"group_{number}": {"format": form} for number, form in enumerate(formats)}
    return {"quant_method": "compressed-tensors", "format": "mixed-precision", "config_groups": groups}


@pytest.mark.parametrize(
    "block",
    [
        MODELOPT,
        MODELOPT | {"quant_algo": "W4A16_NVFP4", "kv_cache_scheme": {"num_bits": 8}},
        {
            "quant_method": "modelopt",
            "producer": {},
            "quantization": {"quant_algo": "NVFP4", "exclude_modules": ["a*"]},
        },
        mixed("NVFP4"),
        COMPRESSED,
        grouped("nvfp4-pack-quantized", "nvfp4-pack-quantized"),
    ],
)
@pytest.mark.parametrize("section", ["top", "text_config"])
def test_nvfp4_of_nvidia_is_the_default_of_every_module(block: dict[str, Any], section: str) -> None:
    raw = {"quantization_config": block}
    config = parse_quantization(raw if section == "top" else {"text_config": raw}, "c")
    assert config.reading("layers.0.mlp.up_proj") == (NVFP4, "default")
    assert not config.overrides


REFUSED = [
    ({"quant_method": "fp8", "weight_block_size": [128, 128]}, "'fp8' with blocks of 128 x 128"),
    ({"quant_method": "awq", "bits": 4}, "'awq'"),
    ({"quant_method": "gptq"}, "'gptq'"),
    ({"quant_method": ["x"]}, "['x']"),
    (MODELOPT | {"quant_algo": "FP8"}, "'modelopt' with quant_algo 'FP8'"),
    (MODELOPT | {"quant_algo": "NVFP4_AWQ"}, "quant_algo 'NVFP4_AWQ'"),
    ({"quant_method": "modelopt"}, "quant_algo None"),
    (mixed("FP8"), f"MIXED_PRECISION, 'FP8' for {FP8_LAYER}"),
    (mixed([1]), "MIXED_PRECISION, [1]"),
    (COMPRESSED | {"format": "float-quantized"}, "'compressed-tensors' with format 'float-quantized'"),
    (COMPRESSED | {"format": "mxfp4-pack-quantized"}, "format 'mxfp4-pack-quantized'"),
    (grouped("nvfp4-pack-quantized", "float-quantized"), "format 'float-quantized'"),
    (grouped(), "format 'mixed-precision'"),
    ({"quant_method": "compressed-tensors"}, "format None"),
]


@pytest.mark.parametrize(("block", "says"), REFUSED)
def test_every_other_scheme_is_named(block: dict[str, Any], says: str) -> None:
    with pytest.raises(CheckpointError) as caught:
        parse_quantization({"quantization_config": block}, "dir/config.json")
    message = str(caught.value)
    assert says in message
    assert message.startswith("dir/config.json: quantization_config says quant_method ")
    assert "qwen-tui convert" in message


@pytest.mark.parametrize("algorithm", ["FP8", "FP8_PB_WO", "W4A16_AWQ", None])
def test_the_file_beside_config_tells_it_too(algorithm: str | None, tmp_path: Path) -> None:
    """What modelopt wrote before config.json had a block: the scheme is named though the tensors are floats."""
    write_checkpoint(tmp_path, "bf16")
    beside = tmp_path / "hf_quant_config.json"
    beside.write_text(json.dumps({"producer": {"name": "modelopt"}, "quantization": {"quant_algo": algorithm}}))
    message = complaint(tmp_path)
    assert "hf_quant_config.json: quantization_config says quant_method 'modelopt'" in message
    assert f"quant_algo {algorithm!r}" in message
    edit_config(tmp_path, quantization_config={})
    assert f"quant_algo {algorithm!r}" in complaint(tmp_path)
    beside.write_text("[")
    assert "hf_quant_config.json" in complaint(tmp_path)
    edit_config(tmp_path, quantization={"bits": 4, "group_size": 64})
    assert not open_checkpoint(tmp_path).specs


KEYS = ["quant_method", "quant_algo", "quantized_layers", "config_groups", "format", "quantization"]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.sampled_from(["modelopt", "compressed-tensors", "MIXED_PRECISION"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=5),
    max_leaves=10,
)


@given(JSON)
def test_no_block_is_a_crash(block: Any) -> None:
    try:
        parse_quantization({"quantization_config": block}, "c")
    except CheckpointError as error:
        assert str(error).isprintable()
