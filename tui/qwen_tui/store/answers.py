"""Writing turns: a question, an answer that grows on disk while it streams, and how it ended.

What a running answer has said lies in rows of its own (`parts`), so that keeping more of it costs what is new and not
what is there. They become the answer's text when it ends; or when a later start finds that its program has gone, and
then the answer is marked as interrupted.
"""

import sqlite3
import time
from array import array
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal

from qwen_core.protocol.events import FinishReason, GenerationSettings, Message
from qwen_core.protocol.pieces import Part
from qwen_core.protocol.stats import TurnStats
from qwen_tui.store.database import Database
from qwen_tui.store.errors import StoreError
from qwen_tui.store.models import model_id
from qwen_tui.store.process_locks import is_gone
from qwen_tui.store.records import (
    ModelIdentity,
    clean,
    settings_json,
    stats_json,
    title_from,
)
from qwen_tui.store.token_ids import checksum, pack, unpack
from qwen_tui.store.tree import Tree

Indexer = Callable[[sqlite3.Connection], None]
_COLUMNS: Mapping[Part, int] = {"answer": 0, "reasoning": 1, "tool_call": 2}


class Answers:
    """Turns as they happen. Each method is one transaction that is on disk when it returns.

    A turn that begins in a deleted conversation brings it back: nobody would see what is said there, until it is
    purged.
    """

    def __init__(
        self,
        database: Database,
        tree: Tree,
        index: Indexer,
        writer: str,
        now: Callable[[], float] = time.time,
    ) -> None:
        """`index` brings the full text up to date in a transaction; `writer` is this program's name for others."""
        self._database = database
        self._tree = tree
        self._index = index
        self._writer = writer
        self._now = now

    def ask(
        self, conversation_id: int, text: str, shown: str = "", *, after: int | Literal["end"] | None = "end"
    ) -> int:
        """A question at the end of the shown branch; its id. The first one gives the conversation its title.

        `shown`: what the person wrote, where that is less than the `text` that the model gets. `after`: the answer
        that the model saw last (None: nothing), as another program may have gone on with the branch meanwhile.
        """
        with self._database.write() as connection:
            parent_id = self._tree.place_after(connection, conversation_id, after)
            return self._question(connection, conversation_id, parent_id, text, shown)

    def edit(self, question_id: int, text: str, shown: str = "") -> int:
        """Another wording of an earlier question, as an alternative to it that is shown from now on; its id."""
        question = self._tree.message(question_id)
        if question.role != "user":
            raise StoreError("only a question can be edited; an answer is generated again")
        with self._database.write() as connection:
            return self._question(connection, question.conversation_id, question.parent_id, text, shown)

    def begin(
        self, question_id: int, settings: GenerationSettings | None = None, model: ModelIdentity | None = None
    ) -> int:
        """An answer to a question begins; its id. A second one becomes an alternative to the first."""
        question = self._tree.message(question_id)
        if question.role != "user":
            raise StoreError("an answer follows a question")
        now = self._now()
        with self._database.write() as connection:
            model_row = model_id(connection, model, now)
            cursor = connection.execute(
                "INSERT INTO messages (conversation_id, parent_id, role, status, settings, model_id, writer, "
                "created_at) VALUES (?, ?, 'assistant', 'running', ?, ?, ?, ?)",
                (
                    question.conversation_id,
                    question_id,
                    settings_json(settings or GenerationSettings()),
                    model_row,
                    self._writer,
                    now,
                ),
            )
            answer_id = _row_id(cursor)
            self._tree.choices.choose(connection, answer_id)
            connection.execute(
                "UPDATE conversations SET updated_at = ?, deleted_at = NULL, model_id = coalesce(?, model_id) "
                "WHERE id = ?",
                (now, model_row, question.conversation_id),
            )
        return answer_id

    def reopen(self, answer_id: int) -> None:
        """A stopped answer goes on: what is appended from now on follows what it has. Its figures stay until then."""
        self._require_answer(answer_id)
        with self._database.write() as connection:
            connection.execute(
                "UPDATE messages SET status = 'running', finish_reason = NULL, error = '', writer = ? WHERE id = ?",
                (self._writer, answer_id),
            )
            connection.execute(
                "UPDATE conversations SET deleted_at = NULL WHERE deleted_at IS NOT NULL "
                "AND id = (SELECT conversation_id FROM messages WHERE id = ?)",
                (answer_id,),
            )

    def prompt(self, answer_id: int, ids: Sequence[int]) -> None:
        """The tokens that were fed before this answer: with them even an interrupted one is resumed exactly."""
        kept, rest, check = self._against_parent(answer_id, ids)
        with self._database.write() as connection:
            connection.execute(
                "UPDATE messages SET ids_kept = ?, ids = ?, ids_check = ? WHERE id = ?",
                (kept, rest, check, answer_id),
            )

    def append(
        self,
        answer_id: int,
        pieces: Iterable[tuple[Part, str]],
        ids: Sequence[int] = (),
        stats: TurnStats | None = None,
    ) -> None:
        """More of a running answer, as the engine's batches bring it; the caller flushes every half second.

        `stats`: its figures up to here, which stay where the answer never ends.
        """
        texts = ["", "", ""]
        for part, text in pieces:
            texts[_COLUMNS[part]] += clean(text)
        with self._database.write() as connection:
            connection.execute(
                "INSERT INTO parts (message_id, content, reasoning, tool_calls, ids) VALUES (?, ?, ?, ?, ?)",
                (answer_id, *texts, pack(ids) if ids else None),
            )
            if stats is not None:
                connection.execute("UPDATE messages SET stats = ? WHERE id = ?", (stats_json(stats), answer_id))

    def finish(
        self,
        answer_id: int,
        message: Message,
        reason: FinishReason,
        ids: Sequence[int] = (),
        stats: TurnStats | None = None,
    ) -> None:
        """The answer as it is to be kept, with all ids of the session after it (none: not known)."""
        kept, rest, check = self._against_parent(answer_id, ids) if ids else (0, None, checksum(()))
        with self._database.write() as connection:
            cursor = connection.execute(
                "UPDATE messages SET content = ?, reasoning = ?, tool_calls = ?, status = 'complete', "
                "finish_reason = ?, error = '', ids_kept = ?, ids = ?, ids_check = ?, stats = ?, writer = '', "
                "indexed = 0 WHERE id = ?",
                (
                    clean(message.content),
                    clean(message.reasoning),
                    clean(message.tool_calls),
                    reason,
                    kept,
                    rest,
                    check,
                    stats_json(stats),
                    answer_id,
                ),
            )
            if cursor.rowcount != 1:
                raise StoreError(f"there is no message {answer_id} any more; another program may have deleted it")
            connection.execute("DELETE FROM parts WHERE message_id = ?", (answer_id,))
            self._touch(connection, answer_id)

    def fail(self, answer_id: int, error: str) -> None:
        """The engine could not answer; what it had said stays."""
        with self._database.write() as connection:
            _merge(connection, answer_id, "failed", clean(error))
            self._touch(connection, answer_id)

    def interrupt(self, answer_id: int) -> None:
        """The engine or the program ended in the middle; what it had said stays."""
        with self._database.write() as connection:
            _merge(connection, answer_id, "interrupted", "")
            self._touch(connection, answer_id)

    def interrupt_own(self) -> None:
        """Before this program leaves: none of its answers runs any longer."""
        for row in self._database.read(
            "SELECT id FROM messages WHERE status = 'running' AND writer = ?", (self._writer,)
        ):
            self.interrupt(row["id"])

    def recover(self, folder: Path) -> list[int]:
        """Mark the answers of programs that have gone as interrupted, with all that reached the disk; their ids."""
        rows = self._database.read("SELECT DISTINCT writer FROM messages WHERE status = 'running'")
        gone = [row["writer"] for row in rows if row["writer"] != self._writer and is_gone(folder, row["writer"])]
        if not gone and not self._database.read("SELECT 1 FROM parts LIMIT 1"):
            return []
        with self._database.write() as connection:
            # Asked again inside the transaction: another program may be starting at the same moment.
            marks = ", ".join("?" * len(gone))
            left = connection.execute(
                f"SELECT id FROM messages WHERE status = 'running' AND writer IN ({marks}) "
                "UNION SELECT m.id FROM parts JOIN messages AS m ON m.id = message_id WHERE m.status <> 'running'",
                gone,
            ).fetchall()
            for row in left:
                _merge(connection, row["id"], "interrupted", "")
            if left:
                self._index(connection)
        return [row["id"] for row in left]

    def _question(
        self, connection: sqlite3.Connection, conversation_id: int, parent_id: int | None, text: str, shown: str
    ) -> int:
        text, shown = clean(text), clean(shown)
        now = self._now()
        if not connection.execute("SELECT 1 FROM conversations WHERE id = ?", (conversation_id,)).fetchone():
            raise StoreError(f"there is no conversation {conversation_id}")
        cursor = connection.execute(
            "INSERT INTO messages (conversation_id, parent_id, role, content, shown, created_at) "
            "VALUES (?, ?, 'user', ?, ?, ?)",
            (conversation_id, parent_id, text, shown if shown != text else "", now),
        )
        question_id = _row_id(cursor)
        self._tree.choices.choose(connection, question_id)
        connection.execute(
            "UPDATE conversations SET updated_at = ?, deleted_at = NULL, "
            "title = CASE title WHEN '' THEN ? ELSE title END WHERE id = ?",
            (now, title_from(shown or text), conversation_id),
        )
        self._index(connection)
        return question_id

    def _require_answer(self, message_id: int) -> None:
        if self._tree.message(message_id).role != "assistant":
            raise StoreError(f"message {message_id} is no answer")

    def _against_parent(self, answer_id: int, ids: Sequence[int]) -> tuple[int, bytes, int]:
        """How many of `ids` the nearest answer above that has any begins with, too; the rest; the checksum of all."""
        ids = array("I", ids)  # a context of them: once here, then as bytes
        kept = self._tree.kept_before(answer_id, ids)
        return kept, pack(ids[kept:]), checksum(ids)

    def _touch(self, connection: sqlite3.Connection, message_id: int) -> None:
        connection.execute(
            "UPDATE conversations SET updated_at = ? WHERE id = (SELECT conversation_id FROM messages WHERE id = ?)",
            (self._now(), message_id),
        )
        self._index(connection)


