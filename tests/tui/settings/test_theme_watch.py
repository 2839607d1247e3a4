"""Themes reloaded on save: what changes is seen, what breaks is told and keeps its last good look."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwen_tui.settings.theme_watch import ThemeWatch
from qwen_tui.settings.themes import COLOURS

GOOD = 'name = "x"\ndark = true\n[colours]\n' + "".join(f'{name} = "#102030"\n' for name in COLOURS)


def theme(name: str, primary: str = "#102030") -> str:
    return GOOD.replace('"x"', f'"{name}"').replace('primary = "#102030"', f'primary = "{primary}"')


def save(path: Path, text: str) -> None:
    """As editors do that write a new file and put it in the old one's place."""
    fresh = path.with_suffix(".new")
    fresh.write_text(text, encoding="utf-8")
    fresh.replace(path)


@pytest.fixture
def folders(tmp_path: Path) -> list[Path]:
    ours, own = tmp_path / "bundled", tmp_path / "own"
    ours.mkdir()
    own.mkdir()
    save(ours / "moss.toml", theme("moss", "#111111"))
    return [ours, own]


def names(watch: ThemeWatch) -> dict[str, str]:
    return {entry.name: entry.primary for entry in watch.current.themes}


def test_nothing_is_read_where_nothing_changed(folders: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    watch = ThemeWatch([*folders, folders[0] / "missing"])
    assert names(watch) == {"moss": "#111111"}
    monkeypatch.setattr(Path, "open", lambda *_, **__: pytest.fail("a file was opened"))
    assert watch.poll() is None


def test_a_saved_an_added_and_a_deleted_file_are_seen(folders: list[Path]) -> None:
    watch = ThemeWatch(folders)
    save(folders[1] / "mine.toml", theme("mine"))
    assert watch.poll()
    assert names(watch) == {"moss": "#111111", "mine": "#102030"}
    save(folders[1] / "mine.toml", theme("mine", "#ffffff"))
    assert watch.poll()
    assert names(watch)["mine"] == "#ffffff"
    (folders[1] / "mine.toml").unlink()
    changed = watch.poll()
    assert changed
    assert changed.gone == ("mine",)
    assert names(watch) == {"moss": "#111111"}
    assert watch.poll() is None


def test_a_deleted_theme_does_not_come_back_with_a_broken_file(folders: list[Path]) -> None:
    path = folders[1] / "mine.toml"
    save(path, theme("mine"))
    watch = ThemeWatch(folders)
    path.unlink()
    assert watch.poll()
    save(path, "name = ")
    assert watch.poll()
    assert names(watch) == {"moss": "#111111"}


def test_written_in_place_with_the_same_size_is_seen_by_its_time(folders: list[Path]) -> None:
    path = folders[1] / "mine.toml"
    save(path, theme("mine", "#aaaaaa"))
    watch = ThemeWatch(folders)
    time = path.stat().st_mtime_ns
    path.write_text(theme("mine", "#bbbbbb"), encoding="utf-8")
    os.utime(path, ns=(time, time + 1))
    assert watch.poll()
    assert names(watch)["mine"] == "#bbbbbb"


def test_an_own_theme_replaces_a_bundled_one_and_gives_it_back(folders: list[Path]) -> None:
    watch = ThemeWatch(folders)
    save(folders[1] / "moss.toml", theme("moss", "#222222"))
    assert watch.poll()
    assert names(watch) == {"moss": "#222222"}
    (folders[1] / "moss.toml").unlink()
    changed = watch.poll()
    assert changed
    assert changed.gone == ()
    assert names(watch) == {"moss": "#111111"}


def test_a_broken_edit_keeps_the_last_good_theme_and_all_errors_are_one_notice(folders: list[Path]) -> None:
    save(folders[1] / "mine.toml", theme("mine"))
    watch = ThemeWatch(folders)
    save(folders[1] / "mine.toml", theme("mine").replace("muted", "mutde"))
    save(folders[1] / "other\x1b[2J.toml", "name = ")
    changed = watch.poll()
    assert changed
    assert changed.gone == ()
    assert names(watch) == {"moss": "#111111", "mine": "#102030"}
    assert len(changed.problems) == 2
    assert "mutde" in changed.notice
    assert "other" in changed.notice
    assert changed.notice.isprintable()
    assert watch.poll() is None, "a problem is told once"
    save(folders[1] / "mine.toml", theme("mine", "#333333"))
    (folders[1] / "other\x1b[2J.toml").unlink()
    changed = watch.poll()
    assert changed
    assert (changed.problems, changed.notice) == ((), "")
    assert names(watch)["mine"] == "#333333"


def test_a_theme_under_a_new_name_takes_the_old_name_away(folders: list[Path]) -> None:
    save(folders[1] / "mine.toml", theme("mine"))
    watch = ThemeWatch(folders)
    save(folders[1] / "mine.toml", theme("yours"))
    changed = watch.poll()
    assert changed
    assert changed.gone == ("mine",)
    assert "yours" in names(watch)


def test_a_link_to_nothing_and_a_folder_are_problems_and_no_more(folders: list[Path]) -> None:
    (folders[1] / "nowhere.toml").symlink_to(folders[1] / "nothing")
    (folders[1] / "folder.toml").mkdir()
    watch = ThemeWatch(folders)
    assert len(watch.current.problems) == 2
    assert watch.poll() is None
    save(folders[1] / "nothing", theme("late"))
    assert watch.poll()
    assert "late" in names(watch)


STEP = st.tuples(st.sampled_from("ab"), st.sampled_from(["one", "two"]), st.sampled_from(["good", "delete"]))


@given(steps=st.lists(STEP, max_size=8))
def test_watching_comes_to_the_same_as_reading_everything_anew(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, str, str]]
) -> None:
    folder = tmp_path_factory.mktemp("themes")
    watch = ThemeWatch([folder])
    for number, (file, name, act) in enumerate(steps):
        path = folder / f"{file}.toml"
        if act == "good":
            save(path, theme(name, f"#0000{number:02x}"))
        else:
            path.unlink(missing_ok=True)
        watch.poll()
        assert watch.current.themes == ThemeWatch([folder]).current.themes
