"""Folding importance: the float model computes what it did, the factors are FORMAT.md's, nothing is done silently."""

import json
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import gguf
import mlx.core as mx
import numpy as np
import pytest

from qwen_core.checkpoint.architecture import text_tensors, with_experts_of
from qwen_core.checkpoint.config import FULL, ModelConfig
from qwen_core.checkpoint.directory import open_checkpoint
from qwen_core.convert.awq import folds, groups, scale_of
from qwen_core.convert.convert import convert
from qwen_core.convert.imatrix import LAYER_NAMES, has_mtp, our_name, read_imatrix
from qwen_core.convert.plan import make_plan
from qwen_core.convert.rules import Rules
from qwen_core.demo import demo_model_path
from qwen_core.errors import CheckpointError
from qwen_core.model.model import load_model
from support.checkpoints import edit_config
from support.conversion import load_all, same_bits, variant_rules, write_raw
from support.importance import grouped_heads, llama_name, random_importance, write_imatrix
from support.published_plan import SMALL_MIXTURE


def scale(importance: np.ndarray) -> np.ndarray:
    """FORMAT.md, "AWQ from an imatrix", in float64."""
    s = np.maximum(importance.astype(np.float64), 1e-8) ** 0.5
    return s / max(np.sqrt(s.max() * s.min()), 1e-8)


def importance_file(source: Path, tmp_path: Path) -> Path:
    config = open_checkpoint(source).config
    return write_imatrix(tmp_path / "im.gguf", random_importance(config, 1), config.num_hidden_layers)


@pytest.mark.parametrize("names", ["raw", "converted"])
@pytest.mark.parametrize("seed", [0, 1])
def test_folding_leaves_the_float_model_what_it_was(names: str, seed: int, tmp_path: Path) -> None:
    """Both linear and full layers; without in_proj_a and in_proj_b scaled along, the difference is a thousand times
    the bound."""
    source = write_raw(tmp_path / "raw", seed=seed)
    if names == "converted":
        convert(make_plan(open_checkpoint(source), Rules(), float_dtype="F32"), tmp_path / "float")
        source = tmp_path / "float"
    checkpoint = open_checkpoint(source)
    factors = folds(checkpoint.config, read_imatrix(importance_file(source, tmp_path), checkpoint.config))
    convert(make_plan(checkpoint, Rules(), float_dtype="F32"), tmp_path / "out", folds=factors)
    ids = mx.array([np.random.RandomState(seed).randint(0, 512, 48).tolist()])
    logits = []
    for path in (source, tmp_path / "out"):
        model = load_model(path, "float32")
        logits.append(np.array(model(ids, model.new_state())))
    difference = np.abs(logits[0] - logits[1]).max()
    print(f"largest difference {difference:.1e} of logits up to {np.abs(logits[0]).max():.1f}")
    assert difference <= 1e-4
    plain = tmp_path / "plain"
    convert(make_plan(checkpoint, Rules(), float_dtype="F32"), plain)
    before, after = load_all(plain), load_all(tmp_path / "out")
    changed = {name for name in after if not same_bits(before[name], after[name])}
    assert len(changed) == len(factors), "every factor changed its tensor, and nothing else changed"


