"""Elements and scales against `mx.quantize`, floats against their definition; every float type and layout."""

from functools import partial
from pathlib import Path
from typing import get_args

import mlx.core as mx
import numpy as np
import pytest

from qwen_core.checkpoint.directory import open_checkpoint
from qwen_core.convert import transform
from qwen_core.convert.awq import Fold
from qwen_core.convert.convert import convert
from qwen_core.convert.plan import FloatDtype, make_plan
from qwen_core.convert.rules import Rules
from qwen_core.errors import CheckpointError
from support.checkpoints import Names, Stored, write_checkpoint, write_safetensors
from support.conversion import (
    NINE,
    add_tensors,
    converted,
    headers,
    load_all,
    places,
    same_bits,
    variant_rules,
    write_raw,
)


@pytest.fixture
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pieces of a few rows, so that small matrices are cut as large ones are."""
    monkeypatch.setattr("qwen_core.convert.convert.transformed", partial(transform.transformed, piece=3000))


@pytest.mark.parametrize("variant", NINE)
def test_every_packed_tensor_is_what_mlx_quantises_the_whole_weight_to(
    variant: str, tmp_path: Path, small_pieces: None
) -> None:
    source = write_raw(tmp_path / "raw", seed=NINE.index(variant))
    plan = converted(source, tmp_path / "out", variant)
    raw, result = load_all(source), load_all(tmp_path / "out")
    quantised = [decision for decision in plan.decisions if decision.spec is not None]
    assert len(quantised) > 20
    for decision in quantised:
        spec = decision.spec
        assert spec is not None
        weight = raw[decision.source.name]
        parts = mx.quantize(weight, group_size=spec.group_size, bits=spec.bits, mode=spec.mode)
        for output, expected in zip(decision.outputs, parts, strict=True):
            assert same_bits(result[output.name], expected), output.name
    assert set(result) == {output.name for output in plan.outputs}


@pytest.mark.parametrize("dtype", ["BF16", "F16", "F32"])
def test_floats_are_shifted_transposed_and_rounded_once(dtype: str, tmp_path: Path) -> None:
    source = tmp_path / "raw"
    write_checkpoint(source, "bf16", names="raw", float_dtype=dtype, seed=3)
    plan = converted(source, tmp_path / "out")
    raw, result = load_all(source), load_all(tmp_path / "out")
    kinds = set()
    for decision in plan.decisions:
        if decision.spec is not None:
            continue
        expected = raw[decision.source.name]
        kinds.add(decision.module.rpartition(".")[2])
        if decision.module.endswith("conv1d"):
            expected = expected.swapaxes(1, 2)
        elif decision.module.endswith(("layernorm", "q_norm", "k_norm")) or decision.module == "norm":
            expected = 1 + expected.astype(mx.float32)
        assert same_bits(result[decision.name], expected.astype(mx.bfloat16)), decision.name
    assert {"conv1d", "q_norm", "norm", "A_log", "out_proj", "in_proj_a"} <= kinds


@pytest.mark.parametrize("names", get_args(Names))
def test_every_layout_of_a_source_gives_the_same_result(names: Names, tmp_path: Path) -> None:
    """One model in three spellings. The raw layout's norms less 1 are other numbers in bf16, so they are left out."""
    write_checkpoint(tmp_path / "a", "bf16", names="converted", seed=5)
    write_checkpoint(tmp_path / "b", "bf16", names=names, seed=5, nested=names != "flat")
    converted(tmp_path / "a", tmp_path / "one", "q4")
    converted(tmp_path / "b", tmp_path / "two", "q4")
    one, two = load_all(tmp_path / "one"), load_all(tmp_path / "two")
    assert set(one) == set(two)
    assert [name for name in one if "norm" not in name and not same_bits(one[name], two[name])] == []
    assert open_checkpoint(tmp_path / "two").converted


def test_an_unquantised_result_can_be_converted_again(tmp_path: Path) -> None:
    source = write_raw(tmp_path / "raw")
    convert(make_plan(open_checkpoint(source), Rules()), tmp_path / "bf16")
    converted(tmp_path / "bf16", tmp_path / "by-way", "mxfp8")
    converted(source, tmp_path / "direct", "mxfp8")
    one, two = load_all(tmp_path / "by-way"), load_all(tmp_path / "direct")
    assert set(one) == set(two)
    assert all(same_bits(one[name], two[name]) for name in one)


