"""What a person writes before it is sent: a draft for each conversation, and earlier inputs across all of them."""

import time
from collections.abc import Callable

from qwen_tui.store.database import Database
from qwen_tui.store.records import Draft, clean, from_json, to_json

MAX_INPUTS = 2000
MAX_INPUT = 100_000
"""Characters of an input worth recalling; what is longer was a document, not a question."""


class Writing:
    """Drafts and input history."""

    def __init__(self, database: Database, now: Callable[[], float] = time.time) -> None:
        self._database = database
        self._now = now

    def save_draft(self, conversation_id: int | None, draft: Draft) -> None:
        """Keep what is being written; nothing written takes it away. None: for a conversation not begun yet."""
        with self._database.write() as connection:
            connection.execute("DELETE FROM drafts WHERE conversation_id IS ?", (conversation_id,))
            if draft.text:
                pastes = to_json({str(number): clean(text) for number, text in draft.pastes.items()})
                connection.execute(
                    "INSERT INTO drafts (conversation_id, text, pastes) VALUES (?, ?, ?)",
                    (conversation_id, clean(draft.text), pastes),
                )

    def draft(self, conversation_id: int | None) -> Draft:
        """What was being written there; empty if nothing was."""
        rows = self._database.read("SELECT text, pastes FROM drafts WHERE conversation_id IS ?", (conversation_id,))
        if not rows:
            return Draft("")
        pastes = from_json(rows[0]["pastes"]).items()
        kept = {int(number): text for number, text in pastes if number.isdecimal() and isinstance(text, str)}
        return Draft(rows[0]["text"], kept)

    def remember(self, text: str) -> None:
        """Add to the history, unless it was the last input too."""
        text = clean(text)
        if not text.strip() or len(text) > MAX_INPUT or self.recent(1) == [text]:
            return
        with self._database.write() as connection:
            connection.execute("INSERT INTO inputs (text, created_at) VALUES (?, ?)", (text, self._now()))
            connection.execute(
                "DELETE FROM inputs WHERE id <= (SELECT id FROM inputs ORDER BY id DESC LIMIT 1 OFFSET ?)",
                (MAX_INPUTS,),
            )

    def recent(self, limit: int = 500) -> list[str]:
        """The last inputs of all programs and conversations, the newest last."""
        rows = self._database.read("SELECT text FROM inputs ORDER BY id DESC LIMIT ?", (limit,))
        return [row["text"] for row in reversed(rows)]
