"""A budget is kept and well spent: against every choice there is, and against the files that come of it."""

import random
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qwen_core.checkpoint.directory import open_checkpoint
from qwen_core.checkpoint.layout import make_layout
from qwen_core.checkpoint.quantization import QuantSpec
from qwen_core.convert.budget import Budget, choose, point_of
from qwen_core.convert.budget_words import bits_budget, bytes_budget, parse_fit, speed_budget
from qwen_core.convert.candidates import (
    Candidates,
    formats_of,
    keep_candidates,
    kept_candidates,
    key_of,
    measure_candidates,
)
from qwen_core.convert.convert import convert
from qwen_core.convert.fitted_rules import FittedRules, recipe_text
from qwen_core.convert.measure import Measure
from qwen_core.convert.plan import ConversionPlan, make_plan
from qwen_core.convert.rules import Rules, UniformRules
from qwen_core.convert.rules_file import read_rules
from qwen_core.errors import CheckpointError, SettingsError
from qwen_core.tensors.rounding_error import ERRORS_FILE, read_errors
from support.conversion import variant_rules, write_raw
from support.importance import random_importance
from support.published_plan import SMALL_MIXTURE


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_raw(tmp_path_factory.mktemp("budget") / "raw", seed=8)


@pytest.fixture(scope="module")
def floats(source: Path) -> ConversionPlan:
    return make_plan(open_checkpoint(source), Rules())


@pytest.fixture(scope="module")
def importance(floats: ConversionPlan) -> dict[str, np.ndarray]:
    return random_importance(floats.checkpoint.config, 2)


@pytest.fixture(scope="module")
def measured(floats: ConversionPlan, importance: dict[str, np.ndarray]) -> dict[str, Candidates]:
    return measure_candidates(floats, importance)


def fitted(floats: ConversionPlan, found: dict[str, Candidates], budget: Budget) -> ConversionPlan:
    return make_plan(floats.checkpoint, FittedRules("fitted", choose(floats, found, budget).specs))


@pytest.mark.parametrize("spec", [QuantSpec("affine", 3, 64), QuantSpec("nvfp4", 4, 16)], ids=str)
@pytest.mark.parametrize("search", [False, True], ids=["plain", "searched"])
def test_errors_are_those_of_the_weights_that_are_written(
    spec: QuantSpec, search: bool, floats: ConversionPlan, importance: dict[str, np.ndarray], tmp_path: Path
) -> None:
    found = measure_candidates(floats, importance, search=search)
    plan = make_plan(floats.checkpoint, UniformRules(spec))
    convert(plan, tmp_path / "out", measure=Measure(importance, search=search))
    errors = read_errors(tmp_path / "out" / ERRORS_FILE)
    assert set(errors) == set(found)
    for module, one in errors.items():
        assert one.error == pytest.approx(found[module].errors[str(spec)], rel=1e-3), module
        assert one.size == pytest.approx(found[module].size, rel=1e-3)


@given(data=st.data())
@settings(max_examples=30, deadline=None)
def test_the_choice_is_the_best_but_for_what_one_step_takes(data: st.DataObject, floats: ConversionPlan) -> None:
    """Against every combination of two weights' formats. A sweep is exact at its own points; between two of them it
    is at most one weight's step behind, which is the bound here."""
    names = ["layers.0.mlp.up_proj", "lm_head"]
    decisions = {decision.module: decision for decision in floats.decisions if decision.module in names}
    found = {
        name: Candidates(
            10.0, {str(spec): data.draw(st.floats(0, 10, allow_subnormal=False)) for spec in formats_of(decision)}
        )
        for name, decision in decisions.items()
    }
    points = [
        point_of(floats, found, dict(zip(names, specs, strict=True)), lambda _, nbytes: nbytes)
        for specs in product(*([*formats_of(decisions[name]), None] for name in names))
    ]
    least, most = min(point.amount for point in points), max(point.amount for point in points)
    limit = data.draw(st.integers(least, most))
    choice = choose(floats, found, bytes_budget(limit))
    assert choice.point.amount <= limit
    assert point_of(floats, found, choice.specs, lambda _, nbytes: nbytes) == choice.point
    below = min((p for p in choice.sweep if p.amount <= limit), key=lambda p: p.error, default=choice.sweep[0])
    assert choice.point.error <= below.error + 1e-9
    assert below.error == pytest.approx(min(p.error for p in points if p.amount <= below.amount), abs=1e-9)


def test_more_bytes_never_cost_more(floats: ConversionPlan, measured: dict[str, Candidates]) -> None:
    sweep = choose(floats, measured, bytes_budget(1e12)).sweep
    for one, other in pairwise(sweep):
        assert one.error >= other.error - 1e-12
        assert one.amount <= other.amount
    assert sweep[-1].error == pytest.approx(0, abs=1e-9)
    assert sweep[-1].nbytes == floats.nbytes


