"""Which program takes a text, and that it gets it."""

import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwen_tui.app import clipboard
from qwen_tui.app.clipboard import clipboard_command, copy_with_program

PROGRAMS = ["pbcopy", "wl-copy", "xclip"]
VARIABLES = ["WAYLAND_DISPLAY", "DISPLAY", "SSH_CONNECTION", "SSH_TTY"]


@given(st.sampled_from(["darwin", "linux"]), st.sets(st.sampled_from(VARIABLES)), st.sets(st.sampled_from(PROGRAMS)))
def test_the_program_is_there_and_fits_the_screen(platform: str, variables: set[str], programs: set[str]) -> None:
    environ = dict.fromkeys(variables, "x")
    command = clipboard_command(platform, environ, lambda name: name if name in programs else None)
    fitting = {"pbcopy": platform == "darwin", "wl-copy": "WAYLAND_DISPLAY" in environ, "xclip": "DISPLAY" in environ}
    usable = [name for name in PROGRAMS if fitting[name] and name in programs]
    if "SSH_CONNECTION" in environ or "SSH_TTY" in environ or not usable:
        assert command is None
    else:
        assert command is not None
        assert command[0] == usable[0]


def script(folder: Path, body: str) -> list[str]:
    path = folder / "program.py"
    path.write_text(body)
    return [sys.executable, str(path)]


def test_the_text_reaches_the_program(tmp_path: Path) -> None:
    target = tmp_path / "taken"
    code = f"import sys; open({str(target)!r}, 'wb').write(sys.stdin.buffer.read())"
    command = script(tmp_path, code)
    assert copy_with_program("ä 中\n", command) == sys.executable
    assert target.read_bytes() == "ä 中\n".encode()


def test_a_program_that_stays_in_the_background_is_not_waited_for(tmp_path: Path) -> None:
    """As xclip does: it answers for the selection until another one is made. Its output must be no pipe of ours."""
    code = "import os, sys, time\nsys.stdin.read()\nif os.fork() == 0:\n    time.sleep(8)\n    os._exit(0)\n"
    assert copy_with_program("x", script(tmp_path, code)) == sys.executable


@pytest.mark.parametrize("body", ["import sys; sys.exit(1)", "import os; os.kill(os.getpid(), 9)"])
def test_a_program_that_fails_is_none(tmp_path: Path, body: str) -> None:
    assert copy_with_program("x" * 1_000_000, script(tmp_path, body)) == ""


def test_a_program_that_hangs_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clipboard, "TIMEOUT_S", 0.1)
    assert copy_with_program("x", script(tmp_path, "import time\ntime.sleep(60)")) == ""


def test_without_a_program_nothing_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert copy_with_program("x") == ""
    assert copy_with_program("x", ["/no/such/program"]) == ""
