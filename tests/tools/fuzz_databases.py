"""Damaged databases, opened, read and written through the real store: `fuzz_databases.py [--count N] [--seed N]
[--processes N]`.

Each begins as one that the store has written, some with a log or with a running answer left behind, and is damaged in
one to three ways: bytes, pages, the schema, values, files beside it. What must come of it: it works, or it is refused
by one line, or it is set aside whole and a new one begins. Then what could be read before is there still, or in the
file that was set aside; a turn that was kept is read back; and a second start finds a store that keeps a turn.

Anything else is a fault: another exception, an error of several lines, a row that is gone, more than DEADLINE_S seconds
of CPU (the kernel ends the process, whatever it is doing). Each database depends on the seed and its number alone:
`--only NUMBER` repeats one of them, with the traceback. Exit code 1 where there was a fault.
"""

import argparse
import os
import random
import resource
import selectors
import shutil
import sqlite3
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import BinaryIO, NoReturn, TypeVar

from qwen_core.errors import QwenError
from qwen_core.protocol.events import Message
from qwen_tui.conversation.branch import read_branch
from qwen_tui.store import Draft, Store
from qwen_tui.store.export_json import export_json
from qwen_tui.store.export_markdown import conversation_markdown

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from support.damaged_databases import (
    MODEL,
    NAME,
    Files,
    bases,
    damaged,
    opened,
)

DEADLINE_S = 10
Result = TypeVar("Result")


class Fault(Exception):
    """The store did what it must not."""


# What must come of it.


def try_store(folder: Path, chance: random.Random) -> str:
    """Open, read and write the database in the folder: "works", "is set aside" or "is refused". Raises Fault."""
    path = folder / NAME
    before, size = readable(folder), path.stat().st_size
    outcome = "is refused"
    try:
        store = opened(path)
    except QwenError as error:
        check_line(error)
    else:
        outcome = "works"
        with left(store):
            aside = check_aside(folder, store.notices, size)
            if aside:
                outcome = "is set aside"
            else:
                read_all(store)
                check_there(before, readable(folder))
            kept = allowed(lambda: keep_turn(store))
            if not aside:
                write_all(store)
        if kept is not None:
            check_kept(path, kept)
        if outcome != "works" or kept is None or chance.random() < 0.1:
            check_second_start(folder)
    return outcome


def readable(folder: Path) -> dict[int, str]:
    """What SQLite alone reads of the messages, from a copy, so that nothing is changed by looking.

    Not those of conversations that are deleted: long ago, for all one can say, and then they are purged.
    """
    found: dict[int, str] = {}
    with tempfile.TemporaryDirectory(dir=folder.parent) as copy:
        for path in folder.glob(f"{NAME}*"):
            if "damaged" not in path.name and path.is_file() and not path.name.endswith("-shm"):
                shutil.copy(path, copy)
        unreadable = suppress(sqlite3.Error, UnicodeDecodeError, OverflowError)
        with unreadable, closing(sqlite3.connect(Path(copy) / NAME)) as raw:
            raw.text_factory = lambda data: data.decode("utf-8", "replace")
            query = "SELECT m.id, content FROM messages m JOIN conversations c ON c.id = m.conversation_id "
            for number, content in raw.execute(f"{query} WHERE c.deleted_at IS NULL"):
                if isinstance(number, int) and isinstance(content, str):
                    found[number] = content
    return found


def check_line(error: QwenError) -> None:
    if not str(error) or not str(error).isprintable():
        raise Fault(f"an error of several lines: {str(error)!r}")


def check_aside(folder: Path, notices: Iterable[str], size: int) -> bool:
    kept = [path for path in folder.iterdir() if ".damaged-" in path.name and not path.name.endswith(("-wal", "-shm"))]
    if not kept:
        return False
    if not any(str(kept[0]) in notice for notice in notices):
        raise Fault("a file was set aside without a word")
    if abs(kept[0].stat().st_size - size) > 1 << 20 and kept[0].stat().st_size < size:
        raise Fault("the file that was set aside is not whole")
    return True


