"""Folding by search: the errors that it tells are those of what is written, and none is worse than without it."""

from math import hypot
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from qwen_core.checkpoint.architecture import with_experts_of
from qwen_core.checkpoint.directory import open_checkpoint
from qwen_core.checkpoint.tensor_bytes import TensorBytes
from qwen_core.convert.awq import Fold, folds, folds_of, groups, scale_of
from qwen_core.convert.convert import convert
from qwen_core.convert.fold_search import GRID, FoldChoice, search_folds
from qwen_core.convert.imatrix import read_imatrix
from qwen_core.convert.measure import Measure
from qwen_core.convert.plan import ConversionPlan, make_plan
from qwen_core.convert.rules import Rules, built_in_rules
from qwen_core.convert.transform import transformed
from qwen_core.errors import CheckpointError
from qwen_core.model.model import load_model
from qwen_core.tensors.rounding_error import ERRORS_FILE, read_errors
from support.conversion import load_all, variant_rules, write_raw
from support.importance import random_importance, write_imatrix
from support.published_plan import SMALL_MIXTURE

Importance = dict[str, np.ndarray]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_raw(tmp_path_factory.mktemp("search") / "raw", seed=4)


def importance_of(source: Path) -> Importance:
    """As it is read from a file: of gate and up of a stack of experts there is one for all."""
    config = with_experts_of(open_checkpoint(source).config, ())
    path = write_imatrix(source.parent / "imatrix.gguf", random_importance(config, 1), config.num_hidden_layers)
    return read_imatrix(path, config)


def plan_of(source: Path, variant: str) -> ConversionPlan:
    return make_plan(open_checkpoint(source), variant_rules(variant))


def plain_error(
    source: Path,
    result: Path,
    plan: ConversionPlan,
    choice: FoldChoice,
    importance: Importance,
    factors: dict[str, Fold],
) -> float:
    """A norm's group from the files alone: what the layer computes is off by, the norm's own factor included."""
    raw, stored = load_all(source), load_all(result)
    error = size = 0.0
    decisions = {decision.module: decision for decision in plan.decisions}
    norm = decisions[choice.group.producer]
    before = 1 + raw[norm.source.name].astype(mx.float32)
    scale = before / stored[norm.name].astype(mx.float32)
    for module in choice.group.wanted:
        decision = decisions[module]
        spec = decision.spec
        if spec is None:
            continue
        weight = raw[decision.source.name].astype(mx.float32)
        parts = [stored[output.name] for output in decision.outputs]
        found = mx.dequantize(*parts, group_size=spec.group_size, bits=spec.bits, mode=spec.mode).astype(mx.float32)
        rows = factors.get(module, Fold()).rows
        if rows is not None:  # up_proj, whose rows were scaled for down_proj
            weight = weight * mx.array(rows)[:, None]
        cost = mx.array(importance[module]) if rows is None else mx.array(importance[module] / rows[:, None] ** 2)
        error += mx.sum(cost * mx.square(found / scale - weight)).item()
        size += mx.sum(cost * mx.square(weight)).item()
    return float(np.sqrt(error / size))


@pytest.mark.parametrize("variant", ["q3", "nvfp4", "mxfp4"])
def test_the_errors_it_tells_are_those_of_the_files(variant: str, source: Path, tmp_path: Path) -> None:
    plan, importance = plan_of(source, variant), importance_of(source)
    found, choices = search_folds(plan, importance)
    convert(plan, tmp_path / "plain")
    convert(plan, tmp_path / "folded", folds=found)
    of_norms = [choice for choice in choices if choice.group.producer.endswith("norm")]
    assert any(choice.exponent for choice in of_norms)
    for choice in of_norms:
        # Norms and affine products are rounded to bfloat16 in the files, and not where the error is measured.
        told = (choice.before, choice.after)
        read = [
            plain_error(source, tmp_path / name, plan, choice, importance, scaled)
            for name, scaled in (("plain", {}), ("folded", found))
        ]
        assert told == pytest.approx(read, rel=0.03)
        assert choice.after <= choice.before
        assert (choice.after == choice.before) == (choice.exponent == 0)


