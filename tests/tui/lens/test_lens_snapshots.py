"""The lens as it looks, at four sizes, in every theme and without colour."""

import pytest
from syrupy.assertion import SnapshotAssertion

from qwen_tui.settings.themes import DEFAULT_THEME
from support.app_stage import stage
from support.lens_stage import LensEngine, looked
from support.themes import THEMES, drawn

SIZES = pytest.mark.parametrize(
    "size", [(40, 15), (60, 20), (100, 30), (160, 45)], ids=lambda size: f"{size[0]}x{size[1]}"
)


@SIZES
async def test_the_lens_in_every_theme(snapshot: SnapshotAssertion, size: tuple[int, int]) -> None:
    async with stage(LensEngine(), size) as here:
        await looked(here)
        await here.press("n")
        texts: dict[str, str] = {}
        for theme in THEMES:
            here.app.theme = theme
            await here.settle()
            texts[theme] = here.snapshot()
        assert "".join(drawn(texts)) == snapshot
        here.app.theme = DEFAULT_THEME
        for view in ("u", "t"):
            await here.press(view)
            assert here.text() == snapshot(name=view)


@SIZES
async def test_the_lens_without_colour(
    snapshot: SnapshotAssertion, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    async with stage(LensEngine(), size) as here:
        await looked(here)
        await here.press("n")
        assert here.snapshot() == snapshot
