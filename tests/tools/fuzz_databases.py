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
import itertools
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
from qwen_core.protocol.events import GenerationSettings, Message
from qwen_tui.conversation.branch import read_branch
from qwen_tui.store import Draft, ModelIdentity, Store, open_store
from qwen_tui.store.export_json import export_json
from qwen_tui.store.export_markdown import conversation_markdown

DEADLINE_S = 10
NAME = "conversations.db"
MODEL = ModelIdentity("f" * 32, "/models/demo", "demo", "q4", 1000)
ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"
ENDINGS = ("", "-wal", "-journal")
Result = TypeVar("Result")
Files = dict[str, bytes]


class Fault(Exception):
    """The store did what it must not."""


# The databases before they are damaged.


def bases(folder: Path) -> list[Files]:
    """Databases as they lie there after a program that ended, and after one that was killed."""
    made: list[Files] = []
    for page_size in (512, 4096):
        path = folder / str(page_size) / NAME
        path.parent.mkdir()
        with closing(sqlite3.connect(path)) as raw:
            raw.execute(f"PRAGMA page_size = {page_size}")
            raw.execute("VACUUM")
        store = opened(path)
        lived(store)
        store.close()
        made.append(read_files(path))
        store = opened(path)
        question = store.answers.ask(1, "and now?")
        store.answers.append(store.answers.begin(question, None, MODEL), [("answer", "half an ")], [7])
        made.append(read_files(path))
        store.close()
    return made


def lived(store: Store) -> None:
    conversation = store.conversations.begin("be brief", MODEL)
    ids: tuple[int, ...] = ()
    for number in range(4):
        question = store.answers.ask(conversation, f"question {number}, précisément? 中文", "shown" if number else "")
        answer = store.answers.begin(question, GenerationSettings(seed=7), MODEL)
        ids = (*ids, *range(10 * number, 10 * number + 5))
        store.answers.finish(answer, Message("assistant", f"answer {number} " * 40, "thought"), "stop", ids)
    edited = store.answers.edit(store.tree.path(conversation)[2].id, "another wording")
    store.answers.finish(store.answers.begin(edited), Message("assistant", "another answer"), "length", (1, 2))
    store.tree.delete_turn(store.answers.ask(conversation, "to be deleted"))
    store.writing.save_draft(conversation, Draft("a draft", {1: "pasted"}))
    store.writing.remember("an input")
    other = store.conversations.begin(title="other")
    store.answers.ask(other, "unanswered")
    store.conversations.delete(store.conversations.begin(title="deleted"))


def opened(path: Path) -> Store:
    ticks = itertools.count(1_700_000_000)
    store = open_store(path, now=lambda: float(next(ticks)))
    store.database.read("PRAGMA synchronous = OFF")  # no plug is pulled here
    return store


def read_files(path: Path) -> Files:
    return {end: Path(f"{path}{end}").read_bytes() for end in ENDINGS if Path(f"{path}{end}").exists()}


def write_files(path: Path, files: Files) -> None:
    for end, content in files.items():
        Path(f"{path}{end}").write_bytes(content)


# Damage.


def flip_bytes(chance: random.Random, content: bytearray) -> None:
    for _ in range(chance.choice((1, 1, 2, 8, 64))):
        content[chance.randrange(len(content))] = chance.randrange(256)


def flip_header(chance: random.Random, content: bytearray) -> None:
    content[chance.randrange(min(100, len(content)))] = chance.choice((0, 1, 2, 255, chance.randrange(256)))


def overwrite(chance: random.Random, content: bytearray) -> None:
    place, length = chance.randrange(len(content)), chance.choice((4, 40, 512, 4096))
    content[place : place + length] = chance.choice((b"\0", b"\xff", b"\xa5")) * len(content[place : place + length])