def test_every_factor_is_the_formats(tmp_path: Path) -> None:
    source = write_raw(tmp_path / "raw")
    config = open_checkpoint(source).config
    importance = random_importance(config, 1)
    found = folds(config, importance)
    expected: dict[str, tuple[np.ndarray | None, np.ndarray | None]] = {}
    for index, kind in enumerate(config.layer_types):
        layer = f"layers.{index}."
        if kind == FULL:
            mixed = [f"{layer}self_attn.{name}_proj" for name in "qkv"]
            s = scale(np.maximum.reduce([importance[name] for name in mixed]))
        else:
            mixed = [f"{layer}linear_attn.in_proj_{name}" for name in ("qkv", "z", "a", "b")]
            s = scale(np.maximum(importance[mixed[0]], importance[mixed[1]]))
        expected[f"{layer}input_layernorm"] = (1 / s, None)
        expected |= dict.fromkeys(mixed, (None, s))
        up, down = f"{layer}mlp.up_proj", f"{layer}mlp.down_proj"
        wide = scale(np.maximum(importance[f"{layer}mlp.gate_proj"], importance[up]))
        inner = scale(importance[down])
        expected[f"{layer}post_attention_layernorm"] = (1 / wide, None)
        expected[f"{layer}mlp.gate_proj"] = (None, wide)
        expected[up] = (1 / inner, wide)
        expected[down] = (None, inner)
    assert set(found) == set(expected)
    for module, pair in expected.items():
        for ours, theirs in zip((found[module].rows, found[module].columns), pair, strict=True):
            assert (ours is None) == (theirs is None), module
            if ours is not None and theirs is not None:
                np.testing.assert_allclose(ours, theirs, rtol=1e-6)


def test_centred_factors_multiply_to_one() -> None:
    random = np.random.default_rng(0)
    for _ in range(50):
        s = scale_of((10 ** random.uniform(-9, 9, 64)).astype(np.float32))
        assert s.max() * s.min() == pytest.approx(1, rel=1e-5)
    assert scale_of(np.zeros(4, np.float32)).tolist() == [1, 1, 1, 1]


def test_quantised_weights_are_those_of_the_scaled_ones(tmp_path: Path) -> None:
    source = write_raw(tmp_path / "raw", seed=2)
    checkpoint = open_checkpoint(source)
    factors = folds(checkpoint.config, read_imatrix(importance_file(source, tmp_path), checkpoint.config))
    plan = make_plan(checkpoint, variant_rules("nvfp4"))
    convert(plan, tmp_path / "out", folds=factors)
    raw, result = load_all(source), load_all(tmp_path / "out")
    seen = 0
    for decision in plan.decisions:
        fold = factors.get(decision.module)
        if fold is None:
            continue
        value = raw[decision.source.name].astype(mx.float32) + (1 if decision.add_one else 0)
        if fold.rows is not None:
            rows = mx.array(fold.rows)
            value = value * (rows[:, None] if value.ndim == 2 else rows)
        if fold.columns is not None:
            value = value * mx.array(fold.columns)[None]
        value = value.astype(mx.bfloat16)
        spec = decision.spec
        parts = [value]
        if spec is not None:
            parts = mx.quantize(value, group_size=spec.group_size, bits=spec.bits, mode=spec.mode)
        for output, expected in zip(decision.outputs, parts, strict=True):
            assert same_bits(result[output.name], expected), output.name
            seen += 1
    assert seen > 40


def test_only_groups_with_a_quantised_weight_are_folded(tmp_path: Path) -> None:
    config = open_checkpoint(write_raw(tmp_path / "raw")).config
    importance = random_importance(config, 1)
    assert set(folds(config, importance, {"layers.0.mlp.down_proj"})) == {
        "layers.0.mlp.down_proj", "layers.0.mlp.up_proj",
    }  # fmt: skip
    with pytest.raises(CheckpointError, match="has no effect"):  # never a silent no-op
        folds(config, importance, {"lm_head"})


@pytest.mark.parametrize("sizes", [{}, SMALL_MIXTURE], ids=["dense", "mixture"])
def test_names_are_llama_cpps(sizes: dict[str, Any], tmp_path: Path) -> None:
    """Every weight of the model against the map of the gguf package, and back."""
    config = with_experts_of(open_checkpoint(write_raw(tmp_path / "raw", text=sizes)).config, ())
    matrices = [t.module for t in text_tensors(config, lm_head=True) if t.is_matrix]
    assert {our_name(llama_name(module, config.num_hidden_layers)): module for module in matrices} == {
        module: module for module in matrices
    }
    assert len(set(LAYER_NAMES.values())) == len(LAYER_NAMES)
    assert our_name("blk.0.ffn_norm.weight") is None


