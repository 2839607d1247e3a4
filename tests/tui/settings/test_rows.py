"""Settings as rows: what is shown, chosen, typed and changed, without a screen."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from qwen_tui.settings.counting import counting
from qwen_tui.settings.file import LoadedSettings, load_settings
from qwen_tui.settings.rows import (
    VALUE_CELLS,
    Setting,
    changed,
    detail_lines,
    effective,
    matching,
    next_word,
    origin_of,
    overridden,
    read_value,
    row_line,
    rows_of,
    save_values,
    shown,
    summary,
    typed_as,
    value_cells,
    value_shown,
    value_text,
)
from qwen_tui.settings.tree import FIELDS, SECTIONS, Field, value_of
from qwen_tui.widgets.cursor_list import Heading

ACTIONS = (("help", "the keys of where you are", "f1,ctrl+g"), ("new", "a new conversation", "ctrl+n"))
ROWS = rows_of(ACTIONS, {"looks.theme": ("midnight", "paper")})
SETTINGS = [row for row in ROWS if isinstance(row, Setting)]
BY_KEY = {row.key: row for row in SETTINGS}
EVERY = pytest.mark.parametrize("row", SETTINGS, ids=lambda row: row.key)


def test_what_is_not_set_says_what_counts() -> None:
    said = {row.key: effective(row, loaded(), {}) for row in SETTINGS}
    assert not [key for key, (value, _) in said.items() if value == "not set"]
    assert said["generation.max_tokens"] == ("up to the context", "")
    preset = loaded(generation__preset="coding")
    counts = counting(preset, None)
    assert effective(BY_KEY["generation.temperature"], preset, counts) == ("0.6", "preset")
    line = row_line(BY_KEY["generation.top_k"], preset, 100, cursor=False, counts=counts, values=24).plain.rstrip()
    assert line.split() == ["top_k", "20", "preset"]
    assert cell_len(line) < 3 + 21 + 24 + len("preset") + 1, "where it is from stands beside it"
    details = detail_lines(BY_KEY["generation.top_k"], preset, counts)
    (told,) = (line.plain for line in details if "counts" in line.plain)
    assert told == "Not set: 20 counts (preset coding)."
    both = loaded(generation__preset="coding", generation__temperature=0.2)
    counts = counting(both, None)
    assert effective(BY_KEY["generation.temperature"], both, counts) == ("0.2", "command line")
    assert not [
        line for line in detail_lines(BY_KEY["generation.temperature"], both, counts) if "Not set" in line.plain
    ]


@given(st.integers(0, 200))
def test_the_column_of_values_holds_the_longest_within_bounds(length: int) -> None:
    now = loaded(generation__system="x" * length) if length else loaded()
    width = value_cells(SETTINGS, now, {})
    longest = max(cell_len(value_shown(row, now, {})) for row in SETTINGS)
    assert width == min(VALUE_CELLS, longest + 3)
    assert value_cells([], now, {}) <= VALUE_CELLS


def loaded(
    text: str = "", tmp_path: Path | None = None, environ: dict[str, str] | None = None, **overrides: Any
) -> LoadedSettings:
    path = (tmp_path or Path("/nonexistent")) / "config.toml"
    if text:
        path.write_text(text, encoding="utf-8")
    return load_settings(path, environ or {}, {key.replace("__", "."): value for key, value in overrides.items()})


def test_every_field_is_a_row_under_its_section_and_every_action_one_under_keys() -> None:
    section = ""
    found: list[str] = []
    for row in ROWS:
        if isinstance(row, Heading):
            section = section if row.name in ("Sampling", "Reasoning", "Drafts") else row.name
        else:
            assert row.field.section == section
            found.append(row.key)
    assert found == [*(entry.key for entry in FIELDS), "keys.help", "keys.new"]
    inside = ["Sampling", "Reasoning", "Drafts"]
    assert [row.name for row in ROWS if isinstance(row, Heading) and row.name not in inside] == list(SECTIONS)
    assert "keys" not in {row.name for row in rows_of() if isinstance(row, Heading)}


@EVERY
def test_every_default_is_marked_and_every_row_explained(row: Setting) -> None:
    assert origin_of(row, loaded()) == "default"
    told = "\n".join(line.plain for line in detail_lines(row, loaded(), {}))
    assert row.help in told
    assert row.accepts in told
    assert row.help


@pytest.mark.parametrize("row", [row for row in SETTINGS if row.words], ids=lambda row: row.key)
def test_what_can_be_chosen_is_accepted_and_gone_through_in_both_directions(row: Setting) -> None:
    now, seen = loaded(), []
    for _ in row.words:
        now = changed(now, row, next_word(row, now, 1))
        seen.append(value_of(now.saved, row.key))
    assert set(seen) == set(row.words)
    assert value_of(now.saved, row.key) == row.field.default, "round and round"
    back = changed(now, row, next_word(row, now, -1))
    assert value_of(changed(back, row, next_word(row, back, 1)).saved, row.key) == row.field.default


@pytest.mark.parametrize(
    ("text", "value"),
    [("0.5", 0.5), (" 1 ", 1.0), ("", None), ("unset", None), (" UNSET", None), ("default", None), ("none", None)],
)
def test_what_is_typed_for_a_number_that_may_be_unset(text: str, value: float | None) -> None:
    assert read_value(BY_KEY["generation.temperature"], text) == value


def test_a_text_may_be_one_of_the_words_that_unset_a_number() -> None:
    assert read_value(BY_KEY["generation.system"], "none") == "none"
    assert read_value(BY_KEY["generation.system"], "unset") is None


@given(st.integers(1, 200), st.sampled_from([row for row in ROWS if isinstance(row, Heading)]))
def test_a_heading_is_cut_at_the_end_of_a_sentence(width: int, row: Heading) -> None:
    line = row_line(row, loaded(), width, cursor=False, counts={}).plain
    assert cell_len(line) <= width
    about = line.removeprefix(f" {row.name.capitalize()}")
    assert not about or width < cell_len(row.name) + 1 or about.endswith(".")


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("generation.temperature", "warm"),
        ("generation.temperature", "101"),
        ("generation.temperature", "nan"),
        ("composer.paste_lines", ""),
        ("composer.paste_lines", "unset"),
        ("composer.paste_lines", "2.5"),
        ("looks.theme", "No Theme"),
    ],
)
def test_what_a_field_does_not_take(key: str, text: str) -> None:
    with pytest.raises(ValueError):
        read_value(BY_KEY[key], text)


@given(st.text(max_size=40).filter(lambda text: "\0" not in text))
def test_any_text_may_be_a_system_prompt_and_is_shown_on_one_line(text: str) -> None:
    row = BY_KEY["generation.system"]
    try:
        value = read_value(row, text)
    except ValueError:
        assert any("\ud800" <= character <= "\udfff" for character in text)
        return
    assert value == (None if text.strip().lower() in ("", "unset") else text)
    assert "\n" not in shown(value)
    assert "\x1b" not in shown(value)


@given(st.one_of(st.integers(0, 2**64), st.floats(0, 1e6)))
def test_a_number_is_typed_as_it_would_be_read(value: float) -> None:
    assert float(typed_as(value)) == float(value)


@EVERY
@pytest.mark.parametrize("width", [30, 40, 60, 100, 200])
def test_a_line_fits_its_width_whatever_it_shows(row: Setting, width: int) -> None:
    values = loaded(generation__system="東京 " * 100, keys__help="ctrl+f12")
    for cursor in (False, True):
        line = row_line(row, values, width, cursor=cursor, counts={})
        assert line.cell_length <= width
        assert line.plain.startswith("▸ " if cursor else "  ")
        if width >= 60:
            assert effective(row, values, {})[1] in line.plain


def test_where_values_come_from(tmp_path: Path) -> None:
    text = "[generation]\ntemperature = 0.5\ntop_p = 0.9\n[composer]\npaste_lines = 20\n"
    now = loaded(text, tmp_path, {"QWEN_TUI_GENERATION_TOP_P": "0.8"}, generation__top_k=40)
    origins = {name: origin_of(BY_KEY[f"generation.{name}"], now) for name in ("temperature", "top_p", "top_k", "seed")}
    assert origins == {"temperature": "file", "top_p": "environment", "top_k": "command line", "seed": "default"}
    assert origin_of(BY_KEY["composer.paste_lines"], now) == "default", "the file says what is the default anyway"
    told = "\n".join(line.plain for line in detail_lines(BY_KEY["generation.top_p"], now, {}))
    assert "QWEN_TUI_GENERATION_TOP_P makes it 0.8" in told
    assert "in the file only (now: 0.9)" in told
    told = "\n".join(line.plain for line in detail_lines(BY_KEY["generation.top_k"], now, {}))
    assert "the command line makes it 40" in told
    assert "0.8  (file: 0.9)" in row_line(BY_KEY["generation.top_p"], now, 100, cursor=False, counts={}).plain
    assert summary(ROWS, ROWS, now).endswith("3 not at their defaults")
    assert summary(ROWS, ROWS, loaded()).endswith("settings · all at their defaults")


def test_a_change_counts_at_once_unless_something_else_decides(tmp_path: Path) -> None:
    now = loaded("", tmp_path, {"QWEN_TUI_GENERATION_TOP_P": "0.8"})
    top_k, top_p = BY_KEY["generation.top_k"], BY_KEY["generation.top_p"]
    now = changed(changed(now, top_k, 5), top_p, 0.5)
    assert (now.settings.generation.top_k, now.saved.generation.top_k) == (5, 5)
    assert (now.settings.generation.top_p, now.saved.generation.top_p) == (0.8, 0.5)
    assert (origin_of(top_k, now), origin_of(top_p, now)) == ("file", "environment")
    assert overridden(top_p, now)
    now = changed(now, top_k, None)
    assert origin_of(top_k, now) == "default"
    assert "generation.top_k" not in now.origins
    with pytest.raises(ValueError):
        changed(now, top_k, "five")


def test_an_action_shows_the_keys_it_has() -> None:
    row = BY_KEY["keys.help"]
    assert value_text(row, None) == "F1 or Ctrl+G"
    now = changed(loaded(), row, ("f9",))
    assert now.settings.keys["help"] == ("f9",)
    assert "F9" in row_line(row, now, 100, cursor=False, counts={}).plain
    assert "The default: F1 or Ctrl+G." in "\n".join(line.plain for line in detail_lines(row, now, {}))


def test_keys_that_stand_in_two_places_are_told_once_and_letters_are_known() -> None:
    rows = [row for row in rows_of((("a", "", "f3,ctrl+s,f3,ctrl+s"), ("b", "", "e"))) if isinstance(row, Setting)]
    assert rows[-2].keys == ("f3", "ctrl+s")
    assert [row.letters for row in rows[-2:]] == [False, True]


def test_the_filter_finds_names_and_explanations() -> None:
    def found(text: str) -> list[str]:
        return [row.key for row in matching(ROWS, text) if isinstance(row, Setting)]

    assert found("top_p") == ["generation.top_p"]
    assert "generation.presence_penalty" in found("presence pen")
    assert found("PENALTY frequency") == ["generation.frequency_penalty"]
    assert "composer.paste_lines" in found("token shown")
    assert found("keys.n") == ["keys.new"]
    assert found("new conversation") == ["generation.system", "keys.new"]
    assert found("nothing has this") == []
    assert matching(ROWS, "") == ROWS
    assert isinstance(matching(ROWS, "top_p")[0], Heading)


@given(st.lists(st.sampled_from(SETTINGS), max_size=4, unique=True), st.text("abcdefgo_ ", max_size=6))
def test_what_is_found_has_every_word_and_nothing_else_is_lost(picked: list[Setting], text: str) -> None:
    found = {row.key for row in matching(ROWS, text) if isinstance(row, Setting)}
    for row in picked:
        searched = f"{row.key} {row.key.replace('_', ' ')} {row.help}".lower()
        assert (row.key in found) == all(word in searched for word in text.split())


def test_saving_one_value_leaves_what_others_wrote(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    assert save_values({"generation.top_k": 5}, path) is None
    path.write_text(path.read_text() + "\n# mine\n[looks]\ntheme = 'paper'\n", encoding="utf-8")
    assert save_values({"generation.top_k": 6}, path) is None
    text = path.read_text(encoding="utf-8")
    assert "# mine" in text
    assert load_settings(path, {}).saved.looks.theme == "paper"
    assert load_settings(path, {}).saved.generation.top_k == 6
    path.write_text("this is [no toml", encoding="utf-8")
    kept = save_values({"generation.top_k": 7}, path)
    assert kept is not None
    assert kept.read_text() == "this is [no toml"
    assert load_settings(path, {}).saved.generation.top_k == 7


def test_a_field_of_the_tree_is_what_a_row_is_about() -> None:
    assert all(isinstance(row.field, Field) for row in SETTINGS)
    assert BY_KEY["generation.system"].many_lines
    assert not BY_KEY["looks.theme"].many_lines
    assert BY_KEY["looks.theme"].accepts == "one of midnight, paper"
