"""Kill the real program at random moments and look at what is left: `kill_program.py [--count 1000] [--seed 1]`.

The installed program runs in a terminal with the bundled model and is asked what has no end; its app or its
engine is killed (SIGKILL) anywhere from the first line it executes to the middle of an answer. After each kill:

    - a killed app leaves no process of its own behind within ten seconds;
    - a killed engine leaves the app there, which says so;
    - every message that was on disk before is there as it was, an unfinished answer at least as far as it was;
    - a question that is being answered is on disk, and the file is sound.

    python tests/tools/kill_program.py

Needs tmux. A command, not a test: a kill takes a few seconds. Exit code 1 where one of these does not hold.
"""

import argparse
import os
import random
import re
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from qwen_tui.store import store_path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from support.engines import is_gone, wait_until
from support.terminal import real_terminal

ARGUMENTS = ("--temperature", "0", "--effort", "none", "--frequency-penalty", "-2", "--max-tokens", "3000")
QUESTION = "Explain NVFP4 vs MXFP4 quantization."  # with these arguments the bundled model answers it without end
TURNS_EACH = 40  # a conversation is left for a new one when it has as many
Message = tuple[str, str, str]
"""Role, status and text."""


def on_disk() -> dict[int, Message]:
    """Every message by its number, read beside the program. Raises AssertionError where the file is damaged."""
    if not store_path().exists():
        return {}
    with closing(sqlite3.connect(f"file:{store_path()}?mode=ro", uri=True)) as connection:
        if connection.execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,):
            return {}  # killed before its first write
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",), "the file is damaged"
        parts: dict[int, str] = {}
        for message, text in connection.execute("SELECT message_id, content FROM parts ORDER BY id"):
            parts[message] = parts.get(message, "") + text
        rows = connection.execute("SELECT id, role, status, content FROM messages")
        return {id: (role, status, content + parts.get(id, "")) for id, role, status, content in rows}


def compare(before: dict[int, Message], after: dict[int, Message]) -> None:
    """Raises AssertionError for anything that was there and is not any more."""
    for id, (role, status, text) in before.items():
        assert id in after, f"message {id} is gone"
        now_role, now_status, now = after[id]
        assert role == now_role, f"message {id} is {now_role}'s"
        if status == "running":
            assert now.startswith(text), f"the unfinished answer {id} lost text: {text[-40:]!r}, {now[-40:]!r}"
        else:
            assert (now_status, now) == (status, text), f"message {id} changed"


def ready(screen: str) -> bool:
    return bool(re.search(r"(● ready|■ stopped)$", screen.splitlines()[0]))


def one(chance: random.Random, number: int) -> str:
    """One start, some questions and one kill. Says what was killed, and when."""
    before = on_disk()
    while_starting, moment, kind = chance.random() < 0.4, chance.uniform(0, 3), chance.choice(("app", "engine"))
    asked = 0
    goes_on = before and number % TURNS_EACH
    with real_terminal(*(("--continue",) if goes_on else ()), *ARGUMENTS) as terminal:
        if not while_starting:
            terminal.wait(ready, "the model")
        for _ in steps(time.monotonic() + moment):
            if not asked and ready(terminal.screen()):
                terminal.write(QUESTION)
                terminal.press("Enter")
                terminal.wait(lambda screen: not ready(screen), "the answer")
                asked += 1
        least = 2 if kind == "engine" else 1
        wait_until(lambda: len(terminal.processes()) >= least, "the processes")
        processes = terminal.processes()
        screen = terminal.screen()
        middle = on_disk()
        compare(before, middle)
        victim = processes[0] if kind == "app" else chance.choice(processes[1:])
        os.kill(victim, signal.SIGKILL)
        if kind == "engine" and victim == engine_of(processes):
            terminal.wait(lambda screen: "engine down" in screen.splitlines()[0], "the app's word on its engine")
            compare(middle, on_disk())
        if kind == "engine":
            os.kill(processes[0], signal.SIGKILL)
        wait_until(lambda: all(map(is_gone, processes)), "the end of all processes")
    after = on_disk()
    compare(middle, after)
    kept = sum(role == "user" for role, _, _ in after.values()) - sum(role == "user" for role, _, _ in before.values())
    assert kept == asked, f"{asked} questions were asked, {kept} are on disk"
    when = "starting" if not asked else "answering" if not ready(screen) else "ready"
    return f"{kind}, {when}"


def steps(end: float) -> Iterator[None]:
    while time.monotonic() < end:
        yield
        time.sleep(0.02)


def engine_of(processes: list[int]) -> int | None:
    """Which of the program's processes runs the model."""
    for pid in processes[1:]:
        words = subprocess.run(["ps", "-o", "args=", "-p", str(pid)], capture_output=True, text=True, check=False)
        if "qwen_core.engine.worker" in words.stdout:
            return pid
    return None


def main() -> int:
    parser = argparse.ArgumentParser(description="Kill the program at random moments; nothing committed may be lost.")
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    kills: Counter[str] = Counter()
    faults = 0
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as home:
        os.environ["QWEN_TUI_HOME"] = home
        for number in range(given.count):
            try:
                kills[one(random.Random(f"{given.seed}-{number}"), number)] += 1
            except AssertionError as error:
                faults += 1
                print(f"fault at kill {number}: {error}", flush=True)
            if number % 50 == 49:
                print(f"{number + 1:,} kills, {faults} faults", file=sys.stderr, flush=True)
        messages = len(on_disk())
    seconds = time.monotonic() - began
    found = ", ".join(f"{count} {kind}" for kind, count in sorted(kills.items()))
    print(f"{given.count:,} kills in {seconds:.0f} s: {found}; {messages:,} messages at the end; {faults} faults")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