def test_an_importance_matrix_is_read_as_it_was_measured(tmp_path: Path) -> None:
    text = {"linear_num_value_heads": 6, "linear_num_key_heads": 2}
    config = open_checkpoint(write_raw(tmp_path / "raw", text=text)).config
    importance = random_importance(config, 4)
    path = write_imatrix(tmp_path / "im.gguf", importance, config.num_hidden_layers, count=1234.0)
    found = read_imatrix(path, config)
    assert set(found) == set(importance)
    for module, values in importance.items():
        expected = grouped_heads(values, config) if module.endswith("linear_attn.out_proj") else values
        np.testing.assert_allclose(found[module], expected, rtol=1e-6)


def fold_from(path: Path, config: ModelConfig) -> None:
    folds(config, read_imatrix(path, config))


def test_an_importance_matrix_of_another_model_is_an_error(tmp_path: Path) -> None:
    config = open_checkpoint(write_raw(tmp_path / "raw")).config
    layers = config.num_hidden_layers
    whole = random_importance(config, 1)

    def written(name: str, importance: dict[str, np.ndarray], **options: Any) -> Path:
        return write_imatrix(tmp_path / name, importance, layers, **options)

    cases = {
        "matches no tensor": written("a", whole, rename=lambda name: f"x.{name}"),
        "the model has 4 layers": written("b", whole, rename=lambda name: name.replace("blk.3", "blk.17")),
        "has nothing on layers.2.mlp.down_proj": written(
            "c", {k: v for k, v in whole.items() if k != "layers.2.mlp.down_proj"}
        ),
        "has 64 channels for layers.0.linear_attn.out_proj": written(
            "i", whole | {"layers.0.linear_attn.out_proj": np.ones(64, np.float32)}
        ),
        "names blk.0.attn_q.weight, but layer 0 of the model is of linear attention": written(
            "j", whole, rename=lambda name: name.replace("blk.3.attn_q.", "blk.0.attn_q.")
        ),
        "names blk.3.ssm_out.weight, but layer 3 of the model is of full attention": written(
            "k", whole, rename=lambda name: name.replace("blk.2.ssm_out", "blk.3.ssm_out")
        ),
        "names blk.4.ffn_up.weight, but the model has 4 layers": written(
            "l", whole, rename=lambda name: name.replace("blk.3.ffn_up", "blk.4.ffn_up")
        ),
        "names blk.4.nextn.eh_proj.weight, but the model has 4 layers": written(
            "m", whole, rename=lambda name: name.replace("blk.3.ffn_up", "blk.4.nextn.eh_proj")
        ),
        "has 64 channels for layers.1.mlp.gate_proj, but the weight has 128": written(
            "d", whole | {"layers.1.mlp.gate_proj": np.ones(64, np.float32)}
        ),
        "never measured": written("e", whole, count=0.0),
        "NaN, infinity": written("f", whole | {"layers.0.mlp.up_proj": np.full(128, np.nan, np.float32)}),
        "nothing but zeros": written("h", whole | {"layers.0.mlp.up_proj": np.zeros(128, np.float32)}),
        "holds no tensors": written("g", {}),
    }
    for reason, path in cases.items():
        with pytest.raises(CheckpointError, match=reason):
            fold_from(path, config)


def test_an_mtp_layer_may_be_measured_too(tmp_path: Path) -> None:
    """llama-imatrix --nextn: one more layer, of full attention, where the model has an MTP layer and not elsewhere."""
    config = open_checkpoint(write_raw(tmp_path / "raw")).config
    whole = random_importance(config, 1)
    layers = config.num_hidden_layers

    def written(name: str, *inner: str) -> Path:
        more = {f"layers.{layers}.{module}": np.ones(128, np.float32) for module in inner}
        return write_imatrix(tmp_path / name, whole | more, layers + 1)

    attention = written("a", "self_attn.q_proj", "mlp.gate_proj")
    assert set(read_imatrix(attention, config, mtp=True)) == set(whole)
    with pytest.raises(CheckpointError, match=r"names blk.4.attn_q.weight, but the model has 4 layers: it"):
        read_imatrix(attention, config)
    with pytest.raises(CheckpointError, match=r"blk.4.attn_qkv.weight, but the model has 4 layers and an MTP"):
        read_imatrix(written("b", "linear_attn.in_proj_qkv"), config, mtp=True)
    nextn = write_imatrix(tmp_path / "c", whole, layers, rename=lambda n: n.replace("output", "blk.4.nextn.eh_proj", 1))
    assert "lm_head" not in read_imatrix(nextn, config, mtp=True)


