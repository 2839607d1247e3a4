"""The tree of messages: which branch is shown, its alternatives, and taking turns out of it.

A message's alternatives are the messages with the same parent. Which of them is shown is remembered at the parent, so
that coming back to a branch shows it as it was left. What is written into an answer is answers.py's business.
"""

import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from itertools import zip_longest
from typing import Literal

from qwen_tui.store.choices import DOWN, UP, Choices, up_past
from qwen_tui.store.database import Database
from qwen_tui.store.errors import StoreError
from qwen_tui.store.models import COLUMNS, identity
from qwen_tui.store.records import DeletedTurn, StoredMessage, from_json, moment
from qwen_tui.store.token_ids import checksum, common_prefix, unpack

_BELOW = """
WITH RECURSIVE below (id) AS (
    SELECT ? UNION SELECT m.id FROM below JOIN messages AS m ON m.parent_id = below.id
)
"""


class Tree:
    """Branches of the kept conversations. Methods that name a message raise StoreError where there is none."""

    def __init__(self, database: Database, now: Callable[[], float] = time.time) -> None:
        self._database = database
        self._now = now
        self.choices = Choices(database)

    # Reading.

    def path(self, conversation_id: int) -> list[StoredMessage]:
        """The messages of the branch that is shown, the first question first."""
        rows = self._database.read(
            f"{DOWN} SELECT m.*, {COLUMNS} FROM path JOIN messages AS m ON m.id = path.id "
            "LEFT JOIN models AS model ON model.id = m.model_id WHERE m.deleted_at IS NULL ORDER BY path.depth",
            (conversation_id,),
        )
        children = self._children(conversation_id)
        return [_message(row, children.get(row["parent_id"], ())) for row in rows]

    def ending(self, conversation_id: int, characters: int) -> tuple[str, str]:
        """How the last question and the last answer of the shown branch begin; "" where there is none."""
        rows = self._database.read(
            f"{DOWN} SELECT m.role, substr(CASE m.shown WHEN '' THEN m.content ELSE m.shown END, 1, ?) AS text "
            "FROM path JOIN messages AS m ON m.id = path.id WHERE m.deleted_at IS NULL "
            "ORDER BY path.depth DESC LIMIT 2",
            (conversation_id, characters),
        )
        said = {row["role"]: row["text"] for row in reversed(rows)}
        return said.get("user", ""), said.get("assistant", "") if rows and rows[0]["role"] == "assistant" else ""

    def message(self, message_id: int) -> StoredMessage:
        """One message, shown or not."""
        rows = self._database.read(
            f"SELECT m.*, {COLUMNS} FROM messages AS m LEFT JOIN models AS model ON model.id = m.model_id "
            "WHERE m.id = ?",
            (message_id,),
        )
        if not rows:
            raise StoreError(f"there is no message {message_id}")
        (row,) = rows
        return _message(row, self._below(row["conversation_id"], row["parent_id"]))

    def place_after(
        self, connection: sqlite3.Connection, conversation_id: int, after: int | Literal["end"] | None
    ) -> int | None:
        """The parent of a question that follows `after`: a message, nothing, or the end of the shown branch.

        After a question without an answer it stands beside that, as an edited one does. After a message that was
        deleted meanwhile it follows what is left above that. In the transaction that is open.
        """
        if after == "end":
            after = next(reversed(self.choices.shown(connection, conversation_id)), None)
        if after is None:
            return None
        if self.message(after).conversation_id != conversation_id:
            raise StoreError(f"message {after} is in another conversation")
        rows = self._database.read(
            up_past("?", "m.deleted_at IS NOT NULL")
            + "SELECT m.id, m.parent_id, m.role FROM up JOIN messages AS m ON m.id = up.id WHERE m.deleted_at IS NULL",
            (after,),
        )
        return next((row["parent_id"] if row["role"] == "user" else row["id"] for row in rows), None)

    def kept_before(self, message_id: int, ids: Sequence[int]) -> int:
        """How many of the first `ids` are those after the nearest answer above this message that has any."""
        rows = self._database.read(
            up_past("(SELECT parent_id FROM messages WHERE id = ?)", "m.ids IS NULL")
            + "SELECT m.* FROM up JOIN messages AS m ON m.id = up.id WHERE m.ids IS NOT NULL",
            (message_id,),
        )
        for row in rows:
            kept = row["ids_kept"]
            with suppress(ValueError):
                own = unpack(row["ids"])
                # What that one builds on needs no walk up all the answers above it where it is how `ids` begin, too.
                if kept <= len(ids) and checksum(own, checksum(ids[:kept])) == row["ids_check"]:
                    return kept + common_prefix(own, ids[kept:])
                return common_prefix(self.ids(row["id"]) or (), ids)
        return 0

    def ids(self, message_id: int) -> tuple[int, ...] | None:
        """The tokens that the engine had been fed when this answer ended; None where they are not known."""
        chain: list[tuple[int, tuple[int, ...]]] = []
        rows = self._database.read(
            f"{UP} SELECT m.id, m.ids_kept, m.ids, m.ids_check FROM up JOIN messages AS m ON m.id = up.child "
            "ORDER BY up.depth",
            (message_id,),
        )
        try:
            for row in rows:
                if row["ids"] is not None:
                    chain.append((row["ids_kept"], unpack(row["ids"])))
                elif row["id"] == message_id:
                    return None
        except ValueError:
            return None
        ids: list[int] = []
        for kept, new in reversed(chain):
            if kept > len(ids):
                return None
            del ids[kept:]
            ids += new
        return tuple(ids) if rows and rows[0]["ids_check"] == checksum(ids) else None

    def with_ids(self, conversation_id: int) -> set[int]:
        """The answers whose tokens are kept."""
        query = "SELECT id FROM messages WHERE conversation_id = ? AND ids IS NOT NULL"
        return {row["id"] for row in self._database.read(query, (conversation_id,))}

    def alternatives(self, question_id: int) -> list[int]:
        """What can stand in the place of this turn, in order: every answer to every wording of its question.

        A wording without an answer is there itself.
        """
        question = self.message(question_id)
        below = {wording: self._below(question.conversation_id, wording) for wording in question.siblings}
        return _alternatives({question.parent_id: question.siblings, **below}, question.parent_id)

    def places(self, path: Sequence[StoredMessage]) -> list[tuple[int, int]]:
        """For each question of a shown branch, which of how many alternatives its turn is, counted from 1."""
        children = self._children(path[0].conversation_id) if path else {}
        places: list[tuple[int, int]] = []
        for message, following in zip_longest(path, path[1:]):
            if message.role == "user":
                others = _alternatives(children, message.parent_id)
                shown = following.id if following is not None else message.id
                places.append((others.index(shown) + 1 if shown in others else 1, max(1, len(others))))
        return places

    # Choosing.

    def show(self, message_id: int) -> None:
        """Make the branch with this message the shown one; below it, the branch shown last."""
        message = self.message(message_id)
        if message_id not in message.siblings:
            raise StoreError("this turn was deleted")
        with self._database.write() as connection:
            self.choices.choose(connection, message_id)
            connection.execute(
                "UPDATE conversations SET updated_at = max(updated_at, ?) WHERE id = ?",
                (self._now(), message.conversation_id),
            )

    def show_beside(self, question_id: int, shown: int, step: int) -> None:
        """Show the turn `step` places beside the one with message `shown`, of all that answer this question's place."""
        alternatives = self.alternatives(question_id)
        place = alternatives.index(shown) if shown in alternatives else 0
        self.show(alternatives[min(max(place + step, 0), len(alternatives) - 1)])

    # Taking out.

    def delete_turn(self, question_id: int) -> DeletedTurn:
        """Take a question and its answers out; what follows the answer that is shown goes on without them.

        That moves up with all its alternatives: a copy of it would end what another program or an undo knows of it.
        """
        with self._database.write() as connection:
            question = self.message(question_id)
            if question.role != "user":
                raise StoreError("a turn is deleted at its question")
            children = self._children(question.conversation_id)
            answer_id = self._shown_below(question_id, children)
            moved = () if answer_id is None else children.get(answer_id, ())
            next_shown = None if answer_id is None else self._shown_below(answer_id, children)
            _move(connection, moved, question.parent_id)
            _mark(connection, question_id, self._now())
            self.choices.forget()
            if next_shown is not None:
                self.choices.choose(connection, next_shown)
            else:
                self._choose_another(connection, question)
        return DeletedTurn(question_id, answer_id, moved)

    def undo_delete(self, deleted: DeletedTurn) -> None:
        """Bring a deleted turn back, and behind it what went on without it with all that was asked there since."""
        with self._database.write() as connection:
            question = self.message(deleted.question_id)
            parent_id = question.parent_id
            if parent_id is not None and parent_id not in self.message(parent_id).siblings:
                raise StoreError("the turn above was deleted, too: bring that back first")
            shown = {message.id for message in self.path(question.conversation_id)}
            _mark(connection, deleted.question_id, None)
            self.choices.forget()
            self.choices.choose(connection, deleted.question_id)
            if deleted.answer_id is not None:
                _move(connection, deleted.moved_ids, deleted.answer_id)
                self.choices.forget()
                children = self._children(question.conversation_id)
                below = children.get(deleted.answer_id, ())
                # Before the deletion another one may have been shown, and that one may be deleted itself by now.
                next_shown = next((child for child in below if child in shown), None)
                next_shown = next_shown or self._shown_below(deleted.answer_id, children)
                self.choices.choose(connection, next_shown or (below[-1] if below else deleted.answer_id))

    def _shown_below(self, message_id: int, children: Mapping[int | None, Sequence[int]]) -> int | None:
        """The child of a message that is shown when the message is."""
        rows = self._database.read("SELECT chosen_child FROM messages WHERE id = ?", (message_id,))
        below = children.get(message_id, ())
        return next((row["chosen_child"] for row in rows if row["chosen_child"] in below), None)

    def _choose_another(self, connection: sqlite3.Connection, gone: StoredMessage) -> None:
        """After the last of a branch went: its neighbour, or nothing."""
        others = [sibling for sibling in gone.siblings if sibling != gone.id]
        before = [sibling for sibling in others if sibling < gone.id]
        if others:
            self.choices.choose(connection, before[-1] if before else others[0])
        elif gone.parent_id is None:
            connection.execute("UPDATE conversations SET chosen_root = NULL WHERE id = ?", (gone.conversation_id,))
        else:
            connection.execute("UPDATE messages SET chosen_child = NULL WHERE id = ?", (gone.parent_id,))

    def _children(self, conversation_id: int) -> dict[int | None, tuple[int, ...]]:
        """All that is not deleted, by its parent: for what goes through the whole conversation anyhow."""
        children: dict[int | None, list[int]] = {}
        rows = self._database.read(
            "SELECT id, parent_id FROM messages WHERE conversation_id = ? AND deleted_at IS NULL ORDER BY id",
            (conversation_id,),
        )
        for row in rows:
            children.setdefault(row["parent_id"], []).append(row["id"])
        return {parent_id: tuple(below) for parent_id, below in children.items()}

    def _below(self, conversation_id: int, parent_id: int | None) -> tuple[int, ...]:
        """The children of one message, or of nothing: what begins the conversation."""
        rows = self._database.read(
            "SELECT id FROM messages INDEXED BY messages_by_parent "
            "WHERE parent_id IS ? AND conversation_id = ? AND deleted_at IS NULL ORDER BY id",
            (parent_id, conversation_id),
        )
        return tuple(row["id"] for row in rows)


