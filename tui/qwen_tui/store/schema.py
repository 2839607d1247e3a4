"""The tables, as numbered migrations. A migration that was ever released is never changed: a new one is added.

`user_version` is the number of the last one applied, `application_id` says whose file it is. The full-text table is
no part of this: it is made where SQLite can (search.py), and may be made again from the messages at any time.
"""

import sqlite3
from collections.abc import Collection
from contextlib import closing
from functools import cache

APPLICATION_ID = 0x7177656E  # "qwen"

# Messages form a tree: alternatives (an edited question, another answer) share a parent. `chosen_child` and
# `chosen_root` say which branch is shown. `ids_kept` and `ids` tell the tokens that the engine had been fed when an
# answer ended: the first `ids_kept` of those of the nearest answer above that has any, then `ids`; `ids_check` is the
# checksum of them all, as the answer above may have gone on since.
#
# The parent is checked at the end of a transaction and deletes nothing by itself: cascading along a conversation of a
# thousand messages is more than SQLite nests.
_FIRST = """
CREATE TABLE models (
    id INTEGER PRIMARY KEY,
    fingerprint TEXT NOT NULL,
    path TEXT NOT NULL,
    name TEXT NOT NULL,
    variant TEXT NOT NULL,
    weight_bytes INTEGER NOT NULL,
    used_at REAL NOT NULL,
    UNIQUE (fingerprint, path)
);
CREATE TABLE conversations (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    title TEXT NOT NULL DEFAULT '',
    system TEXT,
    model_id INTEGER REFERENCES models (id),
    chosen_root INTEGER REFERENCES messages (id) ON DELETE SET NULL,
    pinned INTEGER NOT NULL DEFAULT 0 CHECK (pinned IN (0, 1)),
    created_at REAL NOT NULL,
    updated_at REAL NOT NULL,
    deleted_at REAL
);
CREATE INDEX conversations_by_time ON conversations (updated_at);
CREATE INDEX conversations_by_root ON conversations (chosen_root);
CREATE TABLE messages (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    conversation_id INTEGER NOT NULL REFERENCES conversations (id) ON DELETE CASCADE,
    parent_id INTEGER REFERENCES messages (id) DEFERRABLE INITIALLY DEFERRED,
    chosen_child INTEGER REFERENCES messages (id) ON DELETE SET NULL,
    role TEXT NOT NULL CHECK (role IN ('user', 'assistant')),
    content TEXT NOT NULL DEFAULT '',
    reasoning TEXT NOT NULL DEFAULT '',
    tool_calls TEXT NOT NULL DEFAULT '',
    status TEXT NOT NULL DEFAULT 'complete' CHECK (status IN ('complete', 'running', 'interrupted', 'failed')),
    finish_reason TEXT,
    error TEXT NOT NULL DEFAULT '',
    ids_kept INTEGER NOT NULL DEFAULT 0,
    ids BLOB,
    ids_check INTEGER,
    settings TEXT NOT NULL DEFAULT '{}',
    stats TEXT NOT NULL DEFAULT '{}',
    model_id INTEGER REFERENCES models (id),
    writer TEXT NOT NULL DEFAULT '',
    created_at REAL NOT NULL,
    deleted_at REAL,
    indexed INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX messages_by_conversation ON messages (conversation_id);
CREATE INDEX messages_by_parent ON messages (parent_id);
CREATE INDEX messages_by_choice ON messages (chosen_child);
CREATE INDEX messages_running ON messages (writer) WHERE status = 'running';
CREATE INDEX messages_to_index ON messages (id) WHERE indexed = 0;
CREATE TABLE parts (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    message_id INTEGER NOT NULL REFERENCES messages (id) ON DELETE CASCADE,
    content TEXT NOT NULL,
    reasoning TEXT NOT NULL,
    tool_calls TEXT NOT NULL,
    ids BLOB
);
CREATE INDEX parts_by_message ON parts (message_id);
CREATE TABLE drafts (
    conversation_id INTEGER UNIQUE REFERENCES conversations (id) ON DELETE CASCADE,
    text TEXT NOT NULL,
    pastes TEXT NOT NULL DEFAULT '{}'
);
CREATE TABLE inputs (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    text TEXT NOT NULL,
    created_at REAL NOT NULL
);
"""

# What the person wrote, where the model got more (the text of attached files below it); '' where it is `content`.
_SHOWN = "ALTER TABLE messages ADD COLUMN shown TEXT NOT NULL DEFAULT '';\n"

# How sure a model was of each token of an answer, as probabilities.py packs it; none of answers of earlier versions.
_PROBABILITIES = """
CREATE TABLE probabilities (
    message_id INTEGER PRIMARY KEY REFERENCES messages (id) ON DELETE CASCADE,
    model_id INTEGER REFERENCES models (id),
    packed BLOB NOT NULL
);
"""

# When the tokens of each answer came, as timelines.py packs it.
_TIMELINES = """
CREATE TABLE timelines (
    message_id INTEGER PRIMARY KEY REFERENCES messages (id) ON DELETE CASCADE,
    packed BLOB NOT NULL
);
"""

