"""Themes: the bundled ones are readable, bad files are told and never stop anything."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from textual.color import Color
from textual.theme import Theme

from qwen_tui.settings.theme_watch import ThemeWatch
from qwen_tui.settings.themes import (
    ANSI_THEME,
    COLOURS,
    DEFAULT_THEME,
    FALLBACK_THEME,
    parse_theme,
    theme_folder,
    theme_folders,
)

WATCH = ThemeWatch([theme_folder()])
BUNDLED = WATCH.current.themes
THEMES = pytest.mark.parametrize("theme", BUNDLED, ids=lambda theme: theme.name)
TEXT = ("foreground", "muted", "primary", "secondary", "accent", "success", "warning", "error")
LEAST = {"high-contrast": 7.0}
"""WCAG 2.2 asks 4.5 to 1 of text (1.4.3), 7 to 1 at its highest level (1.4.6)."""


def luminance(color: Color) -> float:
    """Relative luminance: WCAG 2.2, https://www.w3.org/TR/WCAG22/#dfn-relative-luminance."""

    def linear(channel: int) -> float:
        share = channel / 255
        return share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4

    return 0.2126 * linear(color.r) + 0.7152 * linear(color.g) + 0.0722 * linear(color.b)


def contrast(one: str, other: str) -> float:
    """1 to 21: https://www.w3.org/TR/WCAG22/#dfn-contrast-ratio."""
    lighter, darker = sorted((luminance(Color.parse(one)), luminance(Color.parse(other))), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def unreadable(theme: Theme, pairs: dict[str, tuple[str, str]]) -> dict[str, float]:
    """Of pairs of (text, ground), those with too little contrast."""
    ratios = {name: contrast(*pair) for name, pair in pairs.items()}
    return {name: round(ratio, 2) for name, ratio in ratios.items() if ratio < LEAST.get(theme.name, 4.5)}


def test_the_contrast_is_that_of_the_standard() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#123456", "#123456") == 1
    assert contrast("#767676", "#ffffff") == pytest.approx(4.54, abs=0.005)  # the lightest grey that passes on white


def test_the_bundled_themes_are_sound_and_the_default_is_one_of_them() -> None:
    assert WATCH.current.problems == ()
    names = {theme.name for theme in BUNDLED}
    assert {DEFAULT_THEME, "paper", "high-contrast", "okabe-ito", "moss", "ember"} <= names
    assert {theme.dark for theme in BUNDLED} == {True, False}
    bundled = next(theme for theme in BUNDLED if theme.name == DEFAULT_THEME)
    assert bundled == FALLBACK_THEME
    assert ANSI_THEME.name not in names


@THEMES
@pytest.mark.parametrize("ground", ["background", "surface"])
def test_text_colours_are_readable(theme: Theme, ground: str) -> None:
    colours = theme.to_color_system().generate() | theme.variables
    assert unreadable(theme, {name: (colours[name], colours[ground]) for name in TEXT}) == {}


@THEMES
def test_text_on_a_colour_is_readable(theme: Theme) -> None:
    """Cursors, selections, links under the mouse; and the text of the command palette on its ground."""
    colours = theme.to_color_system().generate() | theme.variables
    pairs = {
        kind: (colours[f"{kind}-foreground"], colours[f"{kind}-background"])
        for kind in ("block-cursor", "block-cursor-blurred", "input-cursor", "input-selection", "screen-selection")
    }
    pairs["link under the mouse"] = colours["link-color-hover"], colours["link-background-hover"]
    pairs["palette"] = colours["foreground"], colours["panel-darken-1"]
    pairs["palette, muted"] = colours["muted"], colours["panel-darken-1"]
    assert all(Color.parse(ground).a == 1 for _, ground in pairs.values())
    assert unreadable(theme, pairs) == {}


def test_a_person_s_themes_stand_beside_the_settings_and_replace_bundled_ones(home: Path) -> None:
    own = home / "config" / "themes"
    own.mkdir(parents=True)
    (own / "moss.toml").write_text(GOOD.replace('"x"', '"moss"'), encoding="utf-8")
    found = ThemeWatch(theme_folders()).current
    assert found.problems == ()
    assert [theme.name for theme in found.themes] == [theme.name for theme in BUNDLED]
    assert next(theme for theme in found.themes if theme.name == "moss").primary == "#102030"


GOOD = 'name = "x"\ndark = true\n[colours]\n' + "".join(f'{name} = "#102030"\n' for name in COLOURS)


@pytest.mark.parametrize(
    "text",
    [
        "name = ",
        "",
        GOOD.replace('"x"', '"X y"'),
        GOOD.replace("true", '"yes"'),
        GOOD.replace("#102030", "red", 1),
        GOOD.replace("muted", "mutde"),
        GOOD + 'more = "#102030"\n',
        "extra = 1\n" + GOOD,
        GOOD.replace("[colours]", "colours = 3\n[other]"),
        "x = " + "[" * 20_000,
    ],
)
def test_a_bad_file_is_refused_with_its_reason(text: str) -> None:
    parse_theme(GOOD)
    with pytest.raises(ValueError):
        parse_theme(text)


@given(st.text(max_size=80))
def test_no_text_makes_reading_fail_otherwise(text: str) -> None:
    with pytest.raises(ValueError):
        parse_theme(text)


def test_all_bad_files_are_told_and_the_good_ones_are_there(tmp_path: Path) -> None:
    (tmp_path / "good.toml").write_text(GOOD, encoding="utf-8")
    (tmp_path / "bad\x1b.toml").write_text("name = 3", encoding="utf-8")
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "folder.toml").mkdir()
    (tmp_path / "huge.toml").write_text("#" * 70_000, encoding="utf-8")
    found = ThemeWatch([tmp_path, tmp_path / "missing"]).current
    assert [theme.name for theme in found.themes] == ["x"]
    assert len(found.problems) == 4
    assert all(problem.isprintable() for problem in found.problems)


def test_a_named_pipe_is_no_theme_and_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.toml")
    (problem,) = ThemeWatch([tmp_path]).current.problems
    assert "not a regular file" in problem
