"""An answer compared in a process of its own: as in this one, with one line for what goes wrong, and ended by stop."""

import os
import signal
from dataclasses import replace
from pathlib import Path
from queue import SimpleQueue

import pytest

from qwen_core.demo import demo_model_path
from qwen_core.engine.comparing import ENDED, Comparing, compared, short_of_room
from qwen_core.protocol.comparison import (
    CompareAnswer,
    Compared,
    CompareEvent,
    CompareFailed,
    CompareNeedsRoom,
    CompareProgress,
)
from qwen_core.protocol.events import GenerationSettings, LoadSettings
from qwen_core.session.completion import load_completion
from qwen_core.session.foresight import foresee
from support.demo_variant import write_demo_variant

DEMO = str(demo_model_path())
SETTINGS = GenerationSettings(temperature=0, max_new_tokens=8, draft="off")


def task(b: str, a: str = DEMO) -> CompareAnswer:
    return CompareAnswer(a, b, (1, 2, 3, 4), (5, 6, 7, 8, 9), SETTINGS, LoadSettings(draft="off"))


def ended(given: CompareAnswer) -> tuple[list[CompareProgress], CompareEvent]:
    told: SimpleQueue[CompareEvent] = SimpleQueue()
    Comparing(given, told.put)
    progress: list[CompareProgress] = []
    while isinstance(event := told.get(timeout=120), CompareProgress):
        progress.append(event)
    return progress, event


def test_the_process_finds_what_this_one_finds(tmp_path: Path) -> None:
    given = task(str(write_demo_variant(tmp_path / "two bits", 2)))
    progress, event = ended(given)
    assert isinstance(event, Compared)
    here = compared(given, lambda event: None)
    assert event.comparison == here.comparison
    assert event.b_ids == here.b_ids
    assert event.spelled == here.spelled
    assert event.comparison.ids == given.ids
    assert event.comparison.mean > 0
    assert {spelling.id for spelling in event.spelled} >= {*given.ids, *event.b_ids}
    words = list(dict.fromkeys(each.words for each in progress))
    assert words == ["A is loaded", "A reads its answer", "B is loaded", "B reads A's answer", "B answers"]


def test_equal_models_say_the_same() -> None:
    found = compared(task(DEMO), lambda event: None)
    assert found.comparison.mean == 0
    assert found.comparison.parted == []


def test_models_that_have_no_room_beside_the_open_one_are_not_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = task(str(write_demo_variant(tmp_path / "two bits", 2)))
    with load_completion(DEMO, settings=given.load) as model:
        needed = foresee(model.loaded, len(given.prompt_ids) + 8, len(given.prompt_ids) + 8).total
    for free, beside, wanted in (
        (needed, 1, None),
        (needed - 1, 1, CompareNeedsRoom(needed, needed - 1)),  # the larger of the two
        (0, 0, None),
    ):
        monkeypatch.setattr("qwen_core.device.machine.memory_limit", lambda free=free: free)
        assert short_of_room(replace(given, beside=beside)) == wanted
    _, event = ended(replace(given, beside=1, settings=replace(SETTINGS, max_new_tokens=10**12)))
    assert isinstance(event, CompareNeedsRoom)
    assert event.needed > event.free > 0


@pytest.mark.parametrize("where", ["a", "b"])
def test_what_cannot_be_loaded_is_one_line(where: str, tmp_path: Path) -> None:
    gone = str(tmp_path / "gone")
    _, event = ended(task(DEMO, gone) if where == "a" else task(gone))
    assert isinstance(event, CompareFailed)
    assert "gone" in event.message
    assert "\n" not in event.message


@pytest.mark.parametrize("stops", [False, True])
def test_a_process_that_ends_is_said_and_one_that_is_stopped_says_nothing(stops: bool) -> None:
    told: SimpleQueue[CompareEvent] = SimpleQueue()
    running = Comparing(task(DEMO), told.put)
    assert isinstance(told.get(timeout=60), CompareProgress)
    if stops:
        running.stop()
    else:
        os.kill(running.pid, signal.SIGKILL)
    running.wait()
    left = [told.get() for _ in range(told.qsize())]
    assert [event for event in left if not isinstance(event, CompareProgress)] == (
        [] if stops else [CompareFailed(ENDED)]
    )
