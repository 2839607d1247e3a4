"""How sure is shown: every shade readable in every theme, further from the ground the less sure, and told by lines
where there is no colour."""

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from textual.theme import Theme

from qwen_tui.lens.shades import LEVELS, PREFIX, Shades, levels, likely_level, meanings, open_level
from qwen_tui.settings.theme_watch import ThemeWatch
from qwen_tui.settings.themes import ANSI_THEME, theme_folder
from qwen_tui.widgets.contrast import contrast

THEMES = pytest.mark.parametrize("theme", ThemeWatch([theme_folder()]).current.themes, ids=lambda theme: theme.name)


@THEMES
def test_every_shade_can_be_read_and_stands_out_more_the_less_sure(theme: Theme) -> None:
    least = 7.0 if theme.name == "high-contrast" else 4.5
    shades = Shades(theme)
    pairs = [shades.colours(level) for level in range(LEVELS)]
    assert {level: round(contrast(*pair), 2) for level, pair in enumerate(pairs) if contrast(*pair) < least} == {}
    from_ground = [contrast(ground, pairs[0][1]) for _, ground in pairs]
    assert from_ground == sorted(from_ground)
    assert len(set(from_ground)) == LEVELS
    # Neighbours are told apart.
    assert all(after / before > 1.08 for before, after in pairwise(from_ground[1:]))


@pytest.mark.parametrize("theme", [ANSI_THEME, ThemeWatch([theme_folder()]).current.themes[0]], ids=["ansi", "plain"])
def test_without_colour_lines_tell_it(theme: Theme) -> None:
    shades = Shades(theme, plain=True)
    styles = [shades.style(f"{PREFIX}{level}") for level in range(LEVELS)]
    looks = [(bool(s.bold), bool(s.italic), bool(s.underline)) for s in styles if s is not None]
    assert len(looks) == LEVELS
    assert looks[0] == looks[1] == (False, False, False)
    assert all(look[2] for look in looks[2:])
    assert len(set(looks[2:])) == 3


def test_a_style_of_the_theme_is_none_of_ours() -> None:
    assert [Shades(ANSI_THEME).style(name) for name in ("$muted", "bold", "", f"{PREFIX}9")] == [None] * 4


@given(st.floats(-80, 0), st.floats(0, 12))
def test_the_less_sure_the_higher(logprob: float, entropy: float) -> None:
    assert likely_level(logprob) <= likely_level(logprob - 0.5)
    assert open_level(entropy) <= open_level(entropy + 0.5)
    assert levels("probability", [logprob], [entropy]) == [likely_level(logprob)]
    assert levels("entropy", [logprob], [entropy]) == [open_level(entropy)]
    assert levels("nothing", [logprob], [entropy]) == [0]


def test_the_legend_says_where_each_begins() -> None:
    assert [likely_level(math.log(share)) for share in (0.95, 0.89, 0.59, 0.29, 0.09, 0.009)] == list(range(LEVELS))
    assert [open_level(entropy) for entropy in (0.05, 0.2, 0.7, 1.5, 2.5, 3.5)] == list(range(LEVELS))
    assert len(meanings("probability")) == len(meanings("entropy")) == LEVELS
