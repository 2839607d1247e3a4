"""Both ways with mlx-lm: it strictly loads what is converted here and answers alike; what it converts loads here."""

import json
import shutil
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from qwen_core.checkpoint.directory import open_checkpoint
from qwen_core.checkpoint.layout import make_layout
from qwen_core.checkpoint.variants import identify
from qwen_core.convert.awq import folds_of, groups
from qwen_core.convert.budget import choose
from qwen_core.convert.budget_words import bits_budget
from qwen_core.convert.candidates import measure_candidates
from qwen_core.convert.convert import convert
from qwen_core.convert.fitted_rules import FittedRules
from qwen_core.convert.fold_search import search_folds
from qwen_core.convert.measure import Measure
from qwen_core.convert.plan import make_plan
from qwen_core.convert.realign import realign
from qwen_core.convert.rules import Rules, built_in_rules
from qwen_core.convert.rules_file import read_rules
from support.checkpoints import edit_config, write_checkpoint
from support.conversion import NINE, add_tensors, load_all, same_bits, tensor_bytes, variant_rules, write_raw
from support.importance import random_importance
from support.peer_mlx_lm import our_answer, peer_answer, prompt

mlx_lm_utils = pytest.importorskip("mlx_lm.utils")
mlx_lm_convert = pytest.importorskip("mlx_lm.convert")

OWN_RULES = """
[[rule]]
match = "mlp.down_proj"
layers = [0, 1]
keep = true
[[rule]]
match = ["mlp.*", "o_proj"]
mode = "mxfp4"
[[rule]]
match = "lm_head"
mode = "affine"
bits = 3
group_size = 128
[[rule]]
match = "in_proj_*"
mode = "nvfp4"
"""


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_raw(tmp_path_factory.mktemp("source") / "raw", seed=11)


def own_rules(tmp_path: Path) -> Rules:
    (tmp_path / "own.toml").write_text(OWN_RULES)
    return read_rules(tmp_path / "own.toml")


@pytest.mark.parametrize("name", [*NINE, "bf16", "uniform affine 3", "uniform nvfp4", "own rules", "realigned"])
def test_what_is_converted_here_answers_alike_in_mlx_lm(name: str, source: Path, tmp_path: Path) -> None:
    if name in NINE or name == "realigned":
        rules = variant_rules("nvfp4" if name == "realigned" else name)
    elif name.startswith("uniform"):
        rules = built_in_rules("uniform", "affine", 3) if "affine" in name else built_in_rules("uniform", "nvfp4")
    else:
        rules = own_rules(tmp_path) if name == "own rules" else Rules()
    target = tmp_path / "out"
    convert(make_plan(open_checkpoint(source), rules), target)
    if name == "realigned":
        realign(open_checkpoint(target), tmp_path / "again")
        target = tmp_path / "again"
    ids = prompt(3)
    ours, theirs = our_answer(target, ids), peer_answer(target, ids)
    assert ours == theirs
    assert len(set(ours)) > 4, "a model that repeats itself compares little"


@pytest.mark.parametrize("is_nested", [True, False])
@pytest.mark.parametrize("has_head", [True, False])
def test_a_config_that_says_of_the_head_what_the_tensors_do_not(
    has_head: bool, is_nested: bool, tmp_path: Path
) -> None:
    """The tensors decide here, the text section of config.json decides there."""
    write_checkpoint(tmp_path / "raw", "bf16", names="raw", tied=not has_head, nested=is_nested, seed=11)
    changes: dict[str, Any] = {"tie_word_embeddings": True}
    if is_nested:
        text = json.loads((tmp_path / "raw" / "config.json").read_text())["text_config"]
        changes["text_config"] = text | {"tie_word_embeddings": has_head}
    edit_config(tmp_path / "raw", **changes)
    convert(make_plan(open_checkpoint(tmp_path / "raw"), variant_rules("nvfp4")), tmp_path / "out")
    config = open_checkpoint(tmp_path / "out").raw_config
    assert {section["tie_word_embeddings"] for section in (config, config.get("text_config", config))} == {not has_head}
    if is_nested:  # mlx-lm has no model of the other kind
        ids = prompt(3)
        assert our_answer(tmp_path / "out", ids) == peer_answer(tmp_path / "out", ids)


def test_buffers_that_are_computed_anyway_are_left_out(source: Path, tmp_path: Path) -> None:
    shutil.copytree(source, tmp_path / "raw")
    frequencies = mx.ones((16,), mx.bfloat16)
    add_tensors(
        tmp_path / "raw",
        {
            "model.language_model.layers.3.self_attn.rotary_emb.inv_freq": frequencies,
            "model.language_model.rotary_emb.inv_freq": frequencies,
            "model.visual.rotary_pos_emb.inv_freq": frequencies,
            "mtp.layers.0.self_attn.rotary_emb.inv_freq": frequencies,
            "mtp.norm.weight": frequencies,
        },
    )
    plan = make_plan(open_checkpoint(tmp_path / "raw"), variant_rules("nvfp4"), keep_mtp=True)
    assert any("(inv_freq, 4)" in warning for warning in plan.warnings)
    convert(plan, tmp_path / "out")
    assert [name for name in open_checkpoint(tmp_path / "out").tensors if "inv_freq" in name] == []
    ids = prompt(3)
    assert our_answer(tmp_path / "out", ids) == peer_answer(tmp_path / "out", ids)


