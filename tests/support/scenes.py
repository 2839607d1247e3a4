"""A second look at the same conversations: apps one after the other over one home, and what the store has."""

from qwen_tui.store import StoredMessage, open_store


def stored(conversation_id: int | None = None) -> list[StoredMessage]:
    """The shown branch of a conversation (None: the one used last), as another program reads it."""
    store = open_store()
    try:
        latest = store.conversations.latest()
        if conversation_id is None and latest is None:
            return []
        return store.tree.path(conversation_id or (latest.id if latest is not None else 0))
    finally:
        store.close()
