"""Where the program's files are, and the log of the engine process."""

import os
from pathlib import Path

import platformdirs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwen_core.engine import log as engine_log
from qwen_core.engine.log import EngineLog, bound_log, describe_death, open_engine_log
from qwen_core.errors import SettingsError
from qwen_core.settings import paths as locations


def test_one_variable_moves_all_three(home: Path) -> None:
    found = [locations.config_dir(), locations.data_dir(), locations.state_dir()]
    assert found == [home / "config", home / "data", home / "state"]
    assert all(path.stat().st_mode & 0o777 == 0o700 for path in found)
    assert locations.engine_log_path() == home / "state" / "engine.log"


def test_a_relative_home_does_not_move_with_the_working_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QWEN_TUI_HOME", "here")
    assert locations.location("data") == Path.cwd() / "here" / "data"


def test_without_it_the_system_says_where(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("QWEN_TUI_HOME")
    dirs = platformdirs.PlatformDirs("qwen-tui", appauthor=False)
    for kind in locations.KINDS:
        assert locations.location(kind).is_relative_to(getattr(dirs, f"user_{kind}_dir"))


def test_kinds_stay_apart_where_the_system_has_one_folder_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    class OneFolder:
        user_config_path = user_data_path = user_state_path = Path("/somewhere/qwen-tui")

    monkeypatch.delenv("QWEN_TUI_HOME")
    monkeypatch.setattr(locations, "PlatformDirs", lambda *_, **__: OneFolder)
    assert len({locations.location(kind) for kind in locations.KINDS}) == 3


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("QWEN_TUI_HOME", str(tmp_path / "file"))
    with pytest.raises(SettingsError, match=r"the config folder .* cannot be created: .*QWEN_TUI_HOME"):
        locations.config_dir()
    log, descriptor = open_engine_log()
    os.write(descriptor, b"nobody hears this")
    os.close(descriptor)
    log.append("nor this")
    assert (log.path, log.last_words()) == (None, "")


def test_a_grown_log_is_set_aside_and_a_flooded_one_emptied(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_log, "MAX_BYTES", 10)
    for text in (b"x" * 11, b"y" * 5):
        log, descriptor = open_engine_log()
        assert log.start == 0
        os.write(descriptor, text)
        os.close(descriptor)
    assert log.path is not None
    assert log.path.read_bytes() == b"y" * 5
    assert log.path.with_name("engine.log.1").read_bytes() == b"x" * 11
    assert log.path.stat().st_mode & 0o777 == 0o600
    log, descriptor = open_engine_log()
    assert log.start == 5
    bound_log(descriptor)
    assert os.fstat(descriptor).st_size == 5
    os.write(descriptor, b"z" * 6)
    bound_log(descriptor)
    os.write(descriptor, b"last")
    os.close(descriptor)
    assert log.path is not None
    assert log.path.read_bytes() == b"last"
    assert log.last_words() == "last"


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ("", ""),
        ("one\n\ntwo\n  \n", "two"),
        ("Traceback (most recent call last):\n  File\nValueError: no\n", "ValueError: no"),
        ("Fatal Python error: Segmentation fault\n\nThread 0x1:\n  File x\n", "Fatal Python error: Segmentation fault"),
        ("  what():  [METAL] failed\nFatal Python error: Aborted\n\n  File x\n", "what():  [METAL] failed"),
        ("one\nnote: a kernel is not used\n", "one"),
        ("\x1b[2Jgone\n", r"\x1b[2Jgone"),
    ],
)
def test_last_words(written: str, words: str) -> None:
    before, descriptor = open_engine_log()
    os.write(descriptor, b"of an earlier process\n")
    os.close(descriptor)
    log, descriptor = open_engine_log()
    os.write(descriptor, written.encode())
    os.close(descriptor)
    assert log.last_words() == words
    assert before.path == log.path


@given(st.binary(max_size=400))
def test_last_words_are_one_bounded_printable_line_whatever_was_written(
    tmp_path_factory: pytest.TempPathFactory, written: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.log"
    path.write_bytes(written * 100)
    words = EngineLog(path).last_words()
    assert words.isprintable() or words == ""
    assert len(words) <= engine_log.MAX_LINE * 10  # each character may become an escape of ten


def test_deaths_are_named() -> None:
    assert describe_death(-9, "") == (
        "the engine process was ended by SIGKILL (killed from outside, by the system if memory ran out)"
    )
    assert describe_death(-11, "oh").endswith("ended by SIGSEGV; its last words: oh")
    assert "signal 999" in describe_death(-999, "")
    assert describe_death(3, "") == "the engine process ended with exit code 3"