MIGRATIONS: tuple[str, ...] = (_FIRST, _SHOWN, _PROBABILITIES, _TIMELINES)
LATEST = len(MIGRATIONS)
# What SQLite makes by itself, with the texts that it gives them: a check or a default put in there would run.
_SEARCH_TEXTS = {
    "search_data": "CREATE TABLE 'search_data'(id INTEGER PRIMARY KEY, block BLOB)",
    "search_idx": "CREATE TABLE 'search_idx'(segid, term, pgno, PRIMARY KEY(segid, term)) WITHOUT ROWID",
    "search_content": "CREATE TABLE 'search_content'(id INTEGER PRIMARY KEY, c0, c1)",
    "search_docsize": "CREATE TABLE 'search_docsize'(id INTEGER PRIMARY KEY, sz BLOB)",
    "search_config": "CREATE TABLE 'search_config'(k PRIMARY KEY, v) WITHOUT ROWID",
}
_OWN_TEXTS = {
    "sqlite_sequence": "CREATE TABLE sqlite_sequence(name,seq)",
    "sqlite_stat1": "CREATE TABLE sqlite_stat1(tbl,idx,stat)",
    "sqlite_stat4": "CREATE TABLE sqlite_stat4(tbl,idx,neq,nlt,ndlt,sample)",
    **_SEARCH_TEXTS,
}
SEARCH_TABLES = tuple(_SEARCH_TEXTS)


def version_of(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def migrate(connection: sqlite3.Connection) -> None:
    """Apply what is missing, all of it or nothing. Of two programs that begin together, one does it."""
    if version_of(connection) >= LATEST:
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        _apply(connection, MIGRATIONS[version_of(connection) :])
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {LATEST}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _apply(connection: sqlite3.Connection, scripts: tuple[str, ...]) -> None:
    for script in scripts:
        for statement in script.split(";\n"):
            if statement.strip():
                connection.execute(statement)


_PARTS = """
SELECT type, name, sql FROM sqlite_schema
WHERE NOT (type = 'index' AND name LIKE 'sqlite\\_autoindex\\_%' ESCAPE '\\' AND sql IS NULL)
"""


def strange_part(connection: sqlite3.Connection) -> str:
    """What in the file is not as this program made it, for people; "" where all of it is.

    A view or a trigger that someone put there would run, without end maybe, whenever a table is read or written.
    """
    rows = connection.execute(_PARTS)
    found = {(str(row[0]), str(row[1]), str(row[2])) for row in rows if not _is_sqlites(row)}
    own = _own(MIGRATIONS[: version_of(connection)])
    if found == own:
        return ""
    kind, name, _ = min(found - own or own - found)
    return f"its {kind} {name} is not as this program makes it"


def _is_sqlites(row: sqlite3.Row) -> bool:
    """What SQLite makes by itself, and the full-text table. A trigger may bear a name like these."""
    if row[1] == "search":
        return row[0] == "table" and str(row[2]).startswith("CREATE VIRTUAL TABLE search USING fts5(")
    return row[0] == "table" and row[1] in _OWN_TEXTS and row[2] == _OWN_TEXTS[row[1]]


@cache
def _own(scripts: tuple[str, ...]) -> set[tuple[str, str, str]]:
    with closing(sqlite3.connect(":memory:")) as connection:
        _apply(connection, scripts)
        rows = connection.execute(_PARTS)
        return {(row[0], row[1], row[2]) for row in rows if not _is_sqlites(row)}


_MOST = 1 << 62  # of a number that SQLite gives
_NUMBERED = ("conversations", "messages", "parts", "inputs")
_TYPES = {"TEXT": "'text'", "INTEGER": "'integer'", "REAL": "'real', 'integer'", "BLOB": "'blob'"}


def strange_value(connection: sqlite3.Connection) -> str:
    """Where a column holds what its type does not say, "" for nowhere: SQLite keeps anything anywhere."""
    tables = [row[0] for row in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]
    for table in tables:
        if table.startswith(("sqlite_", "search")):
            continue
        columns = connection.execute(f"PRAGMA table_info({table})").fetchall()
        wrong = " OR ".join(f"typeof({row[1]}) NOT IN ({_TYPES[row[2]]}, 'null')" for row in columns)
        if connection.execute(f"SELECT 1 FROM {table} WHERE {wrong} LIMIT 1").fetchone():
            return f"its table {table} holds values of other types"
    return "its numbers have run out" if _has_run_out(connection, tables) else ""


def _has_run_out(connection: sqlite3.Connection, tables: Collection[str]) -> bool:
    """Whether a table can give no new row a number any more: SQLite would say that the disk is full."""
    numbers = [f"SELECT id FROM {table}" for table in _NUMBERED if table in tables]
    numbers += ["SELECT seq FROM sqlite_sequence"] if "sqlite_sequence" in tables else []
    # Text and bytes are more than any number.
    return any(connection.execute(f"{query} WHERE {query.split()[1]} >= {_MOST}").fetchone() for query in numbers)
