"""Conversations from JSON, as export_json.py writes it: untrusted, so each is checked to its last field, then added.

The file is read as a stream, of which one conversation is in memory, and a portion of those that are about to be added.
What is added is committed in portions, so that another program that writes need not wait for all of a large file. It
counts as deleted until the last portion is there: an error takes it away again, a program that is killed halfway leaves
nothing in the list, and what it left is purged like other deleted conversations.
"""

import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from typing import Any, get_args

from qwen_core.errors import quote
from qwen_core.protocol.events import FinishReason
from qwen_tui.store.conversations import clean_title
from qwen_tui.store.errors import StoreError
from qwen_tui.store.export_json import FORMAT, TEXTS, VERSION
from qwen_tui.store.json_stream import JsonStream
from qwen_tui.store.models import model_id
from qwen_tui.store.records import LATEST_MOMENT, ModelIdentity, to_json
from qwen_tui.store.store import Store
from qwen_tui.store.token_ids import MAX_ID, pack

MAX_CONVERSATIONS = 10_000
MAX_MESSAGES = 100_000
MAX_TEXT = 16 << 20
MAX_CHARACTERS = 128 << 20
MAX_MEMBERS = 100  # of the document; this program writes three
MAX_VALUES = 8_000_000
"""Of a conversation, the commas in texts included: as many tokens and words, in some 600 MB of memory."""
MAX_FIGURES = 100
PORTION = 1 << 20
"""About how many characters are written in one transaction: some tenths of a second."""
_ROW = 500  # what a message or a choice costs beside its text, in characters
_STATUS = ("complete", "interrupted", "failed")


# A piece of work in the transaction that is open; how much of a portion it was.
_Step = Callable[[sqlite3.Connection], int]


def import_json(store: Store, pieces: Iterable[str], *, portion: int = PORTION) -> list[int]:
    """Add every conversation in the text that comes in `pieces`, all or none; their new ids.

    StoreError says what is wrong with it. Whatever `pieces` raises is passed on, and then none is added either.
    """
    kept: list[int] = []  # of what is committed: an id of what was rolled back may be another program's by now
    try:
        for batch in _batches(_conversations(JsonStream(pieces, MAX_CHARACTERS, MAX_VALUES)), portion):
            before = list(kept)
            for _ in _portions(store, (step for entry in batch for step in entry.steps()), portion):
                kept[:] = before + [entry.id for entry in batch if entry.id]
        with store.database.write() as connection:
            for conversation_id in kept:
                shown = "UPDATE conversations SET deleted_at = NULL WHERE id = ?"
                if connection.execute(shown, (conversation_id,)).rowcount != 1:
                    raise StoreError("another program has removed what was imported so far")
    except BaseException:
        with suppress(StoreError):  # what cannot be removed now stays deleted, and is purged later
            for _ in _portions(store, _removal(store, kept), portion):
                pass
        raise
    return kept


def _conversations(document: JsonStream) -> Iterator["_Checked"]:
    """Those of a document, each with every field of it checked."""
    try:
        if not document.begins_with("{"):
            _object(document.value(), "it")
        told: dict[str, Any] = {}
        for member, key in enumerate(document.members()):
            if member >= MAX_MEMBERS:
                raise StoreError(f"it: expected an object of at most {MAX_MEMBERS} members")
            if key != "conversations" or not document.begins_with("["):
                value = document.value()
                if key in ("format", "version", "conversations"):
                    told[key] = value
                continue
            if {"format", "version"} <= told.keys():
                _require_export(told)
            told[key] = []
            for number, entry in enumerate(document.items(), 1):
                if number > MAX_CONVERSATIONS:
                    raise StoreError(f"{key}: expected a list of at most {MAX_CONVERSATIONS:,}")
                yield _Checked(entry, f"conversation {number}")
        document.end()
    except ValueError as error:
        raise StoreError(f"this is not JSON: {quote(error)}") from None
    _require_export(told)
    _list(told.get("conversations"), "conversations", MAX_CONVERSATIONS)


def _require_export(told: Mapping[str, Any]) -> None:
    if told.get("format") != FORMAT or told.get("version") != VERSION:
        raise StoreError(
            f"this is not a file of {FORMAT} in version {VERSION}, as qwen-tui export --format json writes it"
        )


def _batches(entries: Iterable["_Checked"], portion: int) -> Iterator[list["_Checked"]]:
    """As many at a time as make a portion: a transaction for each of thousands of short ones would take minutes."""
    batch: list[_Checked] = []
    for entry in entries:
        batch.append(entry)
        if sum(each.size for each in batch) >= portion:
            yield batch
            batch = []
    if batch:
        yield batch


