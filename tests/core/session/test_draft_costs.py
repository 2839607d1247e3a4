"""What passes cost: measured within a budget, kept for the same model and MLX, and nothing else is believed."""

import json
from itertools import count
from pathlib import Path

import pytest

from qwen_core import demo_model_path
from qwen_core.model.collectives import Collectives
from qwen_core.model.led import load_led
from qwen_core.model.model import Model, load_model
from qwen_core.session.draft_costs import DraftCosts, between, draft_costs, measure
from qwen_core.session.draft_count import MOST_DRAFTS
from support.checkpoints import write_checkpoint


@pytest.fixture(scope="module")
def model() -> Model:
    return load_model(demo_model_path(), "float32")


@pytest.mark.parametrize(("tick", "rows"), [(0.001, MOST_DRAFTS + 1), (0.3, 4), (3.0, 4)])
def test_enough_is_measured_however_slow_and_more_where_there_is_time(model: Model, tick: float, rows: int) -> None:
    """By a clock that moves on by `tick` at every look, which is what a pass takes."""
    clock = count()
    costs = measure(model, None, budget_s=0.9, clock=lambda: next(clock) * tick)
    assert costs.passes == pytest.approx([tick] * rows)
    assert costs.draft == 0.0


def test_what_was_not_timed_lies_between(model: Model) -> None:
    assert between({1: 1.0, 2: 2.0, 4: 3.0, 6: 7.0}) == pytest.approx([1.0, 2.0, 2.5, 3.0, 5.0, 7.0])
    assert between({}) == []
    assert measure(model, None, stop=lambda: True).passes == ()


def test_costs_are_kept_for_the_same_model(model: Model, tmp_path: Path) -> None:
    measured = draft_costs(model, None, str(tmp_path), "a")
    assert draft_costs(model, None, str(tmp_path), "a") == measured
    file = tmp_path / "draft-costs.json"
    kept = json.loads(file.read_text())
    (key,) = kept
    file.write_text(json.dumps({key: {"passes": [1, 2], "draft": 3}}))
    assert draft_costs(model, None, str(tmp_path), "a") == DraftCosts((1.0, 2.0), 3.0)
    assert draft_costs(model, None, str(tmp_path), "b") != DraftCosts((1.0, 2.0), 3.0)
    assert len(json.loads(file.read_text())) == 2


def test_costs_with_other_ranks_are_others(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "model", "bf16")
    for ranks in (1, 2):
        collectives = Collectives(rank=0, ranks=ranks)
        with collectives.silenced():
            part = load_led(tmp_path / "model", "float32", collectives, lambda command: None)
            draft_costs(part, None, str(tmp_path), "a")
    draft_costs(load_model(tmp_path / "model", "float32"), None, str(tmp_path), "a")
    assert len(json.loads((tmp_path / "draft-costs.json").read_text())) == 3


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{",
        '{"a": 1}',
        '{"KEY": {"passes": [], "draft": 1}}',
        '{"KEY": 1}',
        '{"KEY": {"passes": [0, 0], "draft": 0}}',
    ],
)
def test_a_damaged_file_is_measured_over(model: Model, tmp_path: Path, text: str) -> None:
    draft_costs(model, None, str(tmp_path), "a")
    file = tmp_path / "draft-costs.json"
    (key,) = json.loads(file.read_text())
    file.write_text(text.replace("KEY", key))
    assert draft_costs(model, None, str(tmp_path), "a").passes


def test_nothing_is_kept_where_there_is_no_folder(model: Model) -> None:
    assert draft_costs(model, None, "", "a").passes
