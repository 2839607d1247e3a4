"""/compare in the app: what is told of two models' words, its keys, how it looks, and what can go wrong."""

import math
import struct
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from syrupy.assertion import SnapshotAssertion

from qwen_core.protocol.comparison import (
    CompareAnswer,
    Compared,
    CompareEvent,
    CompareFailed,
    CompareNeedsRoom,
    CompareProgress,
    Comparison,
)
from qwen_core.protocol.events import Command, Restore, Send
from qwen_core.protocol.probabilities import Probabilities
from qwen_core.protocol.scoring import Spelling
from qwen_tui.conversation.turns import Note
from qwen_tui.lens.compare_screen import CompareScreen
from qwen_tui.lens.compared import DIFFERENT, Pair, matching
from qwen_tui.lens.uncertain import next_place
from support.app_stage import Stage, stage
from support.fake_engine import MODEL, stats
from support.lens_stage import CONTROL, IDS, PROMPT, TOP, WRITTEN, LensEngine, row
from support.themes import THEMES, drawn

SIZES = pytest.mark.parametrize(
    "size", [(40, 15), (60, 20), (100, 30), (160, 45)], ids=lambda size: f"{size[0]}x{size[1]}"
)
PARTED = {3: 15, 11: 15, 26: 10}
"""Where B would say another token, and which."""
B_IDS = (2, 3, 4, 15, 1, 8, 2, 3, 4, 15, 18, 16, 17, 0)


def words(ids: Sequence[int]) -> Probabilities:
    """Each of these tokens is the likeliest of its step."""
    return Probabilities(TOP, b"".join(row(2 * n, token) for n, token in enumerate(ids)))


def found(ids: Sequence[int] = IDS, parted: dict[int, int] = PARTED, b_ids: Sequence[int] = B_IDS) -> Compared:
    divergences = tuple(2.5 if n in parted else 0.001 * n for n in range(len(ids)))
    likeliest = [parted.get(n, token) for n, token in enumerate(ids)]
    comparison = Comparison(tuple(ids), divergences, words(ids), words(likeliest))
    spelled = tuple(Spelling(token, written, token in CONTROL) for token, written in WRITTEN.items())
    other = replace(MODEL, name="another model", variant="uniform affine 2")
    return Compared(comparison, tuple(b_ids), spelled, MODEL, other)


class Scripted:
    """A comparison that tells what a test has it tell."""

    def __init__(self) -> None:
        self.tasks: list[CompareAnswer] = []
        self.stopped = 0
        self.tell: Callable[[CompareEvent], None] = lambda event: None

    def start(self, task: CompareAnswer, tell: Callable[[CompareEvent], None]) -> "Scripted":
        self.tasks.append(task)
        self.tell = tell
        return self

    def stop(self) -> None:
        self.stopped += 1


async def begun(here: Stage) -> Scripted:
    """An answer is there, and /compare runs."""
    scripted = Scripted()
    here.app.commands.comparison.start = scripted.start
    await here.ask("What is the capital?")
    await here.wait(lambda: here.app.conversation.phase == "ready", "the answer")
    await here.settle()
    await here.enter("/compare ./other model")
    await here.wait(lambda: bool(scripted.tasks), "the comparison")
    return scripted


async def shown(here: Stage) -> CompareScreen:
    scripted = await begun(here)
    scripted.tell(found())
    await here.wait(lambda: isinstance(here.app.screen, CompareScreen), "the comparison")
    await here.settle()
    screen = here.app.screen
    assert isinstance(screen, CompareScreen)
    return screen


@given(st.lists(st.integers(0, 3), max_size=30), st.lists(st.integers(0, 3), max_size=30))
def test_what_is_matched_is_the_same_and_in_order(a: list[int], b: list[int]) -> None:
    pairs = matching(a, b)
    assert all(a[one] == b[other] for one, other in pairs)
    assert all(one[0] < other[0] and one[1] < other[1] for one, other in pairwise(pairs))
    if a == b:
        assert len(pairs) == len(a)


def test_long_texts_are_matched_as_far_as_they_begin_alike() -> None:
    a, b = [1, 2, *range(10, 3000)], [1, 2, 3, *range(10, 3000)]
    assert matching(a, b) == [(0, 0), (1, 1)]