def _merge(connection: sqlite3.Connection, answer_id: int, status: str, error: str) -> None:
    """What lies in parts becomes the text of the answer, behind what it has."""
    row = connection.execute("SELECT ids, ids_check FROM messages WHERE id = ?", (answer_id,)).fetchone()
    if row is None:
        return
    parts = connection.execute("SELECT * FROM parts WHERE message_id = ? ORDER BY id", (answer_id,)).fetchall()
    texts = ["".join(part[name] for part in parts) for name in ("content", "reasoning", "tool_calls")]
    # Without the prompt's ids those of the answer alone cannot be fed: the next turn renders the text.
    ids, check = row["ids"], row["ids_check"]
    if ids is not None and parts:
        try:
            more = [token for part in parts if part["ids"] for token in unpack(part["ids"])]
            ids, check = pack([*unpack(ids), *more]), checksum(more, check or 0)
        except ValueError:
            ids = None
    connection.execute(
        "UPDATE messages SET content = content || ?, reasoning = reasoning || ?, tool_calls = tool_calls || ?, "
        "status = ?, error = ?, ids = ?, ids_check = ?, writer = '', indexed = 0 WHERE id = ?",
        (*texts, status, error, ids, check, answer_id),
    )
    connection.execute("DELETE FROM parts WHERE message_id = ?", (answer_id,))


def _row_id(cursor: sqlite3.Cursor) -> int:
    if cursor.lastrowid is None:
        raise RuntimeError("nothing was inserted")
    return cursor.lastrowid
