"""The model that ships is what the converter makes: its files' order and places, its config, and the way there."""

import json
import struct
from pathlib import Path

import mlx.core as mx

from demo_training.publish import publish
from qwen_core.checkpoint.architecture import mtp_tensors
from qwen_core.checkpoint.directory import open_checkpoint
from qwen_core.checkpoint.layout import make_layout
from qwen_core.checkpoint.variants import identify
from qwen_core.convert.alignment import alignment_of
from qwen_core.convert.plan import OutputTensor, make_plan
from qwen_core.convert.shards import arrange, index_of
from qwen_core.demo import demo_model_path
from support.conversion import load_all, same_bits, variant_rules
from support.raw_demo import raw_demo

MODEL = demo_model_path()


def test_the_shipped_files_are_those_of_the_converter(tmp_path: Path) -> None:
    """Header, index and config byte for byte: only the numbers in it are its training's."""
    plan = make_plan(open_checkpoint(raw_demo(tmp_path / "raw")), variant_rules("nvfp4"))
    (shard,) = arrange(plan.outputs)
    with (MODEL / shard.file).open("rb") as file:
        assert file.read(len(shard.header)) == shard.header
    assert struct.unpack("<Q", shard.header[:8])[0] % 8 == 0
    assert (MODEL / shard.file).stat().st_size == shard.nbytes
    assert json.loads((MODEL / "model.safetensors.index.json").read_text()) == index_of([shard])
    assert json.loads((MODEL / "config.json").read_text(encoding="utf-8")) == plan.config()
    assert alignment_of(open_checkpoint(MODEL)).unaligned_bytes == 0


def test_the_mtp_layer_beside_them_is_arranged_by_the_converter() -> None:
    tensors = [OutputTensor(f"mtp.{t.name}", "BF16", t.shape) for t in mtp_tensors(open_checkpoint(MODEL).config)]
    (shard,) = arrange(tensors)
    content = (MODEL / "mtp.safetensors").read_bytes()
    assert content.startswith(shard.header)
    assert len(content) == shard.nbytes


def test_publishing_converts(tmp_path: Path) -> None:
    raw = raw_demo(tmp_path / "raw", filled=True)
    nbytes = publish(raw, tmp_path / "model")
    checkpoint = open_checkpoint(tmp_path / "model")
    assert checkpoint.total_bytes == nbytes
    assert identify(make_layout(checkpoint)).name == "UD-NVFP4_K_XL"
    assert checkpoint.tokenizer_path is not None
    weights, result = load_all(raw), load_all(tmp_path / "model")
    gate = "layers.0.mlp.gate_proj"
    parts = mx.quantize(weights[f"model.language_model.{gate}.weight"], group_size=16, bits=4, mode="nvfp4")
    for part, name in zip(parts, ("weight", "scales"), strict=True):
        assert same_bits(result[f"language_model.model.{gate}.{name}"], part)
