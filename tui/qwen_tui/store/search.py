"""Searching the text of all conversations: FTS5 where SQLite has it, else every message is looked at.

Every word of a query must occur, as the beginning of a word or more. Scripts without spaces between words are indexed
character by character, so that any piece of a Chinese sentence is found. Signs, of which an index knows nothing, are
looked for in the text itself.

The index can be made from the messages at any time: one that is broken is, whenever that shows.
"""

import re
import sqlite3
from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Literal

from qwen_tui.store.database import Database
from qwen_tui.store.errors import StoreError
from qwen_tui.store.records import Hit, clean, moment
from qwen_tui.store.schema import SEARCH_TABLES

MAX_QUERY = 500
MAX_TERMS = 16
AROUND = 60
"""Characters of context on each side of a hit, where it is cut here and not by SQLite."""
SNIPPET_TOKENS = 24
COPIES = 3
"""Of a message that are looked for, so that what is found is still as much as was asked for."""
_TABLE = "CREATE VIRTUAL TABLE search USING fts5(content, reasoning, tokenize = 'unicode61')"
_OPEN, _CLOSE, _GAP = "\x02", "\x03", "\u200b"
# Han, Kana, Thai, Lao, Khmer, Myanmar, and the planes of rarer Han characters.
_UNSPACED = re.compile(
    "([\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2e80-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9d"
    "\U00020000-\U0003ffff])"
)
_SIGN = re.compile(r"[^\w\s]|_")


def segmented(text: str) -> str:
    """`text` with an invisible gap around each character of a script without spaces, so that each is a word."""
    return _UNSPACED.sub(f"{_GAP}\\1{_GAP}", text)


class Search:
    """Finds messages, and keeps the index that this needs."""

    def __init__(self, database: Database, *, full_text: bool = True) -> None:
        """`full_text` off does without FTS5 even where it is there."""
        self._database = database
        self.full_text = full_text and self._make_table()

    def find(self, query: str, *, model: str | None = None, limit: int = 50) -> list[Hit]:
        """The messages that hold every word of `query`, the best first; none for a query without a word.

        Of a message and its copies in other places the newest counts.
        """
        terms = [term for term in clean(query)[:MAX_QUERY].replace("\0", " ").split() if term][:MAX_TERMS]
        if not terms:
            return []
        indexed = [term for term in terms if re.search(r"[^\W_]", term)] if self.full_text else []
        scanned = [term for term in terms if not self.full_text or _SIGN.search(term)]
        where = ["c.deleted_at IS NULL", "m.deleted_at IS NULL"]
        values: list[object] = []
        source = "messages AS m"
        columns, order = "NULL AS content_hit, NULL AS reasoning_hit", "m.id DESC"
        if indexed:
            source = "search JOIN messages AS m ON m.id = search.rowid"
            where.append("search MATCH ?")
            values.append(" ".join(_phrase(term) for term in indexed))
            hit = f"snippet(search, {{}}, '{_OPEN}', '{_CLOSE}', '…', {SNIPPET_TOKENS})"
            columns = f"{hit.format(0)} AS content_hit, {hit.format(1)} AS reasoning_hit"
            order = "bm25(search, 1.0, 0.3), m.id DESC"
        patterns = [re.compile(re.escape(term), re.IGNORECASE) for term in scanned]
        if patterns:
            self._database.function("holds_all", 2, lambda *texts: _holds_all(patterns, texts))
            where.append("holds_all(m.content, m.reasoning)")
        if model is not None:
            where.append("model.name = ?")
            values.append(clean(model))
        rows = self._found(
            "SELECT m.id, m.conversation_id, m.role, m.content, m.reasoning, m.created_at, c.title, "
            f"{columns} FROM {source} JOIN conversations AS c ON c.id = m.conversation_id "
            "LEFT JOIN models AS model ON model.id = c.model_id "
            f"WHERE {' AND '.join(where)} ORDER BY {order} LIMIT ?",
            (*values, COPIES * limit),
        )
        once = {(row["created_at"], row["role"], row["content"]): row for row in sorted(rows, key=itemgetter("id"))}
        kept = {row["id"] for row in once.values()}
        return [_hit(row, patterns) for row in rows if row["id"] in kept][:limit]

    def index(self, connection: sqlite3.Connection) -> None:
        """Bring the index up to what the messages say, in the transaction that is open."""
        if self.full_text:
            _mended(connection, lambda: _index(connection))

    def catch_up(self) -> None:
        """Index what a program without FTS5 has written."""
        if self.full_text and self._database.read("SELECT 1 FROM messages WHERE indexed = 0 LIMIT 1"):
            with self._database.write() as connection:
                self.index(connection)

    def forget(self, connection: sqlite3.Connection) -> None:
        """Remove from the index what is no longer a message, in the transaction that is open."""
        if self.full_text:
            gone = "DELETE FROM search WHERE rowid NOT IN (SELECT id FROM messages)"
            _mended(connection, lambda: connection.execute(gone))

    def drop(self, connection: sqlite3.Connection, message_id: int) -> None:
        """Take one message out of the index, in the transaction that is open."""
        if self.full_text:
            _mended(connection, lambda: connection.execute("DELETE FROM search WHERE rowid = ?", (message_id,)))

    def _found(self, query: str, values: Sequence[object]) -> list[sqlite3.Row]:
        try:
            return self._database.read(query, values)
        except StoreError as error:
            if not _is_broken(error.__cause__):
                raise
            with self._database.write() as connection:
                _make_anew(connection)
                _index(connection)
            return self._database.read(query, values)

    def _make_table(self) -> bool:
        options = [row[0] for row in self._database.read("SELECT name FROM pragma_module_list WHERE name = 'fts5'")]
        if not options:
            return False
        if [row[0] for row in self._database.read("SELECT sql FROM sqlite_schema WHERE name = 'search'")] != [_TABLE]:
            with self._database.write() as connection:
                _make_anew(connection)
        return True


