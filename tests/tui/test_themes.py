"""Themes: the bundled ones are readable, bad files are told and never stop anything."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from textual.color import Color
from textual.theme import Theme

from qwen_tui.themes import COLOURS, DEFAULT_THEME, FALLBACK_THEME, load_themes, parse_theme, theme_folder

BUNDLED, PROBLEMS = load_themes([theme_folder()])
TEXT = ("foreground", "primary", "secondary", "accent", "success", "warning", "error")


def luminance(color: Color) -> float:
    """WCAG 2 relative luminance."""

    def linear(channel: int) -> float:
        share = channel / 255
        return share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4

    return 0.2126 * linear(color.r) + 0.7152 * linear(color.g) + 0.0722 * linear(color.b)


def contrast(one: str, other: str) -> float:
    lighter, darker = sorted((luminance(Color.parse(one)), luminance(Color.parse(other))), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def test_the_bundled_themes_are_sound_and_the_default_is_one_of_them() -> None:
    assert PROBLEMS == []
    names = {theme.name for theme in BUNDLED}
    assert {DEFAULT_THEME, "okabe-ito", "paper"} <= names
    assert {theme.dark for theme in BUNDLED} == {True, False}
    bundled = next(theme for theme in BUNDLED if theme.name == DEFAULT_THEME)
    assert bundled == FALLBACK_THEME


@pytest.mark.parametrize("theme", BUNDLED, ids=lambda theme: theme.name)
@pytest.mark.parametrize("ground", ["background", "surface"])
def test_text_colours_are_readable(theme: Theme, ground: str) -> None:
    """4.5 to 1 is what WCAG 2 asks of text."""
    behind = getattr(theme, ground)
    colours = {name: getattr(theme, name) for name in TEXT} | {"muted": theme.variables["muted"]}
    assert {
        name: round(contrast(value, behind), 2) for name, value in colours.items() if contrast(value, behind) < 4.5
    } == {}


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
    themes, problems = load_themes([tmp_path, tmp_path / "missing"])
    assert [theme.name for theme in themes] == ["x"]
    assert len(problems) == 4
    assert all(problem.isprintable() for problem in problems)
