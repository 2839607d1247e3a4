"""Folds found again in finished models: those that made them, at every width, and none where there was none."""

from pathlib import Path

import numpy as np
import pytest

from qwen_core.checkpoint.directory import Checkpoint, open_checkpoint
from qwen_core.checkpoint.layout import role_of
from qwen_core.convert.awq import Fold, folds, folds_of, groups
from qwen_core.convert.convert import convert
from qwen_core.convert.found_folds import find_folds
from qwen_core.convert.plan import make_plan
from qwen_core.convert.quality import Text, compare, compare_roles
from qwen_core.convert.rules import Rules
from qwen_core.convert.rules_file import read_rules
from support.conversion import variant_rules, write_raw
from support.importance import random_importance

TEXT = Text(tuple(np.random.RandomState(5).randint(0, 500, 100).tolist()), 500)


@pytest.fixture(scope="module", params=["raw", "converted"])
def original(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    path = tmp_path_factory.mktemp("unfold")
    source = open_checkpoint(write_raw(path / "raw", seed=3))
    if request.param == "raw":
        return source
    convert(make_plan(source, Rules()), path / "bf16")
    return open_checkpoint(path / "bf16")


def factors_of(original: Checkpoint, specs: set[str] | None) -> dict[str, Fold]:
    return folds(original.config, random_importance(original.config, 8), specs)


@pytest.mark.parametrize("variant", ["q2", "nvfp4", "q8"])
def test_a_fold_is_found_again(variant: str, original: Checkpoint, tmp_path: Path) -> None:
    plan = make_plan(original, variant_rules(variant))
    made = factors_of(original, set(plan.specs))
    convert(plan, tmp_path / "folded", folds=made)
    found = find_folds(original, open_checkpoint(tmp_path / "folded"))
    assert set(found) == {module for module in made if not module.endswith("norm")}
    for module, fold in found.items():
        # Norms are rounded to bfloat16 alone; rows have the noise of 128 quantised weights.
        noise = {"q2": 0.3, "nvfp4": 0.06, "q8": 0.006}[variant] if module.endswith("down_proj") else 0.005
        expected = made[module].columns
        assert fold.columns is not None
        assert expected is not None
        np.testing.assert_allclose(fold.columns, expected, rtol=noise, err_msg=module)
        assert np.median(fold.columns / expected) == pytest.approx(1, abs=noise / 6), module
        assert (fold.rows is None) == (made[module].rows is None)
        if fold.rows is not None:
            down = found[module.replace("up_proj", "down_proj")].columns
            assert down is not None
            np.testing.assert_array_equal(fold.rows, 1 / down)


@pytest.mark.parametrize("variant", ["q2", "nvfp4", "q8"])
def test_where_nothing_was_folded_nothing_is_found(variant: str, original: Checkpoint, tmp_path: Path) -> None:
    convert(make_plan(original, variant_rules(variant)), tmp_path / "plain")
    assert find_folds(original, open_checkpoint(tmp_path / "plain")) == {}


@pytest.mark.parametrize("variant", ["q2", "nvfp4"])
def test_one_factor_for_all_channels_is_found_though_none_stands_out(
    variant: str, original: Checkpoint, tmp_path: Path
) -> None:
    channels = {g: g.wanted[0] for g in groups(original.config)}
    importance = random_importance(original.config, 8)
    made = folds_of({group: np.full_like(importance[module], 4) for group, module in channels.items()})
    convert(make_plan(original, variant_rules(variant)), tmp_path / "gained", folds=made)
    found = find_folds(original, open_checkpoint(tmp_path / "gained"))
    assert set(found) == {module for module in made if not module.endswith("norm")}
    for module, fold in found.items():
        assert fold.columns is not None
        assert np.median(fold.columns) == pytest.approx(4, rel=0.05 if module.endswith("down_proj") else 0.005)


def test_only_folded_groups_are_found(original: Checkpoint, tmp_path: Path) -> None:
    """A rule for down_proj alone: its group is folded, into an up_proj that stays a float."""
    (tmp_path / "rules.toml").write_text('[[rule]]\nmatch = "layers.2.mlp.down_proj"\nmode = "nvfp4"\n')
    plan = make_plan(original, read_rules(tmp_path / "rules.toml"))
    convert(plan, tmp_path / "out", folds=factors_of(original, set(plan.specs)))
    found = find_folds(original, open_checkpoint(tmp_path / "out"))
    assert set(found) == {"layers.2.mlp.down_proj", "layers.2.mlp.up_proj"}


@pytest.mark.parametrize("variant", ["nvfp4"])
def test_each_role_of_a_folded_model_does_there_what_it_does_in_it(
    variant: str, original: Checkpoint, tmp_path: Path
) -> None:
    """Against conversions of one role alone, with all factors folded in, everything else in float32."""
    plan = make_plan(original, variant_rules(variant))
    made = factors_of(original, set(plan.specs))
    convert(plan, tmp_path / "all", folds=made)
    _, roles = compare_roles(original.path, tmp_path / "all", TEXT, dtype="float32")
    assert {entry.role for entry in roles} == {role_of(module) for module in plan.specs}
    for entry in roles[::4]:
        spec = next(spec for module, spec in plan.specs.items() if role_of(module) == entry.role)
        toml = f'match = "{entry.role}"\nmode = "{spec.mode}"\nbits = {spec.bits}\ngroup_size = {spec.group_size}\n'
        (tmp_path / "rules.toml").write_text(f"[[rule]]\n{toml}")
        alone = tmp_path / entry.role
        convert(make_plan(original, read_rules(tmp_path / "rules.toml"), float_dtype="F32"), alone, folds=made)
        expected = compare(original.path, alone, TEXT, dtype="float32").kl_mean
        assert entry.quality.kl_mean == pytest.approx(expected, rel=0.03), entry.role