def check_there(before: dict[int, str], after: dict[int, str]) -> None:
    """An interrupted answer has got its parts; nothing else changes by looking."""
    for number, content in before.items():
        if not after.get(number, "").startswith(content):
            raise Fault(f"message {number} was lost: {content[:40]!r} became {after.get(number)!r:.40}")


def allowed(action: Callable[[], Result]) -> Result | None:
    """What it gives; None where it is refused by one line."""
    try:
        return action()
    except QwenError as error:
        check_line(error)
        return None


@contextmanager
def left(store: Store) -> Iterator[None]:
    """Leave the store at the end, which writes where an answer is running."""
    try:
        yield
    finally:
        allowed(store.close)


def read_all(store: Store) -> None:
    listed = allowed(lambda: [*store.conversations.listed(), *store.conversations.listed(deleted=True)]) or []
    for read in (
        store.conversations.latest, store.conversations.models, store.models.recent, store.writing.recent,
        lambda: store.writing.draft(None), lambda: store.search.find("answer"), lambda: store.search.find("中 ?"),
    ):  # fmt: skip
        allowed(read)
    for summary in listed[:4]:
        allowed(lambda summary=summary: export_json(store, [summary.id]))
        allowed(lambda summary=summary: conversation_markdown(summary, store.tree.path(summary.id)))
        allowed(lambda summary=summary: read_branch(store, summary.id, 1))


def keep_turn(store: Store, conversation: int | None = None) -> tuple[int, str]:
    conversation = store.conversations.begin() if conversation is None else conversation
    answer = store.answers.begin(store.answers.ask(conversation, "kept?"), None, MODEL)
    store.answers.prompt(answer, (1, 2, 3))
    store.answers.append(answer, [("answer", "ke")], [4])
    store.answers.finish(answer, Message("assistant", "kept"), "stop", (1, 2, 3, 4))
    return answer, "kept"


def write_all(store: Store) -> None:
    """On what was there before."""
    found = allowed(lambda: store.conversations.listed(title="question"))
    if not found:
        return
    conversation = found[0].id
    allowed(lambda: keep_turn(store, conversation))
    path = allowed(lambda: store.tree.path(conversation)) or []
    questions = [message.id for message in path if message.role == "user"]
    if len(questions) > 1:
        allowed(lambda: store.answers.edit(questions[1], "edited"))
        allowed(lambda: store.tree.show(questions[1]))
        allowed(lambda: store.tree.undo_delete(store.tree.delete_turn(questions[1])))
    allowed(lambda: store.conversations.rename(conversation, "another title"))
    allowed(lambda: store.writing.save_draft(conversation, Draft("more")))
    allowed(lambda: store.writing.remember("more"))
    allowed(lambda: store.conversations.delete(conversation))
    allowed(lambda: store.conversations.restore(conversation))


def check_kept(path: Path, kept: tuple[int, str]) -> None:
    """A turn of which it was said that it is kept is on the disk, in this file or in one that was set aside since."""
    after = readable(path.parent)
    if after.get(kept[0]) != kept[1]:
        raise Fault("a turn that was kept is not there")


def check_second_start(folder: Path) -> None:
    """Whatever was found at the first start or while it was written: after it there is a store that keeps a turn.

    Two starts: damage that shows while it is written leaves a mark, by which the next start looks at all of it.
    """
    for last in (False, True):
        store = allowed(lambda: opened(folder / NAME))
        if store is None:
            continue
        with left(store):
            if allowed(partial(keep_turn, store)) is not None:
                return
        if last:
            raise Fault("no start finds a store that keeps a turn")


# Many of them.