def _alternatives(children: Mapping[int | None, Sequence[int]], parent_id: int | None) -> list[int]:
    wordings = children.get(parent_id, ())
    return [message_id for wording in wordings for message_id in children.get(wording) or (wording,)]


def _move(connection: sqlite3.Connection, message_ids: Sequence[int], parent_id: int | None) -> None:
    """Let messages follow another one. Below them no tokens are known any more: those they build on are others."""
    for message_id in message_ids:
        connection.execute("UPDATE messages SET parent_id = ? WHERE id = ?", (parent_id, message_id))
        connection.execute(
            f"{_BELOW} UPDATE messages SET ids_kept = 0, ids = NULL, ids_check = NULL "
            "WHERE id IN (SELECT id FROM below) AND ids IS NOT NULL",
            (message_id,),
        )


def _mark(connection: sqlite3.Connection, message_id: int, deleted_at: float | None) -> None:
    """Delete or bring back a message with everything below it: with what was deleted together with it."""
    row = connection.execute("SELECT deleted_at FROM messages WHERE id = ?", (message_id,)).fetchone()
    connection.execute(
        f"{_BELOW} UPDATE messages SET deleted_at = ? WHERE id IN (SELECT id FROM below) AND deleted_at IS ?",
        (message_id, deleted_at, row["deleted_at"]),
    )


def _message(row: sqlite3.Row, siblings: tuple[int, ...]) -> StoredMessage:
    return StoredMessage(
        id=row["id"],
        conversation_id=row["conversation_id"],
        parent_id=row["parent_id"],
        role=row["role"],
        content=row["content"],
        reasoning=row["reasoning"],
        tool_calls=row["tool_calls"],
        status=row["status"],
        finish_reason=row["finish_reason"],
        error=row["error"],
        created_at=moment(row["created_at"]),
        model=identity(row),
        settings=from_json(row["settings"]),
        stats=from_json(row["stats"]),
        siblings=siblings,
        shown=row["shown"],
    )