def test_mtp_norms_and_the_patch_embedding_follow_the_text_model(tmp_path: Path) -> None:
    source = write_raw(tmp_path / "raw")
    key = mx.random.key(1)
    patch = mx.random.normal((8, 3, 2, 4, 4), key=key).astype(mx.bfloat16)
    extra = {
        "mtp.fc.weight": mx.random.normal((128, 256), key=key).astype(mx.bfloat16),
        "mtp.norm.weight": mx.random.normal((128,), key=key).astype(mx.bfloat16),
        "mtp.pre_fc_norm_hidden.weight": mx.random.normal((128,), key=key).astype(mx.bfloat16),
        "model.visual.patch_embed.proj.weight": patch,
        "model.visual.patch_embed.proj.bias": mx.zeros((8,), mx.bfloat16),
    }
    add_tensors(source, extra)
    plan = make_plan(open_checkpoint(source), variant_rules("nvfp4"), keep_mtp=True)
    convert(plan, tmp_path / "out")
    result = load_all(tmp_path / "out")
    assert same_bits(result["mtp.fc.weight"], extra["mtp.fc.weight"])
    for name in ("mtp.norm.weight", "mtp.pre_fc_norm_hidden.weight"):
        assert same_bits(result[name], (1 + extra[name].astype(mx.float32)).astype(mx.bfloat16)), name
    assert same_bits(result["vision_tower.patch_embed.proj.weight"], patch.transpose(0, 2, 3, 4, 1))
    assert same_bits(result["vision_tower.patch_embed.proj.bias"], extra["model.visual.patch_embed.proj.bias"])


