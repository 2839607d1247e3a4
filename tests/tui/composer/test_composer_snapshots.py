"""The composer and its list as committed text and styles, at four sizes. `pytest --snapshot-update` writes them."""

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from syrupy.assertion import SnapshotAssertion

from support.composer_stage import ComposerStage, composer_stage

SIZES = [(40, 15), (60, 20), (100, 30), (160, 45)]
Scene = Callable[[ComposerStage], Awaitable[None]]


async def composer_commands(here: ComposerStage) -> None:
    await here.type("/")
    await here.press("down", "down")


async def composer_choices(here: ComposerStage) -> None:
    await here.type("/think ")


async def composer_files(here: ComposerStage) -> None:
    here.editor.insert_pasted("line\n" * 411)
    await here.type("\nand @")
    await here.wait(lambda: not here.composer.is_listing, "the folder")
    await here.press("down")


async def composer_many_lines(here: ComposerStage) -> None:
    here.editor.set_text("日本語のとても長い文字列" * 20 + "\n" * 4)
    await here.type("see @")
    await here.wait(lambda: not here.composer.is_listing, "the folder")
    await here.pilot.pause()


SCENES: list[Scene] = [composer_commands, composer_choices, composer_files, composer_many_lines]


def name(scene: Scene) -> str:
    return getattr(scene, "__name__", "scene")


@pytest.mark.parametrize("scene", SCENES, ids=name)
@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
async def test_composer(scene: Scene, size: tuple[int, int], tmp_path: Path, snapshot: SnapshotAssertion) -> None:
    for file, count in (
        ("notes.txt", 12),
        ("日本語のとても長い名前のファイル.md", 34_567),
        ("two words.py", 1_048_576),
    ):
        (tmp_path / file).write_bytes(b"x" * count)
    (tmp_path / "src").mkdir()
    async with composer_stage(size, folder=tmp_path) as here:
        await scene(here)
        drawn = here.snapshot()
    assert drawn == snapshot