def test_an_mtp_layer_is_seen_in_tensors_or_in_the_config(tmp_path: Path) -> None:
    write_raw(tmp_path / "raw", text={"mtp_num_hidden_layers": 0})
    without = open_checkpoint(tmp_path / "raw")
    assert not has_mtp(without)
    assert has_mtp(replace(without, tensors={"mtp.fc.weight": without.text["norm.weight"]}))
    text = json.loads((tmp_path / "raw" / "config.json").read_text())["text_config"]
    edit_config(tmp_path / "raw", text_config=text | {"mtp_num_hidden_layers": 1})
    assert has_mtp(open_checkpoint(tmp_path / "raw"))


def test_groups_that_are_not_folded_are_checked_too(tmp_path: Path) -> None:
    config = open_checkpoint(write_raw(tmp_path / "raw")).config
    whole = random_importance(config, 1)
    del whole["layers.3.self_attn.k_proj"]
    with pytest.raises(CheckpointError, match=r"has nothing on layers.3.self_attn.k_proj"):
        folds(config, whole, {"layers.0.mlp.down_proj"})


def test_files_as_llama_imatrix_writes_them(tmp_path: Path) -> None:
    """llama.cpp, tools/imatrix/imatrix.cpp, save_imatrix: sums [experts, channels] and counts [experts, 1] in float32,
    beside them newer versions' sums of the values themselves."""
    config = open_checkpoint(write_raw(tmp_path / "raw")).config
    whole = random_importance(config, 2)

    def written(name: str, experts: int) -> Path:
        writer = gguf.GGUFWriter(tmp_path / name, "imatrix")
        writer.add_type("imatrix")
        writer.add_array("imatrix.datasets", ["wiki.train.raw"])
        writer.add_uint32("imatrix.chunk_count", 8)
        writer.add_uint32("imatrix.chunk_size", 512)
        for module, mean in sorted(whole.items()):
            weight = llama_name(module, config.num_hidden_layers)
            counts = np.full((experts, 1), 4096, np.float32)
            sums = np.tile(mean * np.float32(4096), (experts, 1))
            writer.add_tensor(f"{weight}.in_sum2", sums)
            writer.add_tensor(f"{weight}.counts", counts)
            writer.add_tensor(f"{weight}.in_sum", -sums)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        return tmp_path / name

    found = read_imatrix(written("one.gguf", 1), config)
    assert set(found) == set(whole)
    for module, mean in whole.items():
        expected = grouped_heads(mean, config) if module.endswith("linear_attn.out_proj") else mean
        np.testing.assert_allclose(found[module], expected, rtol=1e-6)
    with pytest.raises(CheckpointError, match="of a mixture of experts"):
        read_imatrix(written("two.gguf", 2), config)


def older_file(path: Path, importance: dict[str, np.ndarray], layers: int, calls: int = 8) -> Path:
    """llama.cpp, save_imatrix_legacy: entries of name, calls and values, then the number of calls and the text's name.
    A value is the mean square times the calls."""
    data = struct.pack("<i", len(importance))
    for module, mean in importance.items():
        name = llama_name(module, layers).encode()
        data += struct.pack(f"<i{len(name)}sii", len(name), name, calls, mean.size)
        data += (mean * np.float32(calls)).astype("<f4").tobytes()
    path.write_bytes(data + struct.pack("<ii4s", calls, 4, b"wiki"))
    return path