def convert_with_peer(source: Path, target: Path, **options: Any) -> None:
    """mlx_lm.convert without its tokenizer, which a random model has none of."""
    model, config = mlx_lm_utils.load_model(source, lazy=True)
    recipe = options.pop("recipe", None)
    if recipe is not None:
        group = options["group_size"]
        options["quant_predicate"] = mlx_lm_convert.mixed_quant_predicate_builder(recipe, model, group)
    bits, group_size = options.pop("bits"), options.pop("group_size")
    model, config = mlx_lm_utils.quantize_model(model, config, group_size, bits, **options)
    target.mkdir()
    mlx_lm_utils.save_model(target, model)
    mlx_lm_utils.save_config(config, config_path=target / "config.json")


@pytest.mark.parametrize(
    ("options", "verdict"),
    [
        ({"bits": 4, "group_size": 64}, "uniform affine 4-bit g64"),
        ({"bits": 4, "group_size": 16, "mode": "nvfp4"}, "uniform nvfp4 4-bit g16"),
        ({"bits": 8, "group_size": 32, "mode": "mxfp8"}, "uniform mxfp8 8-bit g32"),
        *(({"bits": 4, "group_size": 64, "recipe": name}, "custom") for name in mlx_lm_convert.QUANT_RECIPES),
    ],
)
def test_what_mlx_lm_converts_loads_here_and_answers_alike(
    options: dict[str, Any], verdict: str, source: Path, tmp_path: Path
) -> None:
    convert_with_peer(source, tmp_path / "theirs", **options)
    assert identify(make_layout(open_checkpoint(tmp_path / "theirs"))).name == verdict
    ids = prompt(4)
    ours = our_answer(tmp_path / "theirs", ids)
    assert ours == peer_answer(tmp_path / "theirs", ids)
    assert len(set(ours)) > 4


@pytest.mark.parametrize(("mode", "bits", "group"), [("affine", 4, 64), ("mxfp4", 4, 32), ("nvfp4", 4, 16)])
def test_uniform_conversions_of_both_are_the_same_tensors(
    mode: Any, bits: int, group: int, source: Path, tmp_path: Path
) -> None:
    convert_with_peer(source, tmp_path / "theirs", bits=bits, group_size=group, mode=mode)
    rules = built_in_rules("uniform", mode, bits, group)
    convert(make_plan(open_checkpoint(source), rules), tmp_path / "ours")
    ours, theirs = load_all(tmp_path / "ours"), load_all(tmp_path / "theirs")
    assert set(ours) == set(theirs)
    assert [name for name in ours if not same_bits(ours[name], theirs[name]) and "norm" not in name] == []
    blocks = [json.loads((tmp_path / side / "config.json").read_text())["quantization"] for side in ("ours", "theirs")]
    assert blocks[0] == blocks[1]


def test_what_mlx_lm_converts_can_be_realigned(source: Path, tmp_path: Path) -> None:
    convert_with_peer(source, tmp_path / "theirs", bits=4, group_size=64, recipe="mixed_4_6")
    realign(open_checkpoint(tmp_path / "theirs"), tmp_path / "out")
    assert tensor_bytes(tmp_path / "theirs") == tensor_bytes(tmp_path / "out")
    ids = prompt(5)
    assert our_answer(tmp_path / "out", ids) == our_answer(tmp_path / "theirs", ids)


@pytest.mark.parametrize("name", ["q2", "q5", "nvfp4", "mxfp4", "fit", "small nvfp4"])
def test_what_search_and_budgets_write_is_read_alike(name: str, tmp_path: Path) -> None:
    """Searched folding, gains, ranges and scales; and the mixed formats of a budget, the embedding's among them."""
    checkpoint = open_checkpoint(write_raw(tmp_path / "raw", seed=31))
    importance = random_importance(checkpoint.config, 5)
    if name == "small nvfp4":  # what mlx-lm would read no global_scale for
        smaller = {group: np.full_like(importance[group.wanted[0]], 2.0**-6) for group in groups(checkpoint.config)}
        convert(make_plan(checkpoint, Rules(), float_dtype="F32"), tmp_path / "small", folds=folds_of(smaller))
        checkpoint = open_checkpoint(tmp_path / "small")
    if name == "fit":
        floats = make_plan(checkpoint, Rules())
        choice = choose(floats, measure_candidates(floats, importance), bits_budget(floats, 5))
        plan = make_plan(checkpoint, FittedRules("fitted", choice.specs))
        assert len(set(plan.specs.values())) > 1
    elif name == "small nvfp4":
        plan = make_plan(checkpoint, built_in_rules("uniform", "nvfp4"))
    else:
        plan = make_plan(checkpoint, variant_rules(name))
    found, choices = search_folds(plan, importance, gains=True)
    assert any(choice.gain > 1 for choice in choices) == (name == "small nvfp4")
    convert(plan, tmp_path / "out", folds=found, measure=Measure(importance, search=True))
    assert our_answer(tmp_path / "out", prompt(2)) == peer_answer(tmp_path / "out", prompt(2))
