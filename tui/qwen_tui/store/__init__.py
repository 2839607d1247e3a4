"""Kept conversations: one SQLite file under the data directory. `open_store` is the way in, `Store` the face.

Knows neither screen nor engine. A store belongs to the thread that opened it.
"""

from qwen_tui.store.errors import StoreError
from qwen_tui.store.probabilities import StoredProbabilities
from qwen_tui.store.records import (
    ConversationSummary,
    DeletedTurn,
    Draft,
    Hit,
    ModelIdentity,
    StoredMessage,
)
from qwen_tui.store.store import Store, open_store, store_path

__all__ = [
    "ConversationSummary",
    "DeletedTurn",
    "Draft",
    "Hit",
    "ModelIdentity",
    "Store",
    "StoreError",
    "StoredMessage",
    "StoredProbabilities",
    "open_store",
    "store_path",
]
