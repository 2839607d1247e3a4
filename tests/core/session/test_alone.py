"""What a token takes one rank alone: nobody is told of it, and it is told by the bytes that were moved."""

from collections.abc import Callable
from itertools import count
from typing import Any

import pytest

from qwen_core.model.collectives import Collectives
from qwen_core.model.led import LedModel, load_led
from qwen_core.session.alone import TOKENS, alone_token_s
from support.checkpoints import write_checkpoint

WEIGHTS = 1_000_000


@pytest.fixture(scope="module")
def told() -> list[dict[str, Any]]:
    return []


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory, told: list[dict[str, Any]]) -> LedModel:
    """Rank 0 of two, of which there is no other."""
    path = tmp_path_factory.mktemp("model")
    write_checkpoint(path / "model", "bf16")
    return load_led(path / "model", "float32", Collectives(rank=0, ranks=2), told.append)


def ticking() -> Callable[[], float]:
    """A second goes by between two looks."""
    seconds = count()
    return lambda: float(next(seconds))


def test_nobody_is_told_and_nobody_is_waited_for(model: LedModel, told: list[dict[str, Any]]) -> None:
    before = len(told)
    assert alone_token_s(model, WEIGHTS) is not None
    assert told[before:] == []
    assert not model.collectives.silent


def test_it_is_told_for_the_weights_alone(model: LedModel) -> None:
    """A token of the test moves its state too, which costs as much a byte."""
    taken = alone_token_s(model, WEIGHTS, clock=ticking())
    much = alone_token_s(model, 10**15, clock=ticking())
    assert taken is not None
    assert 0 < taken < 1
    assert much == pytest.approx(1)


@pytest.mark.parametrize("looks", [0, 3])
def test_a_stop_ends_it(model: LedModel, looks: int) -> None:
    asked = count()
    taken = alone_token_s(model, WEIGHTS, stop=lambda: next(asked) >= looks)
    assert next(asked) <= looks + 1 < TOKENS
    assert (taken is None) == (looks == 0)