@pytest.mark.parametrize("name", ["q3", "q4", "nvfp4"])
def test_it_is_better_than_the_published_variant_of_its_size(
    name: str, floats: ConversionPlan, measured: dict[str, Candidates]
) -> None:
    variant = make_plan(floats.checkpoint, variant_rules(name))
    plan = fitted(floats, measured, bytes_budget(variant.nbytes))
    assert plan.nbytes <= variant.nbytes
    errors = [point_of(floats, measured, p.specs, lambda _, n: n).error for p in (plan, variant)]
    assert errors[0] < errors[1]


def test_bits_and_speed_are_what_inspect_says(
    floats: ConversionPlan, measured: dict[str, Candidates], tmp_path: Path
) -> None:
    convert(fitted(floats, measured, bits_budget(floats, 5.5)), tmp_path / "bits")
    text = make_layout(open_checkpoint(tmp_path / "bits")).text
    assert 5.2 < text.bits_per_weight <= 5.5
    budget = speed_budget(floats, 25.0, 0.03)
    convert(fitted(floats, measured, budget), tmp_path / "speed")
    assert 0.95 * budget.limit < make_layout(open_checkpoint(tmp_path / "speed")).token_bytes <= budget.limit


def test_what_cannot_be_met_names_the_least_and_the_most(
    floats: ConversionPlan, measured: dict[str, Candidates]
) -> None:
    with pytest.raises(SettingsError, match=r"a budget of 9 B cannot be met: of this model the least is .* kB .* most"):
        choose(floats, measured, bytes_budget(9))
    with pytest.raises(SettingsError, match=r"1\.5 bits a weight cannot be met: .* the least is 2\.\d+ bits"):
        choose(floats, measured, bits_budget(floats, 1.5))
    with pytest.raises(SettingsError, match=r"a budget of 1e\+09 tok/s at 400 GB/s .* tok/s .* tok/s"):
        choose(floats, measured, speed_budget(floats, 1e9, 400))


@pytest.mark.parametrize("sizes", [{}, SMALL_MIXTURE], ids=["dense", "mixture"])
def test_the_recipe_says_the_same_when_it_is_read_back(sizes: dict[str, Any], tmp_path: Path) -> None:
    source = write_raw(tmp_path / "raw", text={**sizes, "num_hidden_layers": 8})
    floats = make_plan(open_checkpoint(source), Rules())
    draw = random.Random(0)
    specs = {d.module: draw.choice([*formats_of(d), None]) for d in floats.decisions if formats_of(d)}
    (tmp_path / "r.toml").write_text(recipe_text('a "name"', specs))
    rules = read_rules(tmp_path / "r.toml")
    assert rules.name == 'a "name"'
    assert make_plan(floats.checkpoint, rules).specs == {module: spec for module, spec in specs.items() if spec}


def test_the_file_of_errors_is_kept_and_trusted_for_its_own_source_alone(
    floats: ConversionPlan, measured: dict[str, Candidates], importance: dict[str, np.ndarray], tmp_path: Path
) -> None:
    path, key = tmp_path / "errors.json", key_of(floats.checkpoint, importance, search=False)
    assert kept_candidates(path, key, floats) is None
    keep_candidates(path, key, measured)
    assert kept_candidates(path, key, floats) == measured
    for other in (
        key_of(floats.checkpoint, {}, search=False),
        key_of(floats.checkpoint, importance, search=True),
        key | {"source": "x"},
    ):
        assert kept_candidates(path, other, floats) is None
    path.write_text(path.read_text().replace('"size"', '"sise"', 1))
    with pytest.raises(CheckpointError, match="is damaged: remove it"):
        kept_candidates(path, key, floats)
    path.write_text(path.read_text().replace('"sise": ', '"size": 1' + 400 * "0" + ', "was": ', 1))
    with pytest.raises(CheckpointError, match="is damaged: remove it"):
        kept_candidates(path, key, floats)
    path.write_text('{"a": 1}')
    with pytest.raises(CheckpointError, match="name another"):
        kept_candidates(path, key, floats)


@pytest.mark.parametrize(
    ("text", "value"),
    [("21GB", (21e9, False)), ("900 mb", (9e8, False)), ("15tok/s", (15, True)), ("4.5 TOK/S", (4.5, True))],
)
def test_budgets_are_written_as_people_do(text: str, value: tuple[float, bool]) -> None:
    assert parse_fit(text) == value


@pytest.mark.parametrize("text", ["", "0GB", "-1GB", "21 apples", "GB", "1e9999", "nan", "9" * 99])
def test_what_is_no_budget_is_said_to_be_none(text: str) -> None:
    with pytest.raises(SettingsError, match="is no budget: write it as 21GB"):
        parse_fit(text)