def _portions(store: Store, steps: Iterable[_Step], portion: int) -> Iterator[None]:
    """Take the steps in transactions of about `portion` characters; each is on disk when it is told of."""
    remaining = iter(steps)
    step = next(remaining, None)
    while step is not None:
        began, done = time.monotonic(), 0
        with store.database.write() as connection:
            while step is not None and done < portion:
                done += step(connection)
                step = next(remaining, None)
            store.search.index(connection)
        yield
        if step is not None:
            # SQLite has no queue: another writer looks every 0.1 s whether the file is free, and must meet a gap.
            time.sleep((time.monotonic() - began) / 4)


def _removal(store: Store, conversation_ids: Iterable[int]) -> Iterator[_Step]:
    """What takes conversations away again: of each the last message first, as the others are above it."""
    for conversation_id in conversation_ids:
        query = "SELECT id FROM messages WHERE conversation_id = ? ORDER BY id DESC"
        for row in store.database.read(query, (conversation_id,)):
            yield partial(_remove, store, row["id"])
        yield partial(_remove_empty, conversation_id)


class _Checked:
    """One conversation of a file, every field of it checked."""

    def __init__(self, entry: Any, where: str) -> None:
        entry = _object(entry, where)
        self.title = clean_title(_text(entry.get("title"), f"{where}, title", 1000))
        system = entry.get("system")
        self.system = None if system is None else _text(system, f"{where}, system")
        self.created_at = _time(entry.get("created_at"), f"{where}, created_at")
        self.updated_at = _time(entry.get("updated_at"), f"{where}, updated_at")
        self.pinned = entry.get("pinned") is True
        self.model = _checked_model(entry.get("model"), f"{where}, model")
        messages = _list(entry.get("messages"), f"{where}, messages", MAX_MESSAGES)
        self.messages: list[dict[str, Any]] = []
        for number, message in enumerate(messages, 1):
            self.messages.append(self._message(message, number, f"{where}, message {number}"))
        self.shown = self._path(_list(entry.get("shown", []), f"{where}, shown", MAX_MESSAGES), where)
        self.size = _ROW + sum(map(_size, self.messages))
        self.id = 0
        self._rows: list[int] = []

    def steps(self) -> Iterator[_Step]:
        """What adds it, as a deleted one, and gives it its id."""
        yield self._begin
        for message in self.messages:
            yield partial(self._add, message)
        # Every branch leads somewhere, the shown one last so that it stands.
        chosen = {message["parent_id"] or 0: number for number, message in enumerate(self.messages, 1)}
        chosen |= {self.messages[number - 1]["parent_id"] or 0: number for number in self.shown}
        for parent, child in chosen.items():
            yield partial(self._choose, parent, child)

    def _begin(self, connection: sqlite3.Connection) -> int:
        cursor = connection.execute(
            "INSERT INTO conversations (title, system, model_id, pinned, created_at, updated_at, deleted_at) "
            "VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                self.title,
                self.system,
                model_id(connection, self.model, self.updated_at),
                int(self.pinned),
                self.created_at,
                self.updated_at,
                time.time(),
            ),
        )
        self.id = cursor.lastrowid or 0
        return _ROW + len(self.system or "")

    def _add(self, message: Mapping[str, Any], connection: sqlite3.Connection) -> int:
        values = {
            **message,
            "conversation_id": self.id,
            "parent_id": self._rows[message["parent_id"] - 1] if message["parent_id"] else None,
            "model_id": model_id(connection, message["model_id"], message["created_at"]),
        }
        columns = ", ".join(values)
        marks = ", ".join("?" * len(values))
        cursor = connection.execute(f"INSERT INTO messages ({columns}) VALUES ({marks})", tuple(values.values()))
        self._rows.append(cursor.lastrowid or 0)
        return _size(message)

    def _choose(self, parent: int, child: int, connection: sqlite3.Connection) -> int:
        row = self._rows[child - 1]
        if parent:
            connection.execute("UPDATE messages SET chosen_child = ? WHERE id = ?", (row, self._rows[parent - 1]))
        else:
            connection.execute("UPDATE conversations SET chosen_root = ? WHERE id = ?", (row, self.id))
        return _ROW

    def _message(self, entry: Any, number: int, where: str) -> dict[str, Any]:
        entry = _object(entry, where)
        role, parent = entry.get("role"), entry.get("parent")
        if role not in ("user", "assistant"):
            raise StoreError(f"{where}: the role must be user or assistant, not {quote(repr(role))}")
        if parent is not None and (isinstance(parent, bool) or not isinstance(parent, int) or not 1 <= parent < number):
            raise StoreError(f"{where}: the parent must be an earlier message or null, not {quote(repr(parent))}")
        above = self.messages[parent - 1]["role"] if parent else "assistant"
        if above == role:
            raise StoreError(f"{where}: a question follows an answer or nothing, an answer a question")
        status, reason = entry.get("status"), entry.get("finish_reason")
        if status not in _STATUS or (reason is not None and reason not in get_args(FinishReason)):
            raise StoreError(f"{where}: {quote(repr(status))} with {quote(repr(reason))} is not how a message can end")
        kept, ids, check = _ids(entry, where)
        return {
            "parent_id": parent,
            "role": role,
            **{name: _text(entry.get(name, ""), f"{where}, {name}") for name in TEXTS},
            "status": status,
            "finish_reason": reason,
            "created_at": _time(entry.get("created_at"), f"{where}, created_at"),
            "model_id": _checked_model(entry.get("model"), f"{where}, model"),
            "settings": _figures(entry.get("settings", {}), f"{where}, settings"),
            "stats": _figures(entry.get("stats", {}), f"{where}, stats"),
            "ids_kept": kept,
            "ids": ids,
            "ids_check": check,
        }

    def _path(self, shown: list[Any], where: str) -> list[int]:
        """A branch from its root on."""
        before = None
        for number in shown:
            known = isinstance(number, int) and not isinstance(number, bool) and 1 <= number <= len(self.messages)
            if not known or self.messages[number - 1]["parent_id"] != before:
                raise StoreError(f"{where}, shown: message {quote(repr(number))} does not follow {before or 'nothing'}")
            before = number
        return shown


