"""The list of conversations: begin, rename, pin, delete with undo, purge, and who is in it."""

import sqlite3
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from qwen_tui.store.choices import STEP_DOWN
from qwen_tui.store.database import Database
from qwen_tui.store.errors import StoreError
from qwen_tui.store.models import COLUMNS, identity, model_id
from qwen_tui.store.records import ConversationSummary, ModelIdentity, clean, moment, plain_line
from qwen_tui.store.states import remove_state, sweep_states

MAX_TITLE = 200
UNDO_DAYS = 30
"""How long a deleted conversation can be brought back; older ones go when a program starts."""

# The questions of the shown branch, for the list: one walk down for each conversation that is listed.
_TURNS = f"""
(WITH RECURSIVE path (id, depth) AS (
    SELECT c.chosen_root, 0 WHERE c.chosen_root IS NOT NULL
    {STEP_DOWN}
) SELECT count(*) FROM path JOIN messages AS m ON m.id = path.id WHERE m.role = 'user') AS turns
"""
_INTERRUPTED = "EXISTS (SELECT 1 FROM messages AS m WHERE m.conversation_id = c.id AND m.status = 'interrupted')"


class Conversations:
    """Everything about conversations except their messages. Naming one that does not exist raises StoreError."""

    def __init__(
        self,
        database: Database,
        forget: Callable[[sqlite3.Connection], None],
        states: Path,
        now: Callable[[], float] = time.time,
    ) -> None:
        """`forget` removes from the full-text index what is no longer a message, in a transaction. `states`: the folder
        of saved states."""
        self._database = database
        self._forget = forget
        self._states = states
        self._now = now

    def begin(self, system: str | None = None, model: ModelIdentity | None = None, title: str = "") -> int:
        """A new one; its id. Without a title it takes one from its first question."""
        now = self._now()
        with self._database.write() as connection:
            cursor = connection.execute(
                "INSERT INTO conversations (title, system, model_id, created_at, updated_at) VALUES (?, ?, ?, ?, ?)",
                (
                    clean_title(title),
                    None if system is None else clean(system),
                    model_id(connection, model, now),
                    now,
                    now,
                ),
            )
        return cursor.lastrowid or 0

    def rename(self, conversation_id: int, title: str) -> None:
        """Another title. StoreError if it is empty."""
        if not clean_title(title):
            raise StoreError("a conversation needs a title")
        self._set(conversation_id, "title", clean_title(title))

    def pin(self, conversation_id: int, pinned: bool = True) -> None:
        """Pin it to the top of the list, or unpin it."""
        self._set(conversation_id, "pinned", int(pinned))

    def set_system(self, conversation_id: int, system: str | None) -> None:
        self._set(conversation_id, "system", None if system is None else clean(system))

    def delete(self, conversation_id: int) -> None:
        """Out of the list and of every search; `restore` brings it back until it is purged."""
        self._set(conversation_id, "deleted_at", self._now())
        remove_state(self._states, conversation_id)

    def restore(self, conversation_id: int) -> None:
        self._set(conversation_id, "deleted_at", None)

    def purge(self, older_than_days: float = UNDO_DAYS) -> int:
        """Really remove what was deleted longer ago; how many conversations those were."""
        before = self._now() - older_than_days * 86_400
        if not self._database.read("SELECT 1 FROM conversations WHERE deleted_at <= ? LIMIT 1", (before,)):
            return 0
        with self._database.write() as connection:
            gone = connection.execute("DELETE FROM conversations WHERE deleted_at <= ?", (before,)).rowcount
            self._forget(connection)
        return gone

    def sweep_states(self) -> None:
        """Take away saved states of conversations that are deleted or gone, and what a killed program left of one."""
        if self._states.is_dir():
            rows = self._database.read("SELECT id FROM conversations WHERE deleted_at IS NULL")
            sweep_states(self._states, {row["id"] for row in rows})

    def get(self, conversation_id: int) -> ConversationSummary:
        """One conversation, deleted or not."""
        rows = self._select("c.id = ?", (conversation_id,), "", 1)
        if not rows:
            raise StoreError(f"there is no conversation {conversation_id}")
        return rows[0]

    def latest(self) -> ConversationSummary | None:
        """The one that was used last, pinned or not."""
        return next(iter(self._select("c.deleted_at IS NULL", (), "c.updated_at DESC, c.id DESC", 1)), None)

    def listed(
        self, *, model: str | None = None, title: str = "", deleted: bool = False, limit: int = 1000, offset: int = 0
    ) -> list[ConversationSummary]:
        """Pinned ones first, then those used last. `model` is a model's name; `title` a piece of the title."""
        where = ["c.deleted_at IS NOT NULL" if deleted else "c.deleted_at IS NULL"]
        values: list[object] = []
        if model is not None:
            where.append("model.name = ?")
            values.append(clean(model))
        if title:
            escaped = clean(title).replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
            where.append("c.title LIKE ? ESCAPE '\\'")
            values.append(f"%{escaped}%")
        return self._select(" AND ".join(where), values, "c.pinned DESC, c.updated_at DESC, c.id DESC", limit, offset)

    def models(self) -> list[str]:
        """The names by which the list can be filtered."""
        rows = self._database.read(
            "SELECT DISTINCT model.name FROM conversations AS c JOIN models AS model ON model.id = c.model_id "
            "WHERE c.deleted_at IS NULL ORDER BY model.name"
        )
        return [row["name"] for row in rows]

    def _select(
        self, where: str, values: Sequence[object], order: str, limit: int, offset: int = 0
    ) -> list[ConversationSummary]:
        rows = self._database.read(
            f"SELECT c.*, {COLUMNS}, {_TURNS}, {_INTERRUPTED} AS interrupted FROM conversations AS c "
            f"LEFT JOIN models AS model ON model.id = c.model_id WHERE {where} "
            f"{f'ORDER BY {order}' if order else ''} LIMIT ? OFFSET ?",
            (*values, limit, offset),
        )
        return [
            ConversationSummary(
                id=row["id"],
                title=row["title"],
                created_at=moment(row["created_at"]),
                updated_at=moment(row["updated_at"]),
                pinned=bool(row["pinned"]),
                deleted_at=row["deleted_at"],
                system=row["system"],
                model=identity(row),
                turns=row["turns"],
                interrupted=bool(row["interrupted"]),
            )
            for row in rows
        ]

    def _set(self, conversation_id: int, column: str, value: object) -> None:
        with self._database.write() as connection:
            _one(connection.execute(f"UPDATE conversations SET {column} = ? WHERE id = ?", (value, conversation_id)))


def _one(cursor: sqlite3.Cursor) -> None:
    if cursor.rowcount != 1:
        raise StoreError("there is no such conversation (any more)")


def clean_title(text: str) -> str:
    """`text` as the title of a conversation."""
    return plain_line(text)[:MAX_TITLE].rstrip()