def test_marked_is_what_differs() -> None:
    pair = Pair(found())
    a, b = pair.levels()
    assert [n for n, level in enumerate(a) if level == DIFFERENT] == sorted(PARTED)
    assert [n for n, level in enumerate(b) if level == DIFFERENT] == [3, 8, 9, 13], "others, and where A has more"
    assert [pair.places[n] for n in (0, 3, 4, 8, 10, 11, 12, 28)] == [0, 3, 4, 8, 8, 9, 10, 13]
    words = Pair(found(), own=False)
    assert words.levels() == (a, a)
    assert [words.b_ids[n] for n in PARTED] == list(PARTED.values())
    assert words.places == {n: n for n in range(len(IDS))}
    assert "B would say ␣Paris" in " · ".join(pair.facts(3))


def test_a_token_that_was_drawn_against_the_odds_is_shown_beside_the_likeliest() -> None:
    """Else one that B thinks likeliest is marked as different, and looks the same."""
    three, four = words([15]), words([4])
    drawn_four = Probabilities(TOP, struct.pack("<3fI", math.log(0.2), math.nan, 0.6, 2) + three.data[16:])
    comparison = Comparison((4,), (2.5,), drawn_four, four)
    pair = Pair(replace(found(), comparison=comparison))
    assert pair.parted == [0]
    assert f"A {pair.shown(4)} 20.0 %, likeliest {pair.shown(15)} " in " · ".join(pair.facts(0))
    assert "likeliest" not in " · ".join(Pair(found()).facts(0))


def test_an_answer_of_nothing_has_no_place() -> None:
    pair = Pair(found(b_ids=()))
    assert pair.levels()[1] == []
    assert set(pair.places.values()) == {-1}


def test_the_next_place_goes_around() -> None:
    assert [next_place([3, 11], place, 1) for place in (0, 3, 11)] == [3, 11, 3]
    assert [next_place([3, 11], place, -1) for place in (0, 3, 11)] == [11, 11, 3]
    assert next_place([], 5, 1) is None


@SIZES
async def test_what_b_would_say(snapshot: SnapshotAssertion, size: tuple[int, int]) -> None:
    async with stage(LensEngine(), size) as here:
        await shown(here)
        await here.press("b", "n")
        assert here.text() == snapshot


@SIZES
async def test_in_every_theme(snapshot: SnapshotAssertion, size: tuple[int, int]) -> None:
    async with stage(LensEngine(), size) as here:
        await shown(here)
        texts: dict[str, str] = {}
        for theme in THEMES:
            here.app.theme = theme
            await here.settle()
            texts[theme] = here.snapshot()
        assert "".join(drawn(texts)) == snapshot


