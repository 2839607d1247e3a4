"""The engine's process and the program that started it: it knows little, hears nothing of it, and never outlives it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from qwen_core.engine.log import open_engine_log
from qwen_core.settings.paths import engine_log_path
from support.engines import is_gone, reach, wait_until
from support.fake_session import FACTORY, die, gate, script, shout, stick, touch, until_stop

TESTS = Path(__file__).resolve().parents[2]

PARENT = """
import sys, threading
from qwen_core.engine.engine import Engine
from qwen_core.protocol.events import Load, Send
assert not {{"mlx", "mlx.core", "textual", "qwen_core.session.session"}} & set(sys.modules), "the parent knows too much"
engine = Engine(lambda event: None, factory="{factory}")
engine.start()
engine.send(Load({load!r}))
engine.send(Send(1, {turn!r}))
print(engine.pid, flush=True)
{then}
"""


def parent(load: str, turn: str, then: str) -> "subprocess.Popen[str]":
    program = PARENT.format(factory=FACTORY, load=load, turn=turn, then=then)
    env = {**os.environ, "PYTHONPATH": str(TESTS)}
    return subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env
    )


@pytest.mark.parametrize("busy", ["idle", "answering", "deaf in a load", "stuck in one call"])
def test_no_process_outlives_its_parent(busy: str, pipe: Path) -> None:
    load, turn = {
        "idle": (script(), script(touch(pipe))),
        "answering": (script(), script(touch(pipe), until_stop())),
        "deaf in a load": (script(touch(pipe), gate(pipe)), script()),
        "stuck in one call": (script(), script(touch(pipe), stick())),
    }[busy]
    with parent(load, turn, "threading.Event().wait()") as process:
        assert process.stdout is not None
        pid = int(process.stdout.readline())
        reach(pipe)
        assert not is_gone(pid)
        process.kill()
        process.wait()
        wait_until(lambda: is_gone(pid), "the end of the process")


def test_a_parent_that_just_ends_leaves_no_process() -> None:
    with parent(script(until_stop()), script(), "sys.exit(3)") as process:
        out, err = process.communicate(timeout=60)
        assert (process.returncode, err) == (3, "")
        wait_until(lambda: is_gone(int(out)), "the end of the process")


def test_nothing_it_says_reaches_the_terminal(home: Path) -> None:
    turn = script(shout("LOUD"), die("SIGSEGV"))
    then = "engine._process.popen.wait(); engine.close(); print(engine.log_path)"
    with parent(script(), turn, then) as process:
        out, err = process.communicate(timeout=60)
    pid, log_path = out.split()
    assert (process.returncode, err, pid.isdigit()) == (0, "", True)
    assert Path(log_path) == home / "state" / "engine.log"
    text = Path(log_path).read_text()
    assert text.count("LOUD") == 4
    assert "Segmentation fault" in text
    assert Path(log_path).parent.stat().st_mode & 0o777 == 0o700


def test_a_log_that_is_a_named_pipe_is_not_waited_for(home: Path) -> None:
    log = engine_log_path()
    log.parent.mkdir(parents=True, exist_ok=True)
    os.mkfifo(log)
    made, descriptor = open_engine_log()
    os.close(descriptor)
    assert made.path is None
    log.unlink()
    log.touch(0o644)
    made, descriptor = open_engine_log()
    os.close(descriptor)
    assert made.path == log
    assert log.stat().st_mode & 0o777 == 0o600