def test_no_exponent_of_the_grid_is_better(source: Path) -> None:
    """Each tried alone through a conversion's own measure."""
    plan, importance = plan_of(source, "q3"), importance_of(source)
    _, choices = search_folds(plan, importance)
    group = next(group for group in groups(plan.checkpoint.config) if group.producer == "layers.0.input_layernorm")
    chosen = next(choice for choice in choices if choice.group == group)
    tried = {}
    for exponent in (*GRID[::3], chosen.exponent):
        scale = scale_of(np.maximum.reduce([importance[module] for module in group.wanted]), exponent)
        tried[exponent] = measured_alone(plan, group.wanted, folds_of({group: scale}), Measure(importance))
    assert tried[chosen.exponent] == pytest.approx(min(tried.values()), rel=1e-3)
    assert chosen.after == pytest.approx(np.sqrt(tried[chosen.exponent]), rel=1e-3)


def measured_alone(plan: ConversionPlan, modules: tuple[str, ...], found: dict[str, Fold], measure: Measure) -> float:
    with TensorBytes() as file:
        for decision in plan.decisions:
            if decision.module in modules:
                list(transformed(file, decision, found.get(decision.module), measure=measure))
    errors = measure.errors.values()
    return sum(error.error for error in errors) / sum(error.size for error in errors)


@pytest.mark.parametrize("sizes", [{}, SMALL_MIXTURE], ids=["dense", "mixture"])
def test_the_model_computes_what_it_did(sizes: dict[str, Any], tmp_path: Path) -> None:
    """The searched factors on floats: also where a stack of experts is scaled expert by expert."""
    source = write_raw(tmp_path / "raw", text=sizes)
    importance = importance_of(source)
    found, choices = search_folds(plan_of(source, "q2"), importance)
    assert any(choice.exponent for choice in choices)
    plan = make_plan(open_checkpoint(source), Rules(), float_dtype="F32")
    convert(plan, tmp_path / "out", folds=found)
    ids = mx.array([list(range(40))])
    logits = []
    for path in (source, tmp_path / "out"):
        model = load_model(path, "float32")
        logits.append(np.array(model(ids, model.new_state())))
    assert np.abs(logits[0] - logits[1]).max() <= 1e-4


def test_a_matrix_that_says_nothing_is_not_folded_in(source: Path) -> None:
    """Channels that matter alike: every exponent gives the same weights."""
    even = {module: np.full_like(values, 0.7) for module, values in importance_of(source).items()}
    found, choices = search_folds(plan_of(source, "q4"), even)
    assert found == {}
    assert {choice.exponent for choice in choices} == {0}


@pytest.mark.parametrize("variant", ["q3", "nvfp4"])
def test_between_two_matrices_what_both_lose_counts(variant: str, source: Path, tmp_path: Path) -> None:
    """Rows of any format are rounded anew with the columns that they feed."""
    even = {module: np.ones_like(values) for module, values in importance_of(source).items()}
    plan = plan_of(source, variant)
    _, choices = search_folds(plan, even)
    convert(plan, tmp_path / "out", measure=Measure(even))
    errors = read_errors(tmp_path / "out" / ERRORS_FILE)
    pairs = [choice for choice in choices if choice.group.producer.endswith("up_proj")]
    assert len(pairs) == plan.checkpoint.config.num_hidden_layers
    for choice in pairs:
        both = [errors[module].relative for module in (choice.group.producer, *choice.group.wanted)]
        assert choice.before == pytest.approx(hypot(*both), rel=0.01)


def test_all_that_reads_a_norm_counts_where_it_is_quantised(source: Path, tmp_path: Path) -> None:
    """In the published recipe a and b of linear attention stay floats, in a budget's choice they need not."""
    importance = importance_of(source)
    plan = make_plan(open_checkpoint(source), built_in_rules("uniform", "affine", 3))
    for group in groups(plan.checkpoint.config):
        importance |= dict.fromkeys(group.also, importance[group.wanted[0]] * 100)
    _, choices = search_folds(plan, importance)
    convert(plan, tmp_path / "out", measure=Measure(importance))
    errors = read_errors(tmp_path / "out" / ERRORS_FILE)
    linear = [choice for choice in choices if choice.group.also]
    assert linear
    for choice in linear:
        found = [errors[module] for module in (*choice.group.wanted, *choice.group.also)]
        whole = sum(one.error for one in found) / sum(one.size for one in found)
        assert choice.before == pytest.approx(np.sqrt(whole), rel=0.01)


