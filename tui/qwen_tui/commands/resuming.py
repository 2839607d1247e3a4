"""`--continue` and `--resume`: which conversation is meant, and which model it was held with."""

from pathlib import Path

from qwen_core.errors import QwenError, quote
from qwen_tui.store import StoreError, open_store, store_path


def chosen_conversation(conversation_id: int | None) -> tuple[int, str | None]:
    """The number of the conversation (None: the one used last), and its model's directory if that still exists.

    Raises QwenError, one line, where there is none.
    """
    if not store_path().exists():
        raise QwenError(f"there are no conversations yet: {quote(store_path())} does not exist")
    store = open_store()
    try:
        summary = store.conversations.latest() if conversation_id is None else store.conversations.get(conversation_id)
    finally:
        store.close()
    if summary is None:
        raise QwenError("there are no conversations yet; qwen-tui begins one")
    if summary.deleted_at is not None:
        raise StoreError(f"conversation {summary.id} was deleted")
    path = summary.model.path if summary.model is not None else ""
    return summary.id, path if path and Path(path).is_dir() else None
