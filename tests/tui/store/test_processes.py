"""Programs that die at any moment, and programs that share one file."""

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from support.store_programs import PIECES
from support.stores import opened

TESTS = Path(__file__).resolve().parents[2]


def program(*arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "support.store_programs", *map(str, arguments)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), *sys.path])},
    )


@pytest.mark.parametrize("seed", range(6))
def test_a_kill_loses_nothing_that_was_reported_as_kept(tmp_path: Path, seed: int) -> None:
    """Several programs die one after the other over the same file, each after a random number of steps."""
    chance = random.Random(seed)
    told: list[list[str]] = []
    for _ in range(3):
        process = program("stream", tmp_path / "conversations.db")
        assert process.stdout is not None
        for _ in range(chance.randrange(1, 3 * (PIECES + 3))):
            told.append(process.stdout.readline().split())
        process.kill()
        told += [line.split() for line in process.stdout.read().splitlines()]
        process.wait()
    with opened(tmp_path) as store:
        assert store.notices == []
        for step, message_id, *number in told:
            message = store.tree.message(int(message_id))
            words = message.content.split()
            if step == "asked":
                assert message.content == "count"
                continue
            # Whatever is there is the beginning of what was said, in order, and has all that was reported.
            assert words == [str(n) for n in range(len(words))]
            assert len(words) > (int(number[0]) if number else -1)
            if step == "done":
                assert (message.status, len(words)) == ("complete", PIECES)
                assert store.tree.ids(message.id) == tuple(range(PIECES))
        statuses = [row["status"] for row in store.database.read("SELECT status FROM messages")]
        assert "running" not in statuses
        assert statuses.count("interrupted") <= 3
        assert store.database.read("SELECT * FROM parts") == []
        assert store.database.read("PRAGMA integrity_check")[0][0] == "ok"
        assert {hit.message_id for hit in store.search.find("count", limit=1000)} >= {
            int(message_id) for step, message_id, *_ in told if step == "asked"
        }


def test_an_answer_that_was_running_reopens_as_interrupted(tmp_path: Path) -> None:
    process = program("stream", tmp_path / "conversations.db")
    assert process.stdout is not None
    lines = [process.stdout.readline().split() for _ in range(5)]
    with opened(tmp_path) as store:  # a second program beside the first: what runs there is left alone
        assert store.interrupted == []
    process.kill()
    rest = [line.split() for line in process.stdout.read().splitlines()]
    process.wait()
    began = {int(number) for step, number, *_ in lines + rest if step == "began"}
    done = {int(number) for step, number, *_ in lines + rest if step == "done"}
    with opened(tmp_path) as store:
        # The last step may be on disk without having been reported.
        assert began - done >= set(store.interrupted) & began
        for message_id in store.interrupted:
            assert store.tree.message(message_id).status == "interrupted"
        last = max(began)
        assert store.tree.message(last).status == ("interrupted" if last in store.interrupted else "complete")


def test_programs_share_a_file(tmp_path: Path) -> None:
    turns, names = 12, ("one", "two", "three")
    with opened(tmp_path) as store:
        shared = store.conversations.begin(title="shared")
        processes = [program("share", tmp_path / "conversations.db", name, turns, shared) for name in names]
        while any(process.poll() is None for process in processes):
            # Reading all the while neither waits nor sees half a turn.
            for message in store.tree.path(shared):
                assert message.role == "user" or message.status in ("running", "complete")
            for process in processes:
                try:
                    process.wait(0.01)
                except subprocess.TimeoutExpired:
                    continue
        assert [process.returncode for process in processes] == [0, 0, 0]
        for process in processes:
            assert process.stdout is not None
            process.stdout.close()
        rows = store.database.read("SELECT content, status FROM messages WHERE conversation_id = ?", (shared,))
        assert {row["status"] for row in rows} == {"complete"}
        expected = [f"{name} {number}" for name in names for number in range(turns)]
        assert sorted(row["content"] for row in rows if "answers" not in row["content"]) == sorted(expected)
        for entry in store.conversations.listed():
            if entry.title in names:
                assert [m.content for m in store.tree.path(entry.id)][::2] == [
                    f"{entry.title} {number}" for number in range(turns)
                ]
        assert store.database.read("PRAGMA integrity_check")[0][0] == "ok"
