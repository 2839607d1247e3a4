"""Processes of our own answer through their pipe, know nothing they need not, and end with their parent."""

import os
import subprocess
import sys
import threading
from multiprocessing.connection import Connection
from pathlib import Path
from subprocess import DEVNULL, Popen

import pytest

from qwen_core.child_process import start_child
from support.engines import is_gone, wait_until

ECHO = """
from qwen_core.child_process import connect_to_parent
connection = connect_to_parent()
while True:
    connection.send_bytes(connection.recv_bytes())
"""
# Hours inside one call of the C library, which holds the interpreter's lock.
STUCK = """
from qwen_core.child_process import connect_to_parent
connect_to_parent().send_bytes(b"stuck now")
("a" * 8_000_000).rfind("ab" + "a" * 4_000_000)
"""
STOPPED = """
import os, signal
from qwen_core.child_process import connect_to_parent
connect_to_parent().send_bytes(b"stopping")
os.kill(os.getpid(), signal.SIGSTOP)
"""
LATE = "import sys; sys.stdin.read()" + STUCK
PARENT = """
from subprocess import DEVNULL
from qwen_core.child_process import start_child
connection, popen = start_child({boot!r}, output=DEVNULL)
connection.recv_bytes()
print(popen.pid, flush=True)
popen.wait()
"""


def state(pid: int) -> str:
    """R running, D waiting for the kernel, T stopped."""
    return subprocess.check_output(["ps", "-o", "state=", "-p", str(pid)], text=True)[0]


@pytest.mark.parametrize(
    ("boot", "states"),
    [
        pytest.param(STUCK, "RD", id="in the middle of one call"),
        pytest.param(
            STOPPED, "T", id="stopped", marks=pytest.mark.skipif(sys.platform != "linux", reason="by SIGKILL")
        ),
    ],
)
def test_a_child_ends_with_its_parent(boot: str, states: str) -> None:
    with Popen([sys.executable, "-c", PARENT.format(boot=boot)], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        wait_until(lambda: state(pid) in states, f"the child to be in one of the states {states}")
        parent.kill()
    try:
        wait_until(lambda: is_gone(pid), "the end of the child")
    finally:
        if not is_gone(pid):
            os.kill(pid, 9)


def test_a_child_whose_parent_went_before_it_was_ready_ends() -> None:
    connection, popen = start_child(LATE, output=DEVNULL)
    with connection, popen:
        assert popen.stdin is not None
        popen.stdin.close()
        assert popen.wait(60) == 0


def test_a_child_outlives_the_thread_that_started_it() -> None:
    started: list[tuple[Connection, Popen[bytes]]] = []
    thread = threading.Thread(target=lambda: started.append(start_child(ECHO, output=DEVNULL)))
    thread.start()
    thread.join()
    [(connection, popen)] = started
    with connection, popen:
        connection.send_bytes(b"alive")
        assert connection.recv_bytes() == b"alive"
        popen.kill()


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_child_inherits_nothing_but_its_pipes() -> None:
    read, write = os.pipe()
    os.set_inheritable(read, True)
    connection, popen = start_child(ECHO, output=DEVNULL)
    with connection, popen:
        connection.send_bytes(b"")
        connection.recv_bytes()
        open_files = {entry.name: str(entry.readlink()) for entry in Path(f"/proc/{popen.pid}/fd").iterdir()}
        popen.kill()
    os.close(read)
    os.close(write)
    assert {open_files.pop(name) for name in "012"} == {os.devnull}
    assert sorted(target.partition(":")[0] for target in open_files.values()) == ["pipe", "socket"]
