"""The inspector as committed text and styles: at four sizes, without colour, and in each theme.

`pytest --snapshot-update` writes them anew.
"""

import re
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from syrupy.assertion import SnapshotAssertion

from qwen_core.protocol.events import TurnStarted
from qwen_tui.settings.theme_watch import ThemeWatch
from qwen_tui.settings.themes import theme_folder
from support.app_stage import Stage, stage
from support.checkpoints import write_checkpoint
from support.fake_engine import delta, loads_only
from support.inspector_stage import inspect

SIZES = pytest.mark.parametrize(
    "size", [(40, 15), (60, 20), (100, 30), (160, 45)], ids=lambda size: f"{size[0]}x{size[1]}"
)
THEMES = [theme.name for theme in ThemeWatch([theme_folder()]).current.themes]
Size = tuple[int, int]
Scene = Callable[[Stage, Path], Awaitable[None]]


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("full")
    write_checkpoint(path, full=True)
    return path


async def layers(here: Stage, full: Path) -> None:
    await inspect(here, full)
    await here.press(*["right"] * 8)


async def layers_bytes(here: Stage, full: Path) -> None:
    await inspect(here, full)
    await here.press("c", "c", "down")


async def layers_decoding(here: Stage, full: Path) -> None:
    await here.ask("Explain NVFP4 vs MXFP4.")
    await here.feed(TurnStarted(1, 1242, 1204), delta(1, ("answer", "NVFP4 stores"), count=40))
    await inspect(here, full)


async def layers_filtered(here: Stage, full: Path) -> None:
    await inspect(here, full)
    await here.press("slash", *"affine")
    await here.press("space", *"-down", "enter")


async def layers_table(here: Stage, full: Path) -> None:
    await inspect(here, full)
    await here.press("t", "o", "o", "o", "o")


async def layers_tensor(here: Stage, full: Path) -> None:
    """The demo model: values of a whole small tensor."""
    await inspect(here)
    await here.press("enter")


async def layers_values(here: Stage, full: Path) -> None:
    await inspect(here)
    await here.press("down", "down", "right")


SCENES: list[Scene] = [
    layers,
    layers_bytes,
    layers_decoding,
    layers_filtered,
    layers_table,
    layers_tensor,
    layers_values,
]


def name(scene: Scene) -> str:
    return getattr(scene, "__name__", "scene")


async def drawn(scene: Scene, size: Size, full: Path, theme: str = "midnight") -> str:
    async with stage(loads_only, size) as here:
        here.app.theme = theme
        await scene(here, full)
        await here.settle()
        return here.snapshot()


@pytest.mark.parametrize("scene", SCENES, ids=name)
@SIZES
async def test_screen(scene: Scene, size: Size, full: Path, snapshot: SnapshotAssertion) -> None:
    assert await drawn(scene, size, full) == snapshot


@pytest.mark.parametrize("scene", [layers, layers_decoding], ids=name)
@pytest.mark.parametrize("theme", [theme for theme in THEMES if theme != "midnight"])
async def test_screen_in_each_theme(scene: Scene, theme: str, full: Path, snapshot: SnapshotAssertion) -> None:
    assert await drawn(scene, (100, 30), full, theme) == snapshot


@pytest.mark.parametrize("scene", [layers, layers_decoding], ids=name)
async def test_screen_without_colour(
    scene: Scene, full: Path, monkeypatch: pytest.MonkeyPatch, snapshot: SnapshotAssertion
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    text = await drawn(scene, (100, 30), full)
    assert text == snapshot
    greys = re.findall(r"#(..)(..)(..)", text.split("-" * 20)[-1])
    assert greys
    assert all(red == green == blue for red, green, blue in greys)
