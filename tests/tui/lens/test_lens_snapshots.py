"""The lens as it looks, at four sizes, in every theme and without colour."""

from collections.abc import Iterator

import pytest
from syrupy.assertion import SnapshotAssertion

from qwen_tui.settings.theme_watch import ThemeWatch
from qwen_tui.settings.themes import ANSI, DEFAULT_THEME, theme_folder
from support.app_stage import stage
from support.lens_stage import LensEngine, looked

SIZES = pytest.mark.parametrize(
    "size", [(40, 15), (60, 20), (100, 30), (160, 45)], ids=lambda size: f"{size[0]}x{size[1]}"
)
THEMES = [*(theme.name for theme in ThemeWatch([theme_folder()]).current.themes), ANSI]


def drawn(texts: dict[str, str]) -> Iterator[str]:
    """The text once, as it is alike in all; then what is said of styles in each."""
    first = next(iter(texts.values())).partition("-" * 20)[0]
    yield first
    for name, text in texts.items():
        screen, _, styles = text.partition("-" * 20)
        assert screen == first, f"{name} has another text"
        yield f"==== {name}{styles}"


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