@SIZES
async def test_without_colour(
    snapshot: SnapshotAssertion, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    async with stage(LensEngine(), size) as here:
        await shown(here)
        assert here.snapshot() == snapshot


async def test_each_key() -> None:
    async with stage(LensEngine(), (60, 20)) as here:
        screen = await shown(here)
        last = len(IDS) - 1
        assert screen.place == 3
        places = {
            "n": 11,
            "N": 3,
            "right": 4,
            "l": 5,
            "left": 4,
            "h": 3,
            "pagedown": 23,
            "pageup": 3,
            "ctrl+right": 23,
            "ctrl+left": 3,
            "end": last,
            "home": 0,
        }
        for key, place in places.items():
            await here.press(key)
            assert screen.place == place, key
        await here.press("down", "up", "j", "k")
        assert screen.place == 0
        assert "B answers" in here.text()
        await here.press("b")
        assert "B would say ·" in here.text()
        for key in ("escape", "q"):
            await here.press(key)
            assert here.app.screen is here.app.chat
            await here.enter("/compare")
            assert isinstance(here.app.screen, CompareScreen)


async def test_both_scroll_together() -> None:
    async with stage(LensEngine(), (40, 15)) as here:
        screen = await shown(here)
        a, b = (screen.query_one(f"#{side}") for side in "ab")
        before = a.region.y, b.region.y
        await here.press("end")
        await here.settle()
        assert a.region.y < before[0]
        assert a.region.y == b.region.y


async def test_the_last_answer_is_what_both_read() -> None:
    async with stage(LensEngine()) as here:
        scripted = await begun(here)
        (task,) = scripted.tasks
        assert (task.a, task.b, task.prompt_ids, task.ids) == (MODEL.path, "./other model", PROMPT, IDS)
        assert task.settings.temperature == 0
        scripted.tell(CompareProgress("B reads A's answer", 3, 4))
        await here.settle()
        assert "B reads A's answer, 75 %. Esc stops." in here.text()
        await here.enter("/compare ./third")
        assert len(scripted.tasks) == 1, "one at a time"
        await here.press("escape")
        assert scripted.stopped == 1
        scripted.tell(found())
        await here.settle()
        assert here.app.screen is here.app.chat, "what was stopped shows nothing"


async def test_an_error_is_a_line_and_what_was_not_compared_is_said() -> None:
    async with stage(LensEngine()) as here:
        await here.enter("/compare")
        await here.wait(lambda: "/compare MODEL_DIR compares" in here.text(), "the word")
        await here.enter("/compare x")
        await here.wait(lambda: "no answer to compare yet" in here.text(), "the word")
        scripted = await begun(here)
        scripted.tell(CompareFailed("[b]x[/b] has other\x1b[31m tokens"))
        await here.settle()
        assert "It was not compared: [b]x[/b] has other" in here.text()
        assert not here.app.commands.comparison.running


def notes(here: Stage) -> str:
    return " ".join(item.text for item in here.app.conversation.items if isinstance(item, Note))


SHORT = CompareNeedsRoom(22_000_000_000, 5_000_000_000)


@pytest.mark.parametrize("end", ["found", "failed", "stopped", "restarted"])
async def test_where_both_do_not_fit_the_open_model_is_unloaded_meanwhile_and_comes_back(end: str) -> None:
    async with stage(LensEngine()) as here:
        scripted = await begun(here)
        assert scripted.tasks[0].beside == stats().active_memory_bytes
        scripted.tell(SHORT)
        await here.wait(lambda: len(scripted.tasks) == 2, "the comparison without the open model")
        assert scripted.tasks[1] == replace(scripted.tasks[0], beside=0)
        assert (here.engine.closed, here.engine.restarted) == (1, 0)
        assert "no room for other model beside the open model (22.00 GB needed, 5.00 GB free)" in notes(here)
        await here.enter("kept meanwhile")
        assert here.app.chat.editor.text == "kept meanwhile"
        scripted.tell(CompareProgress("B reads A's answer", 3, 4))
        await here.settle()
        assert "B reads A's answer, 75 %. Esc stops." in here.text()
        await here.write("")
        match end:
            case "found":
                scripted.tell(found())
                await here.wait(lambda: isinstance(here.app.screen, CompareScreen), "the comparison")
            case "failed":
                scripted.tell(CompareFailed("it is gone"))
                await here.wait(lambda: "It was not compared: it is gone" in notes(here), "the error")
            case "stopped":
                await here.press("escape")
            case _:
                await here.enter("/restart")
        await here.wait(lambda: here.app.conversation.engine == "ready", "the model")
        assert (here.engine.closed, here.engine.restarted, scripted.stopped) == (1, 1, end in ("stopped", "restarted"))
        restored = here.engine.commands[-1]
        assert isinstance(restored, Restore)
        assert restored.ids == (*PROMPT, *IDS)


async def test_a_model_that_answers_is_not_unloaded() -> None:
    async with stage(lambda command: LensEngine()(command)[: 2 if here_waits(command) else None]) as here:
        scripted = await begun(here)
        await here.ask("wait")
        scripted.tell(SHORT)
        await here.wait(lambda: "which is busy: ask again when it is ready" in notes(here), "the refusal")
        assert not here.app.commands.comparison.running
        assert here.engine.closed == 0


def here_waits(command: Command) -> bool:
    return isinstance(command, Send) and command.text == "wait"


async def test_over_another_screen_it_waits() -> None:
    async with stage(LensEngine()) as here:
        scripted = await begun(here)
        await here.press("f1")
        scripted.tell(found())
        await here.settle()
        assert not isinstance(here.app.screen, CompareScreen)
        await here.press("escape")
        await here.enter("/compare")
        assert isinstance(here.app.screen, CompareScreen)
