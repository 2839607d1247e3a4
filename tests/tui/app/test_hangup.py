"""A process whose terminal goes away: nothing it writes can hold it up, and it ends."""

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import asyncio, fcntl, os, signal, sys, termios
from qwen_tui.app import hangup

record = open(sys.argv[1], "w", buffering=1)
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
signal.signal(signal.SIGCONT, lambda number, frame: print("taken back", file=record))
leaves = sys.argv[2] == "leaves"

async def main():
    loop = asyncio.get_running_loop()
    end = asyncio.Event()
    if not leaves:
        hangup.GRACE_S = 0.1
    hangup.leave_on_hangup(loop, end.set if leaves else lambda: None)
    os.write(1, b"ready")
    await end.wait()
    os.kill(os.getpid(), signal.SIGCONT)
    os.write(1, b"drawn into nothing")
    os.write(2, b"drawn into nothing")
    print("left", file=record)

asyncio.run(main())
"""


@pytest.mark.parametrize(("behaviour", "code", "record"), [("leaves", 0, "left\n"), ("stays", 1, "")])
def test_the_end_of_the_terminal_is_the_end_of_the_program(
    behaviour: str, code: int, record: str, tmp_path: Path
) -> None:
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(tmp_path / "record"), behaviour],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    ) as process:
        os.close(theirs)
        try:
            assert os.read(ours, 5) == b"ready"
            os.close(ours)
            assert process.wait(60) == code
        finally:
            process.kill()
    assert (tmp_path / "record").read_text() == record


WAITING = """
import asyncio, signal, threading
from qwen_tui.app import hangup

async def main():
    end = asyncio.Event()
    hangup.leave_on_hangup(asyncio.get_running_loop(), end.set)
    # A signal that another thread takes does not interrupt the wait of the loop, like one that comes just before it.
    threading.Timer(0.1, lambda: signal.pthread_kill(threading.get_ident(), signal.SIGHUP)).start()
    await end.wait()

asyncio.run(main())
"""


def test_a_loop_that_does_nothing_but_wait_is_woken() -> None:
    subprocess.run([sys.executable, "-c", WAITING], check=True, timeout=60)


DRAWING = """
from textual.app import App
from qwen_tui.app.terminal_driver import TerminalDriver

class Drawing(App):
    def on_mount(self):
        for _ in range(100):
            self._driver.write("drawn into nothing")
        self.exit()

Drawing(driver_class=TerminalDriver).run()
"""


def test_what_is_drawn_on_a_terminal_that_is_gone_holds_nothing_up() -> None:
    """Keys still come, from another terminal: so only drawing meets the end."""
    keys, read = pty.openpty()
    screen, drawn_on = pty.openpty()
    os.close(screen)
    with subprocess.Popen([sys.executable, "-c", DRAWING], stdin=read, stderr=drawn_on) as process:
        try:
            assert process.wait(60) == 0
        finally:
            process.kill()
            for descriptor in (keys, read, drawn_on):
                os.close(descriptor)
