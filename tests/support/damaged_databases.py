"""Databases of conversations as they lie there, and many ways to damage one: for tests/tools/fuzz_databases.py."""

import itertools
import random
import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

from qwen_core.protocol.events import GenerationSettings, Message
from qwen_tui.store import Draft, ModelIdentity, Store, open_store

NAME = "conversations.db"
MODEL = ModelIdentity("f" * 32, "/models/demo", "demo", "q4", 1000)
ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"
ENDINGS = ("", "-wal", "-journal")
Files = dict[str, bytes]


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
TABLES = (
    *("models", "conversations", "messages", "parts", "drafts", "inputs", "probabilities", "timelines"),
    *("search", "search_data", "search_idx"),
)
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