def _index(connection: sqlite3.Connection) -> None:
    rows = connection.execute("SELECT id, content, reasoning FROM messages WHERE indexed = 0").fetchall()
    for row in rows:
        connection.execute("DELETE FROM search WHERE rowid = ?", (row["id"],))
        connection.execute(
            "INSERT INTO search (rowid, content, reasoning) VALUES (?, ?, ?)",
            (row["id"], segmented(row["content"]), segmented(row["reasoning"])),
        )
    connection.execute("UPDATE messages SET indexed = 1 WHERE indexed = 0")


def _mended(connection: sqlite3.Connection, action: Callable[[], object]) -> None:
    """Do `action`; where the index is broken, with one that is made anew. It must never keep a turn from being kept."""
    connection.execute("SAVEPOINT full_text")
    try:
        action()
        connection.execute("RELEASE full_text")  # only here does FTS5 write, not at the end of the transaction
    except sqlite3.DatabaseError as error:
        if not _is_broken(error):
            raise
        connection.execute("ROLLBACK TO full_text")
        connection.execute("RELEASE full_text")
        _make_anew(connection)
        _index(connection)


def _is_broken(error: BaseException | None) -> bool:
    """Whether this is about the index and not about the file: its tables contradict each other, or are others."""
    code = getattr(error, "sqlite_errorcode", 0)
    return code == sqlite3.SQLITE_CORRUPT_VTAB or code & 0xFF in (sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CONSTRAINT)


def _make_anew(connection: sqlite3.Connection) -> None:
    """An empty index, into which every message is to go."""
    try:
        connection.execute("DROP TABLE IF EXISTS search")
    except sqlite3.DatabaseError:  # FTS5 does not even open it
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute("DELETE FROM sqlite_schema WHERE name = 'search'")
        connection.execute("PRAGMA writable_schema = RESET")
    for name in SEARCH_TABLES:
        connection.execute(f"DROP TABLE IF EXISTS {name}")
    connection.execute(_TABLE)
    connection.execute("UPDATE messages SET indexed = 0 WHERE indexed")


def _phrase(term: str) -> str:
    """A term as FTS5 takes it: a phrase, so that nothing in it is an operator, of which the last word may go on."""
    return '"' + segmented(term).replace('"', " ") + '" *'


def _holds_all(patterns: Sequence[re.Pattern[str]], texts: Sequence[str]) -> bool:
    return all(any(pattern.search(text) for text in texts) for pattern in patterns)


def _hit(row: sqlite3.Row, patterns: Sequence[re.Pattern[str]]) -> Hit:
    part: Literal["content", "reasoning"] = "content"
    marked = row["content_hit"]
    if marked is not None:
        if _OPEN not in marked and _OPEN in (row["reasoning_hit"] or ""):
            part, marked = "reasoning", row["reasoning_hit"]
        snippet = _pieces(marked)
    else:
        if not any(pattern.search(row["content"]) for pattern in patterns):
            part = "reasoning"
        snippet = excerpt(row[part], patterns)
    return Hit(row["conversation_id"], row["title"], row["id"], row["role"], part, snippet, moment(row["created_at"]))


def _pieces(marked: str) -> tuple[tuple[str, bool], ...]:
    """SQLite's snippet as pieces, without the gaps that the index has."""
    pieces: list[tuple[str, bool]] = []
    for number, run in enumerate(re.split(f"[{_OPEN}{_CLOSE}]", marked.replace(_GAP, ""))):
        found = number % 2 == 1
        if run and pieces and pieces[-1][1] == found:
            pieces[-1] = (pieces[-1][0] + run, found)
        elif run:
            pieces.append((run, found))
    return tuple(pieces)


def excerpt(text: str, patterns: Sequence[re.Pattern[str]], around: int = AROUND) -> tuple[tuple[str, bool], ...]:
    """The text around the first hit of any pattern, every hit in it marked."""
    first = min((match.start() for pattern in patterns if (match := pattern.search(text))), default=0)
    begin, end = max(0, first - around), min(len(text), first + 2 * around)
    marks = [False] * (end - begin)
    for pattern in patterns:
        for match in pattern.finditer(text, begin, end):
            for place in range(match.start() - begin, match.end() - begin):
                marks[place] = True
    pieces: list[tuple[str, bool]] = [("…", False)] if begin else []
    for character, found in zip(text[begin:end], marks, strict=True):
        if pieces and pieces[-1][1] == found:
            pieces[-1] = (pieces[-1][0] + character, found)
        else:
            pieces.append((character, found))
    return tuple([*pieces, ("…", False)] if end < len(text) else pieces)