def try_number(seed: int, number: int, made: Sequence[Files], scratch: Path) -> str:
    chance = random.Random(f"{seed} {number}")
    with tempfile.TemporaryDirectory(dir=scratch) as name:
        folder = Path(name) / "store"
        folder.mkdir()
        damaged(chance, chance.choice(made), folder)
        return try_store(folder, chance)


class Part:
    """A process that tries some of the numbers; where one ends it, the next begins behind that one."""

    def __init__(self, seed: int, numbers: range, made: Sequence[Files], scratch: Path) -> None:
        self._seed, self._made, self._scratch = seed, made, scratch
        self._left = numbers
        self._process = 0
        self._told: BinaryIO | None = None

    def start(self) -> BinaryIO | None:
        """What is to be waited for; None where nothing is left."""
        if not self._left:
            return None
        reading, telling = os.pipe()
        self._process = os.fork()
        if self._process == 0:
            self._work(telling)
        os.close(telling)
        self._told = os.fdopen(reading, "rb", buffering=0)
        return self._told

    @property
    def has_ended(self) -> bool:
        return self._told is None or self._told.closed

    def outcome(self) -> tuple[int, str] | None:
        """The next number and what came of it; None where the process has ended."""
        assert self._told is not None
        line = self._told.readline().decode("utf-8", "replace").strip()
        if not line:
            self._told.close()
            _, status = os.waitpid(self._process, 0)
            if not self._left:
                return None
            line = f"FAULT the process was ended by signal {os.WTERMSIG(status)}"
        number, self._left = self._left[0], self._left[1:]
        return number, line

    def _work(self, telling: int) -> NoReturn:
        """The kernel ends this process at a number that takes too long."""
        for number in self._left:
            used = resource.getrusage(resource.RUSAGE_SELF)
            seconds = int(used.ru_utime + used.ru_stime) + DEADLINE_S
            resource.setrlimit(resource.RLIMIT_CPU, (seconds, resource.RLIM_INFINITY))
            try:
                outcome = try_number(self._seed, number, self._made, self._scratch)
            except Exception as error:
                place = traceback.extract_tb(error.__traceback__)[-1]
                outcome = f"FAULT {type(error).__name__}: {error} ({Path(place.filename).name}:{place.lineno})"
            os.write(telling, (outcome.replace("\n", " ")[:300] + "\n").encode("utf-8", "replace"))
        os._exit(0)


def outcomes_of(parts: Sequence[Part]) -> Iterator[tuple[int, str]]:
    """What comes of all numbers of all parts, as it comes."""
    with selectors.DefaultSelector() as waiting:

        def start(part: Part) -> None:
            told = part.start()
            if told is not None:
                waiting.register(told, selectors.EVENT_READ, part)

        for part in parts:
            start(part)
        while waiting.get_map():
            for key, _ in waiting.select():
                part: Part = key.data
                found = part.outcome()
                if found is not None:
                    yield found
                if part.has_ended:
                    waiting.unregister(key.fileobj)
                    start(part)


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--only", type=int)
    given = parser.parse_args(arguments)
    began = time.monotonic()
    outcomes: Counter[str] = Counter()
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
        scratch = Path(folder)
        made = bases(scratch)
        if given.only is not None:
            print(try_number(given.seed, given.only, made, scratch))
            return 0
        each = -(-given.count // given.processes)
        starts = range(0, given.count, each)
        parts = [Part(given.seed, range(start, min(start + each, given.count)), made, scratch) for start in starts]
        for number, outcome in outcomes_of(parts):
            is_fault = outcome.startswith("FAULT")
            outcomes["a fault" if is_fault else outcome] += 1
            if is_fault:
                print(f"{number}: {outcome}", flush=True)
    seconds = time.monotonic() - began
    figures = ", ".join(f"{count:,} {outcome}" for outcome, count in sorted(outcomes.items()))
    print(f"{given.count:,} databases in {seconds:.0f} s (seed {given.seed}): {figures}")
    return 1 if outcomes["a fault"] else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