def cut(chance: random.Random, content: bytearray) -> None:
    page = chance.choice((1, 512, 4096))
    del content[chance.randrange(len(content)) // page * page :]


def move_page(chance: random.Random, content: bytearray) -> None:
    """One page over another, or two that change places."""
    page = int.from_bytes(content[16:18], "big")
    page = page if page in (512, 4096) else 512
    one, other = (chance.randrange(max(1, len(content) // page)) * page for _ in range(2))
    first, second = bytes(content[one : one + page]), bytes(content[other : other + page])
    content[one : one + page] = second
    if chance.random() < 0.5:
        content[other : other + page] = first


def change_number(chance: random.Random, content: bytearray) -> None:
    """A number of two or four bytes in the head of a page: pointers, counts, places of cells."""
    page = chance.choice((512, 4096))
    place = chance.randrange(max(1, len(content) // page)) * page + chance.randrange(24)
    width = chance.choice((2, 4))
    value = chance.choice((0, 1, 2, 7, 0xFFFF, len(content) // page, chance.randrange(1 << 16)))
    content[place : place + width] = value.to_bytes(width, "big")[: len(content[place : place + width])]


BYTES: tuple[Callable[[random.Random, bytearray], None], ...] = (
    flip_bytes, flip_bytes, flip_header, overwrite, cut, move_page, change_number,
)  # fmt: skip
TABLES = ("models", "conversations", "messages", "parts", "drafts", "inputs", "search", "search_data", "search_idx")
COLUMNS = (
    "id", "conversation_id", "parent_id", "chosen_child", "chosen_root", "role", "content", "reasoning", "tool_calls",
    "status", "finish_reason", "error", "ids_kept", "ids", "ids_check", "settings", "stats", "model_id", "writer",
    "created_at", "deleted_at", "indexed", "shown", "title", "system", "pinned", "updated_at", "text", "pastes",
    "fingerprint", "path", "name", "weight_bytes", "used_at", "message_id", "block", "segid",
)  # fmt: skip
VALUES = (
    "NULL", "0", "-1", "1", "2", "9223372036854775807", "-9223372036854775808", "1e308", "9e999", "0.5", "''", "'x'",
    "'1'", "x''", "x'00ff'", "x'0178'", "x'01789c030000000001'", "char(0)", "char(27, 91, 50, 74)", "char(55296)",
    "zeroblob(100000)", "hex(zeroblob(200000))", "CAST(x'ff80c0' AS TEXT)", "'{\"a\":' || '1}'", "'{}'", "'[]'",
    "replace(hex(zeroblob(5000)), '00', '[')", "'../../x'", "'user'", "'running'", "id", "id + 1", "rowid", "random()",
    "'{\"reasoning_tokens_before\": 1e400}'", "'{\"prompt_tokens\": {}}'", "'{\"draft\": {\"kind\": 1}}'",
)  # fmt: skip
EXTRAS = (
    f"CREATE VIEW v AS {ENDLESS}",
    f"CREATE TRIGGER t AFTER INSERT ON messages BEGIN {ENDLESS}; END",
    "CREATE TRIGGER t AFTER INSERT ON inputs BEGIN DELETE FROM messages; END",
    "CREATE TRIGGER t BEFORE UPDATE ON messages BEGIN SELECT raise(IGNORE); END",
    "CREATE TRIGGER t AFTER DELETE ON parts BEGIN DELETE FROM conversations; END",
    "CREATE TABLE extra (a, b CHECK (a > b))",
    "CREATE UNIQUE INDEX i ON messages (role)",
    "CREATE INDEX i ON messages (abs(id))",
    "DROP TABLE search",
    "DROP TABLE parts",
    "DROP INDEX messages_by_parent",
    "ALTER TABLE messages DROP COLUMN shown",
    "ALTER TABLE messages RENAME COLUMN content TO contents",
    "ALTER TABLE conversations ADD COLUMN more TEXT DEFAULT 'x'",
    "ALTER TABLE inputs RENAME TO input",
    "DELETE FROM sqlite_sequence",
    "UPDATE sqlite_sequence SET seq = 9223372036854775807",
    "DELETE FROM search_data",
    "DELETE FROM search_docsize",
    "DELETE FROM search_config",
    "DELETE FROM conversations",
    "DELETE FROM models",
    "PRAGMA user_version = 0",
    "PRAGMA user_version = 1",
    "PRAGMA user_version = 99",
    "PRAGMA application_id = 0",
    "PRAGMA auto_vacuum = FULL",
    "PRAGMA encoding = 'UTF-16'",
    "PRAGMA journal_mode = DELETE",
    "VACUUM",
    "REINDEX",
)
SCHEMA_WORDS = (
    ("TEXT", "INTEGER"), ("INTEGER", "BLOB"), ("NOT NULL", ""), ("PRIMARY KEY", ""), ("CHECK", "UNIQUE CHECK"),
    ("DEFAULT ''", f"DEFAULT (({ENDLESS}))"), ("DEFAULT 0", "DEFAULT (abs(-9223372036854775808))"),
    ("content", "contents"), ("REFERENCES messages", "REFERENCES nowhere"), ("CREATE TABLE", "CREATE VIEW"),
    ("(", "(("),
    ("AUTOINCREMENT", ""), ("ON DELETE CASCADE", "ON DELETE SET NULL"), ("fts5(", "fts5(more, "), ("fts5", "fts3"),
    ("unicode61", "porter"), ("content, reasoning,", "content, reasoning, content='messages',"),
    ("status IN", "content IN"), ("WHERE", "WHERE NOT"), ("id INTEGER", "id INTEGER GENERATED ALWAYS AS (1)"),
)  # fmt: skip


def damage_by_sql(chance: random.Random, path: Path) -> None:
    """What someone with a database editor could do. What SQLite refuses is not done."""
    with closing(sqlite3.connect(path, isolation_level=None)) as raw, suppress(sqlite3.Error, UnicodeDecodeError):
        raw.execute("PRAGMA synchronous = OFF")
        raw.execute("PRAGMA ignore_check_constraints = ON")
        kind = chance.random()
        if kind < 0.5:
            for _ in range(chance.choice((1, 1, 3))):
                table, column, value = chance.choice(TABLES), chance.choice(COLUMNS), chance.choice(VALUES)
                where = chance.choice(("", "", " WHERE rowid = 1", " WHERE rowid % 2", " WHERE rowid > 5"))
                with suppress(sqlite3.Error):
                    raw.execute(f"UPDATE OR IGNORE {table} SET {column} = {value}{where}")
        elif kind < 0.6:  # a circle, or a branch that joins another one
            with suppress(sqlite3.Error):
                one, other = chance.randrange(1, 13), chance.randrange(1, 13)
                column = chance.choice(("parent_id", "chosen_child"))
                raw.execute(f"UPDATE messages SET {column} = ? WHERE id = ?", (one, other))
                raw.execute(f"UPDATE messages SET {column} = ? WHERE id = ?", (other, one))
        elif kind < 0.8:
            for _ in range(chance.choice((1, 1, 2))):
                with suppress(sqlite3.Error):
                    raw.execute(chance.choice(EXTRAS))
        else:
            raw.execute("PRAGMA writable_schema = ON")
            old, new = chance.choice(SCHEMA_WORDS)
            name = chance.choice((*TABLES, "messages_by_parent", "messages_running"))
            raw.execute("UPDATE sqlite_schema SET sql = replace(sql, ?, ?) WHERE name = ?", (old, new, name))
            if chance.random() < 0.3:
                column, value = chance.choice(("rootpage", "type", "name", "tbl_name")), chance.choice(VALUES[:12])
                raw.execute(f"UPDATE sqlite_schema SET {column} = {value} WHERE name = ?", (name,))


def damaged(chance: random.Random, base: Files, folder: Path) -> None:
    """Put a damaged copy of `base` into the folder."""
    path = folder / NAME
    write_files(path, base)
    for _ in range(chance.choice((1, 1, 1, 2, 3))):
        if chance.random() < 0.45:
            damage_by_sql(chance, path)
            continue
        files = read_files(path)
        end = chance.choice([end for end, content in files.items() if content] or [""])
        content = bytearray(files[end])
        if content:
            chance.choice(BYTES)(chance, content)
            Path(f"{path}{end}").write_bytes(content)
    if chance.random() < 0.06:  # a file beside it that is another one's
        end, size = chance.choice(("-wal", "-journal", "-shm")), chance.choice((0, 1, 32, 4096, 40_000))
        other = chance.choice((chance.randbytes(size), b"\xd9\xd5\x05\xf9\x20\xa1\x63\xd7" + chance.randbytes(size)))
        Path(f"{path}{end}").write_bytes(other)


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