def _size(message: Mapping[str, Any]) -> int:
    return _ROW + sum(len(message[name]) for name in TEXTS) + len(message["ids"] or b"")


def _remove(store: Store, message_id: int, connection: sqlite3.Connection) -> int:
    rows = connection.execute("SELECT content, reasoning FROM messages WHERE id = ?", (message_id,)).fetchall()
    store.search.drop(connection, message_id)
    connection.execute("DELETE FROM messages WHERE id = ?", (message_id,))
    return _ROW + sum(len(row["content"]) + len(row["reasoning"]) for row in rows)


def _remove_empty(conversation_id: int, connection: sqlite3.Connection) -> int:
    connection.execute("DELETE FROM conversations WHERE id = ?", (conversation_id,))
    return _ROW


def _ids(entry: Mapping[str, Any], where: str) -> tuple[int, bytes | None, int | None]:
    ids, kept, check = entry.get("ids"), entry.get("ids_kept", 0), entry.get("ids_check")
    if ids is None:
        return 0, None, None
    fits = isinstance(ids, list) and all(type(token) is int and 0 <= token <= MAX_ID for token in ids)
    if not fits or any(type(number) is not int or not 0 <= number <= MAX_ID for number in (kept, check)):
        raise StoreError(f"{where}, ids: token ids are whole numbers from 0 on, with ids_kept and ids_check")
    try:
        return kept, pack(ids), check
    except (ValueError, OverflowError) as error:
        raise StoreError(f"{where}, ids: {quote(error)}") from None


def _checked_model(value: Any, where: str) -> ModelIdentity | None:
    if value is None:
        return None
    value = _object(value, where)
    texts = [
        _text(value.get(name, ""), f"{where}, {name}", 10_000) for name in ("fingerprint", "path", "name", "variant")
    ]
    size = value.get("weight_bytes", 0)
    if type(size) is not int or not 0 <= size < 1 << 62:
        raise StoreError(f"{where}, weight_bytes: {quote(repr(size))} is not a number of bytes")
    return ModelIdentity(*texts, weight_bytes=size)


def _figures(value: Any, where: str) -> str:
    """Settings or statistics: short names with a number, a word or nothing."""
    value = _object(value, where)
    for name, figure in value.items():
        fits = figure is None or isinstance(figure, bool) or (isinstance(figure, str) and len(figure) <= 100)
        if not fits and isinstance(figure, int | float):
            fits = abs(figure) < 1e30
        if not fits or len(name) > 100 or len(value) > MAX_FIGURES:
            raise StoreError(f"{where}: {quote(name)} = {quote(repr(figure)[:100])} is not a number")
        _text(name, where)
        _text(figure if isinstance(figure, str) else "", where)
    return to_json(value)


def _object(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise StoreError(f"{where}: expected an object, found {type(value).__name__}")
    return value


def _list(value: Any, where: str, limit: int) -> list[Any]:
    if not isinstance(value, list) or len(value) > limit:
        raise StoreError(f"{where}: expected a list of at most {limit:,}")
    return value


def _text(value: Any, where: str, limit: int = MAX_TEXT) -> str:
    if not isinstance(value, str) or len(value) > limit or any("\ud800" <= letter <= "\udfff" for letter in value):
        raise StoreError(f"{where}: expected text of at most {limit:,} characters")
    return value


def _time(value: Any, where: str) -> float:
    # Compared before anything makes a float of it: a whole number may be too large for one. No comparison fits NaN.
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value <= LATEST_MOMENT:
        raise StoreError(f"{where}: {quote(repr(value)[:100])} is not a time in seconds since 1970")
    return float(value)
