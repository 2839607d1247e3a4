"""`inspect --errors`: what a conversion measured, and the same measured against the original."""

import json
from pathlib import Path

import numpy as np
import pytest

from qwen_core.checkpoint.directory import open_checkpoint
from qwen_core.convert.awq import folds
from qwen_core.convert.convert import convert
from qwen_core.convert.measure import Measure
from qwen_core.convert.plan import make_plan
from qwen_core.convert.reference_errors import errors_against
from qwen_core.tensors.error import compare_with_reference
from qwen_core.tensors.rounding_error import ERRORS_FILE, errors_of, measured_layout
from qwen_tui import cli
from support.conversion import converted, variant_rules, write_raw
from support.importance import random_importance
from support.published_plan import SMALL_MIXTURE


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_raw(tmp_path_factory.mktemp("errors") / "raw", seed=6)


def rows(capsys: pytest.CaptureFixture[str]) -> list[list[str]]:
    """The words of the first table's lines."""
    lines = capsys.readouterr().out.splitlines()
    return [line.split() for line in lines[1 : lines.index("")]]


def test_what_a_conversion_measured_is_listed_the_worst_first(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = converted(source, tmp_path / "q3", "q3", measure=Measure())
    assert cli.main(["inspect", str(tmp_path / "q3"), "--errors"]) == 0
    found = rows(capsys)
    assert len(found) == len(plan.specs)
    figures = [float(row[4]) for row in found]
    assert figures == sorted(figures, reverse=True)
    assert {row[1] for row in found[:8]} == {"gate_proj", "up_proj"}  # the 3-bit ones
    assert cli.main(["inspect", str(tmp_path / "q3"), "--errors", "--role", "lm_head", "--json"]) == 0
    (entry,) = json.loads(capsys.readouterr().out)["errors"]
    checkpoint = open_checkpoint(tmp_path / "q3")
    expected = compare_with_reference(checkpoint, open_checkpoint(source), "lm_head").relative_error
    assert entry["relative_error"] == pytest.approx(expected, rel=1e-3)
    assert entry["weighted"] is False


@pytest.mark.parametrize("sizes", [{}, SMALL_MIXTURE], ids=["dense", "mixture"])
def test_a_reference_says_what_the_conversion_would_have(sizes: dict[str, int], tmp_path: Path) -> None:
    """Also of folded weights: what was folded in is no error."""
    source = write_raw(tmp_path / "raw", seed=7, text=sizes)
    checkpoint = open_checkpoint(source)
    plan = make_plan(checkpoint, variant_rules("q4"))
    factors = {}
    if not sizes:
        importance = {m: v**0.25 for m, v in random_importance(checkpoint.config, 3).items()}
        factors = folds(checkpoint.config, importance)
    measure = Measure()
    convert(plan, tmp_path / "out", folds=factors, measure=measure)
    found = errors_against(checkpoint, open_checkpoint(tmp_path / "out"))
    assert set(found) == set(measure.errors)
    ratios = np.array([found[module].relative / error.relative for module, error in measure.errors.items()])
    # Factors between two matrices are found within some percent, and norms were rounded to bfloat16.
    assert ratios == pytest.approx(np.ones(len(ratios)), rel=0.25 if factors else 0.02)


def test_a_reference_is_named_once(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    converted(source, tmp_path / "q4", "q4")
    model = str(tmp_path / "q4")
    assert cli.main(["inspect", model, "--errors"]) == 1
    assert "does not say what its quantisation cost: name its unquantised original" in capsys.readouterr().err
    assert cli.main(["inspect", model, "--errors", "--reference", str(source)]) == 0
    first = rows(capsys)
    assert cli.main(["inspect", model, "--errors"]) == 0
    assert rows(capsys) == first
    layout = measured_layout(open_checkpoint(model))
    assert sum(module.error is not None for module in layout.modules) == len(first)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["q4"]


def test_what_is_no_original_or_has_none_is_one_line(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also of the same sizes: nothing of another model is kept as the errors of this."""
    converted(source, tmp_path / "q2", "q2")
    other = write_raw(tmp_path / "other", seed=99)
    assert cli.main(["inspect", str(tmp_path / "q2"), "--errors", "--reference", str(other)]) == 1
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert "q2 was not made from" in err
    assert not errors_of(open_checkpoint(tmp_path / "q2"))
    for options in ([], ["--reference", str(source)]):
        assert cli.main(["inspect", str(source), "--errors", *options]) == 1
        assert "raw is not quantised: it has no errors" in capsys.readouterr().err


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        "{}",
        '{"weights": {"lm_head": {"error": -1, "size": 2}}}',
        '{"weights": {"lm_head": {"error": 1e308, "size": 1e-308}}}',
        '{"weights": {"lm_head": {"error": 1' + 400 * "0" + ', "size": 2}}}',
    ],
)
def test_a_damaged_file_of_errors_is_one_line_and_does_not_hide_the_map(
    text: str, source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    converted(source, tmp_path / "q4", "q4", measure=Measure())
    assert errors_of(open_checkpoint(tmp_path / "q4"))
    (tmp_path / "q4" / ERRORS_FILE).write_text(text)
    assert cli.main(["inspect", str(tmp_path / "q4"), "--errors"]) == 1
    err = capsys.readouterr().err
    assert (err.count("\n"), ERRORS_FILE in err) == (1, True)
    layout = measured_layout(open_checkpoint(tmp_path / "q4"))
    assert ERRORS_FILE in layout.warnings[-1]
    assert all(module.error is None for module in layout.modules)


@pytest.mark.parametrize(
    "options",
    [
        ["--errors", "--layers"],
        ["--errors", "--tensor", "lm_head"],
        ["--errors", "--compare", "x"],
        ["--reference", "x"],
    ],
)
def test_options_that_do_not_go_together_are_wrong_use(
    options: list[str], source: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["inspect", str(source), *options]) == 2
    assert capsys.readouterr().err.startswith("Usage: ")


def test_a_reference_must_be_the_unquantised_original(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    converted(source, tmp_path / "q4", "q4")
    for reference, reason in ((tmp_path / "q4", "is quantised itself"), (other(tmp_path), "is another model")):
        assert cli.main(["inspect", str(tmp_path / "q4"), "--errors", "--reference", str(reference)]) == 1
        assert reason in capsys.readouterr().err
    assert cli.main(["inspect", str(source), "--errors", "--reference", str(source)]) == 1
    assert "it has no errors" in capsys.readouterr().err


def other(tmp_path: Path) -> Path:
    return write_raw(tmp_path / "other", text={"num_hidden_layers": 8})
