"""Converting a mixture of experts: what is planned and written, how little is in memory, what is folded in."""

import json
from pathlib import Path

import gguf
import mlx.core as mx
import numpy as np
import pytest

from qwen_core.checkpoint.directory import open_checkpoint
from qwen_core.checkpoint.layout import make_layout, role_of
from qwen_core.checkpoint.tensor_bytes import TensorBytes, TensorInfo
from qwen_core.checkpoint.variants import identify
from qwen_core.convert import matrices, transform
from qwen_core.convert.awq import folds
from qwen_core.convert.convert import convert
from qwen_core.convert.found_folds import find_folds
from qwen_core.convert.imatrix import read_imatrix
from qwen_core.convert.plan import make_plan
from qwen_core.convert.quality import Text, compare, compare_roles
from qwen_core.convert.rules import Rules, built_in_rules
from qwen_core.convert.rules_file import read_rules
from qwen_core.convert.shards import arrange
from qwen_core.errors import CheckpointError
from qwen_core.model.model import load_model
from qwen_core.model.weights import TensorPlan, copy_tensor
from support.checkpoints import write_checkpoint
from support.conversion import headers, load_all, variant_rules, write_raw
from support.importance import random_importance, write_imatrix
from support.peer_mlx_lm import our_answer, peer_answer, prompt
from support.published_plan import FULL_MIXTURE, SMALL_MIXTURE

SIZES = {**SMALL_MIXTURE, "num_hidden_layers": 2, "full_attention_interval": 2}
BUILT = ("nvfp4", "mxfp4", "mxfp8", "q2", "q4", "q8")
MLP = "language_model.model.layers.1.mlp."


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_raw(tmp_path_factory.mktemp("source") / "raw", seed=21, text=SIZES)


@pytest.mark.parametrize("name", [*BUILT, "bf16", "uniform nvfp4", "uniform affine 4"])
def test_what_is_converted_here_answers_alike_in_mlx_lm(name: str, source: Path, tmp_path: Path) -> None:
    rules = variant_rules(name) if name in BUILT else Rules()
    if name.startswith("uniform"):
        rules = built_in_rules("uniform", "affine", 4) if "affine" in name else built_in_rules("uniform", "nvfp4")
    convert(make_plan(open_checkpoint(source), rules), tmp_path / "out")
    checkpoint = open_checkpoint(tmp_path / "out")
    kept = {"layers.1.mlp.gate", "layers.1.mlp.shared_expert_gate"}
    assert not kept & checkpoint.specs.keys()
    if name in BUILT:
        assert identify(make_layout(checkpoint)).name.split("-")[-1] == f"{name.upper()}_K_XL"
    ids = prompt(7)
    ours = our_answer(tmp_path / "out", ids, 32)
    assert ours == peer_answer(tmp_path / "out", ids, 32)
    assert len(set(ours)) > 4, "a model that repeats itself compares little"


def test_every_expert_is_quantised_as_by_mlx(source: Path, tmp_path: Path) -> None:
    convert(make_plan(open_checkpoint(source), variant_rules("nvfp4")), tmp_path / "out")
    raw, result = load_all(source), load_all(tmp_path / "out")
    stack = raw["model.language_model.layers.1.mlp.experts.gate_up_proj"]
    for name, wanted in (("gate_proj", stack[:, :64]), ("up_proj", stack[:, 64:])):
        weight, scales, *_ = mx.quantize(wanted, group_size=16, bits=4, mode="nvfp4")
        assert mx.array_equal(result[f"{MLP}switch_mlp.{name}.weight"], weight)
        assert mx.array_equal(result[f"{MLP}switch_mlp.{name}.scales"], scales)
    assert result[f"{MLP}gate.weight"].dtype == mx.bfloat16


