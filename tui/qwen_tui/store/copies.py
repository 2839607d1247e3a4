"""Turns once more, in another place: what goes on without the turns before them. The turns themselves stay where they
are, so the way back is to show them again.
"""

from collections.abc import Sequence

from qwen_tui.store.store import Store


def original_of(store: Store, message_id: int) -> int | None:
    """The message further down that this one, which begins its conversation, is a copy of; None where it is none."""
    rows = store.database.read(
        "SELECT o.id FROM messages AS m JOIN messages AS o ON o.conversation_id = m.conversation_id AND o.id < m.id "
        "AND o.created_at = m.created_at AND o.role = m.role AND o.content = m.content "
        "WHERE m.id = ? AND m.parent_id IS NULL AND o.parent_id IS NOT NULL AND o.deleted_at IS NULL "
        "ORDER BY o.id DESC LIMIT 1",
        (message_id,),
    )
    return next((row["id"] for row in rows), None)


def copy_turns(store: Store, message_ids: Sequence[int], conversation_id: int, parent_id: int | None) -> None:
    """Have copies of `message_ids`, part of a branch, follow `parent_id` (None: begin the conversation) and be shown.

    The tokens that were fed for the turns are not those of the copies: others stood before them.
    """
    with store.database.write() as connection:
        for message_id in message_ids:
            cursor = connection.execute(
                "INSERT INTO messages (conversation_id, parent_id, role, content, reasoning, tool_calls, status, "
                "finish_reason, error, settings, stats, model_id, created_at, shown) "
                "SELECT ?, ?, role, content, reasoning, tool_calls, status, finish_reason, error, settings, stats, "
                "model_id, created_at, shown FROM messages WHERE id = ?",
                (conversation_id, parent_id, message_id),
            )
            parent_id = cursor.lastrowid
        if message_ids and parent_id is not None:
            store.tree.choices.choose(connection, parent_id)
        store.search.index(connection)
