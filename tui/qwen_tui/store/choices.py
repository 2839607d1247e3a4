"""Which branch of a conversation is shown: the choice at every message, and making them lead to one.

A branch is as long as its conversation, and a turn that is written at its end must not walk all of it. So what is
shown is remembered, for as long as nobody else writes into the file.
"""

import sqlite3
from bisect import bisect_left

from qwen_tui.store.database import Database

# A message is younger than what it follows: a file that was tampered with into a circle must not hang the program.
# A choice may be of a message that was deleted since, or that follows another one by now: the shown branch ends there.
STEP_DOWN = """
    UNION ALL SELECT child.id, path.depth + 1 FROM path JOIN messages AS m ON m.id = path.id
    JOIN messages AS child ON child.id = m.chosen_child AND child.parent_id = m.id AND child.deleted_at IS NULL
    AND child.id > m.id
"""
DOWN = f"""
WITH RECURSIVE path (id, depth) AS (
    SELECT chosen_root, 0 FROM conversations WHERE id = ? AND chosen_root IS NOT NULL
    {STEP_DOWN}
)
"""
UP = """
WITH RECURSIVE up (id, child, depth) AS (
    SELECT parent_id, id, 0 FROM messages WHERE id = ?
    UNION ALL SELECT m.parent_id, m.id, up.depth + 1 FROM up JOIN messages AS m ON m.id = up.id AND m.id < up.child
)
"""


def up_past(start: str, past: str) -> str:
    """`up`: the messages from `start` on up to the first one of which `past` does not hold.

    With a LIMIT behind UP, SQLite would walk all of the way first.
    """
    return f"""
WITH RECURSIVE up (id) AS (
    SELECT {start} UNION SELECT m.parent_id FROM up JOIN messages AS m ON m.id = up.id WHERE {past}
)
"""


class Choices:
    """Every method belongs into a transaction that is open: only there is it known what others have written."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._generation = -1
        self._paths: dict[int, list[int]] = {}

    def shown(self, connection: sqlite3.Connection, conversation_id: int) -> list[int]:
        """The messages of the shown branch, the first question first."""
        paths = self._known()
        if conversation_id not in paths:
            rows = connection.execute(f"{DOWN} SELECT id FROM path ORDER BY depth", (conversation_id,))
            paths[conversation_id] = [row["id"] for row in rows]
        return paths[conversation_id]

    def choose(self, connection: sqlite3.Connection, message_id: int) -> None:
        """Make every choice above `message_id` lead to it."""
        query = "SELECT conversation_id, parent_id, chosen_child FROM messages WHERE id = ?"
        conversation_id, parent_id, below = connection.execute(query, (message_id,)).fetchone()
        path = self._known().get(conversation_id)
        place = 0 if parent_id is None else bisect_left(path or (), parent_id) + 1
        if path is None or (parent_id is not None and path[place - 1 : place] != [parent_id]):
            self._paths.pop(conversation_id, None)
            links = connection.execute(f"{UP} SELECT id, child FROM up", (message_id,)).fetchall()
            for link in links:
                _link(connection, link["id"], link["child"])
            self.shown(connection, conversation_id)
            return
        _link(connection, parent_id, message_id)
        path[place:] = [message_id]
        if below is not None:
            del self._paths[conversation_id]

    def forget(self) -> None:
        """To be called where messages are moved, deleted or brought back."""
        self._paths.clear()

    def _known(self) -> dict[int, list[int]]:
        """The shown branches that are remembered, by conversation."""
        if self._generation != self._database.generation:
            self._generation = self._database.generation
            self._paths.clear()
        return self._paths


def _link(connection: sqlite3.Connection, parent_id: int | None, child_id: int) -> None:
    if parent_id is None:
        connection.execute(
            "UPDATE conversations SET chosen_root = ? WHERE chosen_root IS NOT ? "
            "AND id = (SELECT conversation_id FROM messages WHERE id = ?)",
            (child_id, child_id, child_id),
        )
    else:
        connection.execute(
            "UPDATE messages SET chosen_child = ? WHERE id = ? AND chosen_child IS NOT ?",
            (child_id, parent_id, child_id),
        )