def test_no_more_than_one_experts_slice_is_read_at_a_time(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    most: dict[str, int] = {}
    read = TensorBytes.read

    def noting(self: TensorBytes, info: TensorInfo, begin: int, end: int) -> np.ndarray:
        most[info.name] = max(most.get(info.name, 0), end - begin)
        return read(self, info, begin, end)

    monkeypatch.setattr(transform.TensorBytes, "read", noting)
    convert(make_plan(open_checkpoint(source), variant_rules("q4")), tmp_path / "out")
    stacks = {name: size for name, size in most.items() if ".experts." in name}
    assert len(stacks) == 2 * 2
    assert set(stacks.values()) == {64 * 128 * 2}  # gate, up or down of one


def test_progress_counts_every_byte_once(source: Path, tmp_path: Path) -> None:
    checkpoint = open_checkpoint(source)
    plan, seen = make_plan(checkpoint, variant_rules("nvfp4")), []
    convert(plan, tmp_path / "out", progress=lambda progress: seen.append(progress.done_bytes))
    assert plan.source_bytes == checkpoint.text_bytes
    assert seen == sorted(seen)
    assert seen[-1] == checkpoint.text_bytes


@pytest.mark.parametrize("variant", ["nvfp4", "mxfp8", "q6"])
def test_the_full_35b_is_planned_as_published(variant: str, tmp_path: Path) -> None:
    """Its headers, written as holes behind them, are what the recipe's tables say, and load strictly in mlx-lm."""
    write_checkpoint(tmp_path / "raw", "bf16", full=True, names="raw", text=FULL_MIXTURE)
    write_checkpoint(tmp_path / "published", variant, full=True, text=FULL_MIXTURE)
    plan = make_plan(open_checkpoint(tmp_path / "raw"), variant_rules(variant), keep_vision=False)
    target = tmp_path / "out"
    target.mkdir()
    for shard in arrange(plan.outputs):
        with (target / shard.file).open("wb") as file:
            file.write(shard.header)
            file.truncate(shard.nbytes)
    (target / "config.json").write_text(json.dumps(plan.config()))
    wanted = {name: form for name, form in headers(tmp_path / "published").items() if "vision" not in name}
    assert headers(target) == wanted
    layout = make_layout(open_checkpoint(target))
    assert layout.token_bytes == make_layout(open_checkpoint(tmp_path / "published")).token_bytes
    assert all(module.element_aligned for module in layout.modules)
    pytest.importorskip("mlx_lm.utils").load_model(target, lazy=True, strict=True)


@pytest.mark.parametrize("is_raw", [True, False])
def test_folding_leaves_the_float_model_what_it_was(is_raw: bool, source: Path, tmp_path: Path) -> None:
    """Also the router and the shared expert's gate, which read the same norm and stay floats."""
    start = source
    if not is_raw:
        convert(make_plan(open_checkpoint(source), Rules(), float_dtype="F32"), tmp_path / "float")
        start = tmp_path / "float"
    checkpoint = open_checkpoint(start)
    file = write_imatrix(tmp_path / "im.gguf", random_importance(checkpoint.config, 3), 2)
    factors = folds(checkpoint.config, read_imatrix(file, checkpoint.config))
    convert(make_plan(checkpoint, Rules(), float_dtype="F32"), tmp_path / "out", folds=factors)
    ids = mx.array([np.random.RandomState(1).randint(0, 512, 48).tolist()])
    models = [load_model(path, "float32") for path in (start, tmp_path / "out")]
    one, other = (np.array(model(ids, model.new_state())) for model in models)
    assert np.abs(one - other).max() <= 1e-4
    convert(make_plan(checkpoint, Rules(), float_dtype="F32"), tmp_path / "plain")
    before, after = load_all(tmp_path / "plain"), load_all(tmp_path / "out")
    changed = {name for name in after if not mx.array_equal(before[name], after[name])}
    assert len(changed) == len(factors), "every factor changed its tensor, and nothing else changed"
    assert {f"{MLP}{name}.weight" for name in ("switch_mlp.down_proj", "gate", "shared_expert_gate")} <= changed


def write_experts(path: Path, name: str, sums: np.ndarray, counts: list[float]) -> Path:
    """One stack's entry of a file, as llama.cpp writes it."""
    writer = gguf.GGUFWriter(path, "imatrix")
    writer.add_type("imatrix")
    writer.add_tensor(f"{name}.weight.in_sum2", sums.astype(np.float32))
    writer.add_tensor(f"{name}.weight.counts", np.array(counts, np.float32).reshape(-1, 1))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_importance_of_experts(source: Path, tmp_path: Path) -> None:
    """Gate and up: of all tokens, each expert's as many as it met. Down: of each expert, where it met any."""
    config = open_checkpoint(source).config
    counts = [3.0, 0.0, 5.0, 1.0, 1.0, 1.0, 1.0, 1.0]
    random = np.random.default_rng(0)
    wide, narrow = (random.uniform(0.1, 9, (8, size)) * (np.array(counts) > 0)[:, None] for size in (128, 64))
    for both in ("ffn_gate_exps", "ffn_gate_up_exps"):
        found = read_imatrix(write_experts(tmp_path / both, f"blk.1.{both}", wide, counts), config)
        modules = {"layers.1.mlp.switch_mlp.gate_proj"}
        assert set(found) == modules | ({"layers.1.mlp.switch_mlp.up_proj"} if "up" in both else set())
        for mean in found.values():
            np.testing.assert_allclose(mean, wide.sum(axis=0) / 13, rtol=1e-5)
    found = read_imatrix(write_experts(tmp_path / "down", "blk.1.ffn_down_exps", narrow, counts), config)
    each = found["layers.1.mlp.switch_mlp.down_proj"]
    np.testing.assert_allclose(each[[0, 2, 7]], narrow[[0, 2, 7]] / np.array([[3.0], [5.0], [1.0]]), rtol=1e-5)
    np.testing.assert_allclose(each[1], narrow.sum(axis=0) / 13, rtol=1e-5)


@pytest.mark.parametrize(
    ("sums", "counts", "says"),
    [
        (np.ones((7, 64)), [1.0] * 7, "lacks the sums and counts of 8 experts"),
        (np.ones((8, 63)), [1.0] * 8, "has 63 channels"),
        (np.zeros((8, 64)), [0.0] * 8, "was never measured"),
        (np.ones((8, 64)), [1.0] * 7 + [float("nan")], "has a count of nan"),
        (np.full((8, 64), -1.0), [1.0] * 8, "negative"),
    ],
)
def test_importance_that_is_not_of_this_model(
    sums: np.ndarray, counts: list[float], says: str, source: Path, tmp_path: Path
) -> None:
    config = open_checkpoint(source).config
    with pytest.raises(CheckpointError, match=says):
        read_imatrix(write_experts(tmp_path / "bad", "blk.0.ffn_down_exps", sums, counts), config)


@pytest.fixture(scope="module", params=["raw", "converted"])
def original(request: pytest.FixtureRequest, source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Gate and up of the experts in one tensor, or in two."""
    if request.param == "raw":
        return source
    path = tmp_path_factory.mktemp("float") / "bf16"
    convert(make_plan(open_checkpoint(source), Rules()), path)
    return path


@pytest.mark.parametrize("is_folded", [True, False])
def test_each_role_of_a_mixture_does_alone_what_it_does_in_the_model(
    is_folded: bool, original: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Against conversions of one role alone, with all factors folded in and everything else in float32.

    An unpacked stack is never asked for: what is read to be unpacked is one expert's.
    """
    checkpoint, text = (
        open_checkpoint(original),
        Text(tuple(np.random.RandomState(5).randint(0, 500, 40).tolist()), 500),
    )
    plan, made = make_plan(checkpoint, variant_rules("nvfp4")), None
    if is_folded:
        file = write_imatrix(tmp_path / "im.gguf", random_importance(checkpoint.config, 3), 2)
        made = folds(checkpoint.config, read_imatrix(file, checkpoint.config), set(plan.specs))
    convert(plan, tmp_path / "all", folds=made)
    read: dict[str, int] = {}

    def noting(source: TensorBytes, plan: TensorPlan) -> mx.array:
        read[plan.name] = max(read.get(plan.name, 0), plan.info.nbytes)
        return copy_tensor(source, plan)

    monkeypatch.setattr(matrices, "copy_tensor", noting)
    _, roles = compare_roles(original, tmp_path / "all", text, dtype="float32")
    assert max(size for name, size in read.items() if ".switch_mlp." in name) == 64 * 128 * 2
    assert {entry.role for entry in roles} == {role_of(module) for module in plan.specs}
    for entry in roles:
        if entry.role not in ("switch_mlp.gate_proj", "switch_mlp.down_proj", "shared_expert.up_proj"):
            continue
        spec = next(spec for module, spec in plan.specs.items() if role_of(module) == entry.role)
        toml = f'match = "{entry.role}"\nmode = "{spec.mode}"\nbits = {spec.bits}\ngroup_size = {spec.group_size}\n'
        (tmp_path / "rules.toml").write_text(f"[[rule]]\n{toml}")
        alone = tmp_path / entry.role
        convert(make_plan(checkpoint, read_rules(tmp_path / "rules.toml"), float_dtype="F32"), alone, folds=made)
        expected = compare(original, alone, text, dtype="float32").kl_mean
        assert expected > 1e-5
        assert entry.quality.kl_mean == pytest.approx(expected, rel=0.03), entry.role


@pytest.mark.parametrize("variant", ["q2", "nvfp4", "q8"])
def test_folds_of_experts_are_found_again(variant: str, original: Path, tmp_path: Path) -> None:
    """Each expert's own, or none where none were made."""
    checkpoint = open_checkpoint(original)
    file = write_imatrix(tmp_path / "im.gguf", random_importance(checkpoint.config, 3), 2)
    plan = make_plan(checkpoint, variant_rules(variant))
    made = folds(checkpoint.config, read_imatrix(file, checkpoint.config), set(plan.specs))
    convert(plan, tmp_path / "folded", folds=made)
    found = find_folds(checkpoint, open_checkpoint(tmp_path / "folded"))
    assert set(found) == {module for module in made if not module.endswith("norm")}
    down = "layers.1.mlp.switch_mlp.down_proj"
    one, other = found[down].columns, made[down].columns
    assert one is not None
    assert other is not None
    assert one.shape == other.shape == (8, 64)
    noise = {"q2": 0.3, "nvfp4": 0.06, "q8": 0.006}[variant]
    np.testing.assert_allclose(one, other, rtol=noise)
    convert(plan, tmp_path / "plain")
    assert find_folds(checkpoint, open_checkpoint(tmp_path / "plain")) == {}