@pytest.mark.parametrize("sizes", [{}, SMALL_MIXTURE], ids=["dense", "mixture"])
def test_the_older_format_says_the_same(sizes: dict[str, Any], tmp_path: Path) -> None:
    config = with_experts_of(open_checkpoint(write_raw(tmp_path / "raw", text=sizes)).config, ())
    importance = random_importance(config, 3)
    layers = config.num_hidden_layers
    older = read_imatrix(older_file(tmp_path / "old.dat", importance, layers), config)
    newer = read_imatrix(write_imatrix(tmp_path / "new.gguf", importance, layers), config)
    assert set(older) == set(newer) == set(importance)
    for module, values in newer.items():
        np.testing.assert_allclose(older[module], values, rtol=1e-5, err_msg=module)


def test_files_that_llama_cpp_itself_made_map_every_name(fixtures_dir: Path) -> None:
    """Both of the demo model, of two texts: every weight but the ends, and mostly the same channels matter."""
    config = open_checkpoint(demo_model_path()).config
    found = [read_imatrix(fixtures_dir / "imatrix" / f"demo-by-llama.cpp.{end}", config) for end in ("gguf", "dat")]
    matrices = {tensor.module for tensor in text_tensors(config, lm_head=False) if tensor.is_matrix}
    assert set(found[0]) == set(found[1]) == matrices - {"embed_tokens"}
    for module, values in found[0].items():
        likeness = np.corrcoef(np.log(values + 1e-6), np.log(found[1][module] + 1e-6))[0, 1]
        assert likeness > 0.3, module


def test_a_damaged_older_file_is_one_line(tmp_path: Path) -> None:
    config = open_checkpoint(write_raw(tmp_path / "raw")).config
    good = older_file(tmp_path / "good", random_importance(config, 1), config.num_hidden_layers).read_bytes()
    bad = tmp_path / "bad.dat"
    random = np.random.default_rng(1)
    damaged = [good[:cut] for cut in (0, 3, 4, 7, 30, len(good) // 2)]
    for _ in range(40):
        data = bytearray(good)
        for place in random.integers(0, 60, 4):
            data[place] = random.integers(0, 256)
        damaged.append(bytes(data))
    refused = 0
    for data in damaged:
        bad.write_bytes(data)
        try:
            fold_from(bad, config)
        except CheckpointError as error:
            refused += 1
            assert "\n" not in str(error)
    assert refused > 30
    bad.write_bytes(b"nothing of the kind")
    with pytest.raises(CheckpointError, match=r"neither GGUF nor a whole file of the older format \(\.dat\)"):
        read_imatrix(bad, config)


def test_damaged_importance_matrices_are_one_line(tmp_path: Path) -> None:
    config = open_checkpoint(write_raw(tmp_path / "raw")).config
    good = write_imatrix(tmp_path / "good", random_importance(config, 1), config.num_hidden_layers).read_bytes()
    bad = tmp_path / "bad"
    random = np.random.default_rng(0)
    refused = 0
    for cut in (0, 3, 4, 23, 500, len(good) // 2):
        bad.write_bytes(good[:cut])
        with pytest.raises(CheckpointError):
            fold_from(bad, config)
    for _ in range(60):
        data = bytearray(good)
        for place in random.integers(0, 6000, 8):
            data[place] = random.integers(0, 256)
        bad.write_bytes(data)
        try:
            fold_from(bad, config)
        except CheckpointError as error:
            refused += 1
            assert "\n" not in str(error)
    assert refused > 30
    with pytest.raises(CheckpointError, match="missing"):
        fold_from(tmp_path / "none", config)
    with pytest.raises(CheckpointError, match="not a regular file"):
        fold_from(tmp_path, config)


def test_groups_name_modules_of_the_model(tmp_path: Path) -> None:
    config = open_checkpoint(write_raw(tmp_path / "raw")).config
    modules = {tensor.module for tensor in text_tensors(config, lm_head=True)}
    for group in groups(config):
        assert {group.producer, *group.wanted, *group.also} <= modules