def test_it_is_less_than_the_fixed_exponent_leaves(source: Path, tmp_path: Path) -> None:
    importance = importance_of(source)
    plan = plan_of(source, "q3")
    ways = {"search": search_folds(plan, importance)[0], "fixed": folds(plan.checkpoint.config, importance)}
    sums = {}
    for name, found in ways.items():
        convert(plan, tmp_path / name, folds=found, measure=Measure(importance))
        sums[name] = sum(error.error for error in read_errors(tmp_path / name / ERRORS_FILE).values())
    assert sums["search"] < sums["fixed"]


def test_a_matrix_without_effect_or_of_another_model_is_an_error(source: Path) -> None:
    importance = importance_of(source)
    with pytest.raises(CheckpointError, match="has no effect"):
        search_folds(make_plan(open_checkpoint(source), Rules()), importance)
    del importance["layers.3.self_attn.k_proj"]
    with pytest.raises(CheckpointError, match=r"has nothing on layers\.3\.self_attn\.k_proj"):
        search_folds(plan_of(source, "q4"), importance)


def test_small_nvfp4_weights_get_a_gain_that_their_norm_gives_back(source: Path, tmp_path: Path) -> None:
    """The same model with gate and up 64 times smaller, where E4M3 holds their scales with one digit: a power of two
    for all channels, which rounds nothing of the norm. As they are, the weights need none."""
    checkpoint = open_checkpoint(source)
    norms = [group for group in groups(checkpoint.config) if group.producer.endswith("post_attention_layernorm")]
    smaller = folds_of({group: np.full(checkpoint.config.hidden_size, 2.0**-6, np.float32) for group in norms})
    convert(make_plan(checkpoint, Rules()), tmp_path / "small", folds=smaller)
    plan = plan_of(tmp_path / "small", "nvfp4")
    found, choices = search_folds(plan, {}, gains=True)
    assert [choice.group for choice in choices] == norms
    assert all(choice.gain > 1 and choice.after < 0.97 * choice.before for choice in choices)
    assert {choice.gain for choice in search_folds(plan_of(source, "nvfp4"), {}, gains=True)[1]} == {1}
    convert(plan, tmp_path / "plain", measure=Measure())
    convert(plan, tmp_path / "gained", folds=found, measure=Measure())
    before, after = load_all(tmp_path / "plain"), load_all(tmp_path / "gained")
    for choice in choices:
        norm = f"language_model.model.{choice.group.producer}.weight"
        assert mx.array_equal(before[norm], after[norm] * choice.gain)
    errors = [read_errors(tmp_path / name / ERRORS_FILE) for name in ("plain", "gained")]
    for module in ("layers.0.mlp.up_proj", "layers.3.mlp.gate_proj"):
        assert errors[1][module].relative < errors[0][module].relative


@pytest.mark.parametrize("sizes", [{}, SMALL_MIXTURE], ids=["dense", "mixture"])
def test_small_nvfp4_columns_get_a_gain_that_the_rows_before_them_give_back(
    sizes: dict[str, Any], tmp_path: Path
) -> None:
    """down_proj 64 times smaller and up_proj as much larger, both nvfp4: what one loses counts as the other's gain."""
    source = write_raw(tmp_path / "raw", text=sizes)
    checkpoint, importance = open_checkpoint(source), importance_of(source)
    feeding = [group for group in groups(checkpoint.config) if group.producer.endswith("up_proj")]
    smaller = folds_of({group: np.full_like(importance[group.wanted[0]], 2.0**-6) for group in feeding})
    convert(make_plan(checkpoint, Rules()), tmp_path / "small", folds=smaller)
    plan = make_plan(open_checkpoint(tmp_path / "small"), built_in_rules("uniform", "nvfp4"))
    found, choices = search_folds(plan, {}, gains=True)
    gained = [choice for choice in choices if choice.group in feeding]
    assert [choice.group for choice in gained] == feeding
    assert all(choice.gain > 1 and choice.after < choice.before / 4 for choice in gained)
    ways: dict[str, dict[str, Fold]] = {"plain": {}, "gained": found}
    for name, factors in ways.items():
        convert(plan, tmp_path / name, folds=factors, measure=Measure())
    plain, better = (read_errors(tmp_path / name / ERRORS_FILE) for name in ways)
    for choice in gained:
        down, up = choice.group.wanted[0], choice.group.producer
        assert better[down].relative < plain[down].relative / 4
        assert better[up].relative < 1.1 * plain[up].relative
