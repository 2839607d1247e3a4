"""Conversations as JSON, to keep or to bring to another machine: the whole tree with its token ids.

Messages are numbered from 1 in each conversation, a parent before its children, so that the same conversations always
give the same text. import_json.py reads it back.
"""

import sqlite3
from collections.abc import Iterable, Mapping
from typing import Any, get_args

from qwen_core.files import json_text
from qwen_core.protocol.events import FinishReason
from qwen_tui.store.models import COLUMNS, identity
from qwen_tui.store.records import ModelIdentity, from_json, moment
from qwen_tui.store.store import Store
from qwen_tui.store.token_ids import unpack

FORMAT, VERSION = "qwen-tui conversations", 1
TEXTS: tuple[str, ...] = ("content", "reasoning", "tool_calls", "error", "shown")


def export_json(store: Store, conversation_ids: Iterable[int]) -> str:
    """The conversations as one JSON text. StoreError if one of them does not exist."""
    conversations = [_conversation(store, conversation_id) for conversation_id in conversation_ids]
    document = {"format": FORMAT, "version": VERSION, "conversations": conversations}
    return json_text(document) + "\n"


def _conversation(store: Store, conversation_id: int) -> dict[str, Any]:
    summary = store.conversations.get(conversation_id)
    rows = store.database.read(
        f"SELECT m.*, {COLUMNS} FROM messages AS m LEFT JOIN models AS model ON model.id = m.model_id "
        "WHERE m.conversation_id = ? AND m.deleted_at IS NULL ORDER BY m.id",
        (conversation_id,),
    )
    shown = [message.id for message in store.tree.path(conversation_id)]
    running = store.database.read(
        "SELECT parts.* FROM parts JOIN messages AS m ON m.id = message_id WHERE conversation_id = ? ORDER BY parts.id",
        (conversation_id,),
    )
    said = {row["message_id"]: dict.fromkeys(TEXTS, "") for row in running}
    for row in running:
        for name in ("content", "reasoning", "tool_calls"):
            said[row["message_id"]][name] += row[name]
    numbers = {row["id"]: number for number, row in enumerate(rows, 1)}
    return {
        "title": summary.title,
        "system": summary.system,
        "created_at": summary.created_at,
        "updated_at": summary.updated_at,
        "pinned": summary.pinned,
        "model": _model(summary.model),
        "shown": [numbers[message_id] for message_id in shown if message_id in numbers],
        "messages": [_message(row, numbers, said.get(row["id"], {})) for row in rows],
    }


def _message(row: sqlite3.Row, numbers: Mapping[int, int], said: Mapping[str, str]) -> dict[str, Any]:
    try:
        ids = None if row["ids"] is None else list(unpack(row["ids"]))
    except ValueError:
        ids = None
    return {
        "parent": numbers.get(row["parent_id"]),
        "role": row["role"],
        **{name: row[name] + said.get(name, "") for name in TEXTS},
        # An answer that is being written right now is one that was interrupted for whoever reads the file.
        "status": "interrupted" if row["status"] == "running" else row["status"],
        "finish_reason": row["finish_reason"] if row["finish_reason"] in get_args(FinishReason) else None,
        "created_at": moment(row["created_at"]),
        "model": _model(identity(row)),
        "settings": from_json(row["settings"]),
        "stats": from_json(row["stats"]),
        "ids_kept": row["ids_kept"] if ids is not None else 0,
        "ids": ids,
        "ids_check": row["ids_check"] if ids is not None else None,
    }


def _model(model: ModelIdentity | None) -> dict[str, Any] | None:
    if model is None:
        return None
    return {
        "fingerprint": model.fingerprint,
        "path": model.path,
        "name": model.name,
        "variant": model.variant,
        "weight_bytes": model.weight_bytes,
    }
