"""NVIDIA's NVFP4 files rewritten in MLX's layout: every value, every logit and every other tensor as it was."""

import json
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwen_core.checkpoint.directory import Checkpoint, open_checkpoint
from qwen_core.checkpoint.layout import make_layout
from qwen_core.checkpoint.tensor_scale import as_global_scale, factor_of
from qwen_core.convert.alignment import alignment_advice
from qwen_core.convert.realign import realign
from qwen_core.model.model import load_model
from qwen_core.tensors.values import TensorValues, read_values
from support.checkpoints import Stored
from support.nvfp4_files import WAYS, Way, write_nvfp4
from support.stored_tensors import stored_bytes

UP = "layers.1.mlp.up_proj"


def realigned(source: Path, target: Path) -> Checkpoint:
    realign(open_checkpoint(source), target)
    return open_checkpoint(target)


def said(values: TensorValues) -> list[object]:
    return [values.factor, values.minimum, values.maximum, values.mean, values.codes, values.scales, values.first_rows]


@pytest.mark.parametrize("way", WAYS)
def test_every_value_and_every_logit_is_what_it_was(way: Way, tmp_path: Path) -> None:
    files = write_nvfp4(tmp_path / "a", way, seed=5)
    (tmp_path / "a" / "hf_quant_config.json").write_text('{"quantization": {"quant_algo": "NVFP4"}}')
    (tmp_path / "a" / "LICENSE").write_text("free")
    source, target = open_checkpoint(tmp_path / "a"), realigned(tmp_path / "a", tmp_path / "b")
    assert not target.warnings
    assert target.specs == source.specs
    for module in files.values:
        assert said(read_values(target, module)) == said(read_values(source, module))
    kept = [
        name for name in source.text if name not in {f"{m}.{p}" for m in files.values for p in ("weight", "scales")}
    ]
    for name in kept:
        if name in target.text:
            assert stored_bytes(target.text[name]) == stored_bytes(source.text[name])
    ids = mx.array([[3, 1, 4, 1, 5]])
    one, other = (load_model(checkpoint, "float32") for checkpoint in (source, target))
    assert mx.array_equal(one(ids, one.new_state()), other(ids, other.new_state())).item()
    assert alignment_advice(target) is None
    assert (tmp_path / "b" / "LICENSE").read_text() == "free"


@pytest.mark.parametrize("way", ["modelopt", "compressed"])
def test_the_result_is_mlxs_layout(way: Way, tmp_path: Path) -> None:
    """Names, types and config.json; what was for another program is left out, what is beside the model is kept."""
    files = write_nvfp4(tmp_path / "a", way)
    (tmp_path / "a" / "hf_quant_config.json").write_text('{"quantization": {"quant_algo": "NVFP4"}}')
    vision = {"model.visual.a": Stored("BF16", (2, 2), bytes(8))}
    files.write_again(files.written.tensors | vision)
    target = realigned(tmp_path / "a", tmp_path / "b")
    layout = make_layout(target)
    assert {module.writer for module in layout.modules} == {"mlx"}
    assert layout.text.nbytes == make_layout(open_checkpoint(tmp_path / "a")).text.nbytes
    assert "model.visual.a" in target.tensors
    assert {name.rpartition(".")[2] for name in target.tensors} <= {
        *("weight", "scales", "global_scale", "weight_scale_2", "weight_global_scale", "A_log", "dt_bias", "a")
    }
    for module in files.values:
        assert target.text[f"{module}.weight"].name.endswith(f"{module}.weight")
        assert target.tensors[target.text[f"{module}.weight"].name].dtype == "U32"
        assert target.tensors[target.text[f"{module}.scales"].name].dtype == "U8"
    config = json.loads((tmp_path / "b" / "config.json").read_text())
    assert config["quantization"] == config["quantization_config"] == {"bits": 4, "group_size": 16, "mode": "nvfp4"}
    assert {k: v for k, v in config.items() if "quant" not in k} == {
        k: v for k, v in files.written.config.items() if "quant" not in k
    }
    assert not (tmp_path / "b" / "hf_quant_config.json").exists()
    again = realigned(tmp_path / "b", tmp_path / "c")
    assert set(again.tensors) == set(target.tensors)


@given(largest=st.floats(2**-14, 2**10, width=16))
def test_a_factor_that_was_made_from_a_largest_weight_is_mlxs(largest: float) -> None:
    """modelopt divides it by 448 x 6 in float32 (qtensor/nvfp4_tensor.py, `get_weights_scaling_factor_2`)."""
    factor = float(np.float32(largest) / np.float32(448 * 6))
    stored = as_global_scale(factor)
    assert stored is not None
    assert factor_of("global_scale", stored) == factor


@given(st.floats(width=32))
def test_a_global_scale_says_the_factor_or_there_is_none(factor: float) -> None:
    """Against NumPy: of the float32 about factor x 2688, that one whose quotient is the factor, if there is one."""
    stored = as_global_scale(factor)
    with np.errstate(all="ignore"):
        if stored is not None:
            assert np.float32(stored) / np.float32(2688) == np.float32(factor)
            return
        near = np.float32(factor) * np.float32(2688)
        around = [near, np.nextafter(near, np.float32(np.inf)), np.nextafter(near, np.float32(-np.inf))]
        assert not any(number / np.float32(2688) == np.float32(factor) for number in around)
