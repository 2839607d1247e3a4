"""The list of conversations as committed text and styles, at four sizes and without colour.

`pytest --snapshot-update` writes them anew.
"""

import re
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest
from syrupy.assertion import SnapshotAssertion

from support.conversations_stage import ConversationsStage, conversations, furnish, shelf

SIZES = pytest.mark.parametrize(
    "size", [(40, 15), (60, 20), (100, 30), (160, 45)], ids=lambda size: f"{size[0]}x{size[1]}"
)
Scene = Callable[[ConversationsStage], Awaitable[None]]


@pytest.fixture(autouse=True)
def zone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


async def conversations_list(here: ConversationsStage) -> None:
    await here.press("down")


async def conversations_search(here: ConversationsStage) -> None:
    await here.press(*"scale")
    await here.press("down", "down")


async def conversations_rename(here: ConversationsStage) -> None:
    await here.press("down", "ctrl+r")


async def conversations_nothing(here: ConversationsStage) -> None:
    await here.press(*"zebra")


async def conversations_empty(here: ConversationsStage) -> None:
    await here.settle()


FULL: list[Scene] = [conversations_list, conversations_search, conversations_rename, conversations_nothing]


def name(scene: Scene) -> str:
    return getattr(scene, "__name__", "scene")


async def drawn(scene: Scene, size: tuple[int, int], folder: Path) -> str:
    here = shelf(folder)
    made = furnish(here) if scene is not conversations_empty else {"formats": 0}
    try:
        async with conversations(here, size, current=made["formats"]) as screen:
            await scene(screen)
            return screen.snapshot()
    finally:
        here.thread.close()


@pytest.mark.parametrize("scene", [*FULL, conversations_empty], ids=name)
@SIZES
async def test_screen(scene: Scene, size: tuple[int, int], tmp_path: Path, snapshot: SnapshotAssertion) -> None:
    assert await drawn(scene, size, tmp_path) == snapshot


async def test_screen_without_colour(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, snapshot: SnapshotAssertion
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    text = await drawn(conversations_search, (100, 30), tmp_path)
    assert text == snapshot
    greys = re.findall(r"#(..)(..)(..)", text.split("-" * 20)[-1])
    assert greys
    assert all(red == green == blue for red, green, blue in greys)
    assert "underline" in text