@pytest.mark.parametrize("dtype", ["BF16", "F16", "F32"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("tensor", ["lm_head.weight", "model.language_model.layers.1.linear_attn.A_log"])
def test_nan_and_infinity_are_named_and_nothing_is_left(dtype: str, value: float, tensor: str, tmp_path: Path) -> None:
    source = tmp_path / "raw"
    written = write_checkpoint(source, "bf16", names="raw", float_dtype=dtype, shard_cap=None)
    (file,) = source.glob("*.safetensors")
    begin, length = places(file)[tensor]
    kind = {"BF16": mx.bfloat16, "F16": mx.float16, "F32": mx.float32}[dtype]
    bad = np.asarray(mx.array([value]).astype(kind).view(mx.uint8)).tobytes()
    data = bytearray(file.read_bytes())
    data[begin + length - len(bad) : begin + length] = bad
    file.write_bytes(data)
    assert written.tensors
    with pytest.raises(CheckpointError, match=rf"tensor {tensor} holds NaN or infinity"):
        converted(source, tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["raw"]


def test_what_the_wanted_type_cannot_hold_is_named(tmp_path: Path) -> None:
    """Half precision ends at 65,504: a finite weight must not become infinity without a word."""
    source = tmp_path / "raw"
    write_checkpoint(source, "bf16", names="raw", shard_cap=None)
    (file,) = source.glob("*.safetensors")
    begin, _ = places(file)["model.language_model.norm.weight"]
    data = bytearray(file.read_bytes())
    data[begin : begin + 2] = np.asarray(mx.array([1e5]).astype(mx.bfloat16).view(mx.uint8)).tobytes()
    file.write_bytes(data)
    with pytest.raises(CheckpointError, match=r"norm\.weight has values that F16 cannot hold"):
        convert(make_plan(open_checkpoint(source), variant_rules("nvfp4"), float_dtype="F16"), tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["raw"]


DOWN = "model.language_model.layers.1.mlp.down_proj.weight"


def put(source: Path, dtype: str, values: list[float]) -> None:
    """A model whose weight DOWN begins with `values`."""
    write_checkpoint(source, "bf16", names="raw", float_dtype=dtype, shard_cap=None)
    (file,) = source.glob("*.safetensors")
    begin, _ = places(file)[DOWN]
    kind = {"BF16": mx.bfloat16, "F32": mx.float32}[dtype]
    bad = np.asarray(mx.array(values).astype(kind).view(mx.uint8)).tobytes()
    data = bytearray(file.read_bytes())
    data[begin : begin + len(bad)] = bad
    file.write_bytes(data)


@pytest.mark.parametrize("variant", ["q4", "nvfp4", "mxfp8"])
def test_what_becomes_infinite_before_it_is_quantised_is_named(variant: str, tmp_path: Path) -> None:
    """The largest float32 rounds to infinity in bfloat16, and its group would be NaN."""
    put(tmp_path / "raw", "F32", [3.4028e38])
    with pytest.raises(CheckpointError, match=r"layers\.1\.mlp\.down_proj\.weight has values that BF16 cannot hold"):
        converted(tmp_path / "raw", tmp_path / "out", variant)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["raw"]


def test_a_factor_that_makes_a_weight_infinite_is_named(tmp_path: Path) -> None:
    put(tmp_path / "raw", "BF16", [2e38])
    folds = {"layers.1.mlp.down_proj": Fold(None, np.full(256, 2, np.float32))}
    with pytest.raises(CheckpointError, match=r"layers\.1\.mlp\.down_proj\.weight has values that BF16 cannot hold"):
        converted(tmp_path / "raw", tmp_path / "out", "nvfp4", folds=folds)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["raw"]


def test_a_group_whose_range_is_infinite_is_named(tmp_path: Path) -> None:
    """Both ends are finite, what lies between them is not: the scale of affine."""
    put(tmp_path / "raw", "BF16", [3.38e38, -3.38e38])
    with pytest.raises(CheckpointError, match=r"down_proj\.weight has values that affine 5-bit group 64 cannot hold"):
        converted(tmp_path / "raw", tmp_path / "out", "q4")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["raw"]


def test_tensors_of_other_types_beside_the_model_are_kept_as_they_are(tmp_path: Path) -> None:
    source = tmp_path / "raw"
    written = write_checkpoint(source, "bf16", names="raw", shard_cap=None)
    odd = {"model.visual.position_ids": Stored("U8", (7,), bytes(range(7)))}
    write_safetensors(source / "model.safetensors", written.tensors | odd)
    converted(source, tmp_path / "out", "q4")
    assert load_all(tmp_path / "out")["vision_tower.position_ids"].tolist() == list(range(7))


@pytest.mark.parametrize("float_dtype", ["BF16", "F32"])
def test_tensors_without_elements_or_without_dimensions_are_kept(float_dtype: FloatDtype, tmp_path: Path) -> None:
    source = tmp_path / "raw"
    written = write_checkpoint(source, "bf16", names="raw", shard_cap=None)
    half = np.array(1.5, np.float32)
    odd = {
        "model.visual.rows.weight": Stored("BF16", (4, 0), b""),
        "model.visual.columns.weight": Stored("F32", (0, 4), b""),
        "model.visual.nothing": Stored("F32", (0,), b""),
        "model.visual.patch_embed.proj.weight": Stored("F32", (0, 3, 2, 4, 4), b""),
        "model.visual.bytes": Stored("U8", (0,), b""),
        "model.visual.scale": Stored("F32", (), half.tobytes()),
        "mtp.scale": Stored("BF16", (), half.tobytes()[2:]),
    }
    write_safetensors(source / "model.safetensors", written.tensors | odd)
    plan = make_plan(open_checkpoint(source), variant_rules("q4"), keep_mtp=True, float_dtype=float_dtype)
    convert(plan, tmp_path / "out")
    result = headers(tmp_path / "out")
    assert result["vision_tower.rows.weight"] == (float_dtype, (4, 0))
    assert result["vision_tower.columns.weight"] == (float_dtype, (0, 4))
    assert result["vision_tower.nothing"] == (float_dtype, (0,))
    assert result["vision_tower.patch_embed.proj.weight"] == (float_dtype, (0, 2, 4, 4, 3))
    assert result["vision_tower.bytes"] == ("U8", (0,))
    whole = load_all(tmp_path / "out")
    for name in ("vision_tower.scale", "mtp.scale"):
        assert result[name] == (float_dtype, ())
        assert whole[name].item() == 1.5
