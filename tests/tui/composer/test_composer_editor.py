"""The person's own editor: a script in its place, what it is given, and what comes back."""

import os
import pty
import signal
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as limits
from hypothesis import strategies as st

from qwen_core.errors import QwenError
from qwen_tui.composer.external_editor import edit_externally
from qwen_tui.text.safe import typed
from support.composer_stage import composer_stage


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for temporary files of its own, and no editor."""
    folder = tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    monkeypatch.delenv("VISUAL", raising=False)
    monkeypatch.delenv("EDITOR", raising=False)
    return folder


def script(path: Path, *lines: str) -> str:
    path.write_text("\n".join(["#!/bin/sh", *lines, ""]), encoding="utf-8")
    path.chmod(0o700)
    return str(path)


def test_what_the_editor_saves_comes_back_and_nothing_stays(
    tmp_path: Path, temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "log"
    editor = script(
        tmp_path / "my editor",
        f'ls -ld "$(dirname "$2")" "$2" > "{log}"; echo "$1" >> "{log}"; cat "$2" >> "{log}"',
        'cp "$2" "$2~"; printf "changed\\r\\n\\033[31mtext\\n" > "$2"',
    )
    monkeypatch.setenv("VISUAL", f"'{editor}' --wait")
    monkeypatch.setenv("EDITOR", "/no/such/editor")
    assert edit_externally("日本 text") == "changed\n[31mtext"
    told = log.read_text(encoding="utf-8").splitlines()
    assert told[0].startswith("drwx------") and told[1].startswith("-rw-------") and told[1].endswith(".md")
    assert told[2:] == ["--wait", "日本 text"]
    assert list(temporary.iterdir()) == []


@limits(max_examples=25)
@given(st.text(max_size=40))
def test_an_editor_that_changes_nothing_gives_back_the_text(text: str) -> None:
    """But for a newline at its end, which every editor adds."""
    text = typed(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDITOR", "true")
        assert edit_externally(text) == text
        patch.setenv("EDITOR", "sh -c 'echo >> \"$0\"'")
        assert edit_externally(text) == (text + "\n" if text.endswith("\n") else text)


@pytest.mark.parametrize(
    ("editor", "words"),
    [
        (None, "No editor is set"),
        ("  ", "No editor is set"),
        ("/no/such/editor --wait", "did not start: No such file"),
        ("/", "did not start"),
        ("vim 'unclosed", "$EDITOR cannot be understood"),
        ("false", "exit code 1"),
        ("sh -c 'kill -9 $$'", "by signal 9"),
        ("rm", "cannot be read (No such file"),
        ("a\x1b[31m", "did not start"),
    ],
)
async def test_what_can_go_wrong_is_one_line_and_the_text_stays(
    temporary: Path, monkeypatch: pytest.MonkeyPatch, editor: str | None, words: str
) -> None:
    if editor is not None:
        monkeypatch.setenv("EDITOR", editor)
    with pytest.raises(QwenError) as caught:
        edit_externally("text")
    assert words in str(caught.value)
    assert str(caught.value).isprintable()
    assert list(temporary.iterdir()) == []
    async with composer_stage() as here:
        here.editor.insert_typed("text")
        await here.press("f6")
        assert [words in trouble for trouble in here.app.troubles] == [True]
        assert here.editor.text == "text"
        assert here.app.suspended == 0, "the app has its screen again"


def test_ctrl_c_in_the_editor_is_not_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And the editor can be interrupted: it does not inherit that."""
    got: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: got.append(number))
    try:
        monkeypatch.setenv("EDITOR", script(tmp_path / "editor", "kill -INT $PPID", 'echo kept > "$1"'))
        assert edit_externally("text") == "kept"
        monkeypatch.setenv("EDITOR", script(tmp_path / "editor", "kill -INT $$", 'echo lost > "$1"'))
        with pytest.raises(QwenError, match="by signal 2"):
            edit_externally("text")
        assert got == []
        os.kill(os.getpid(), signal.SIGINT)
        assert got == [signal.SIGINT]
    finally:
        signal.signal(signal.SIGINT, before)


WAITING = """
import os, signal, sys
from qwen_core.errors import QwenError
from qwen_tui.composer import external_editor

external_editor.LOOK_S = 0.05
record = open(sys.argv[1], "w")
signal.signal(signal.SIGHUP, lambda number, frame: record.write("hung up, "))
try:
    external_editor.edit_externally("text")
except QwenError as error:
    record.write(str(error))
"""


def test_an_editor_with_a_window_of_its_own_does_not_outlast_the_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    goes, stays = tmp_path / "goes", tmp_path / "stays"
    os.mkfifo(goes)
    os.mkfifo(stays)
    monkeypatch.setenv("VISUAL", script(tmp_path / "editor", f"echo > '{goes}'", f"exec cat '{stays}'"))
    ours, theirs = pty.openpty()
    record = tmp_path / "record"
    with subprocess.Popen([sys.executable, "-c", WAITING, str(record)], stdin=theirs) as process:
        os.close(theirs)
        goes.read_text()
        os.close(ours)
        assert process.wait(60) == 0
    stays.write_text("")
    assert record.read_text() == "hung up, The terminal has ended: your text is as it was."


async def test_f6_edits_the_draft_and_tokens_stay_tokens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDITOR", script(tmp_path / "editor", 'echo "/more @$(cat "$1")" > "$1"'))
    pasted = "x\n" * 40
    async with composer_stage() as here:
        editor = here.editor
        await here.type("see ")
        editor.insert_pasted(pasted)
        await here.press("f6")
        assert editor.text == "/more @see [paste 1: 41 lines]"
        assert editor.cursor_location == (0, len(editor.text))
        assert here.offered == []
        assert editor.draft().pastes == {1: pasted}
        assert (here.app.troubles, here.app.suspended) == ([], 0)
        await here.press("ctrl+z")
        assert editor.text == "see [paste 1: 41 lines]"
        assert here.taken() == f"see {pasted}"


async def test_what_comes_back_opens_no_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDITOR", script(tmp_path / "editor", 'printf /th > "$1"'))
    async with composer_stage() as here:
        await here.press("f6")
        assert (here.editor.text, here.offered) == ("/th", [])
        await here.type("e")
        assert here.offered == ["theme"]


async def test_a_terminal_that_cannot_be_given_away_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDITOR", "false")
    async with composer_stage(suspends=False) as here:
        await here.press("f6")
        assert len(here.app.troubles) == 1
        assert "cannot be given away" in here.app.troubles[0]


def test_the_mode_of_the_file_is_the_persons_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Also with a mask that hides nothing."""
    log = tmp_path / "log"
    monkeypatch.setenv("EDITOR", script(tmp_path / "editor", f'cp -p "$1" "{log}"'))
    mask = os.umask(0)
    try:
        edit_externally("text")
    finally:
        os.umask(mask)
    assert stat.S_IMODE(log.stat().st_mode) == 0o600
