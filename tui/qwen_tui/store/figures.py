"""The figures of kept answers: how fast each model was, answer by answer."""

from dataclasses import dataclass

from qwen_core.protocol.stats import TurnStats
from qwen_tui.store.database import Database
from qwen_tui.store.models import COLUMNS, identity
from qwen_tui.store.records import ModelIdentity, from_json, moment, turn_stats

MOST = 5_000
"""Answers that are looked at, the latest ones: more would not show on a screen."""


@dataclass(frozen=True)
class AnswerFigures:
    """What one answer took. `created_at` in seconds since 1970."""

    created_at: float
    model: ModelIdentity
    stats: TurnStats


class Figures:
    """Reads what `Answers` wrote."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def recent(self, limit: int = MOST) -> list[AnswerFigures]:
        """The latest `limit` answers that have figures, the oldest first. An answer that was copied into another
        conversation is there once; those of deleted conversations are not."""
        rows = self._database.read(
            # A copy differs in nothing but its place.
            f"SELECT DISTINCT m.created_at AS answered_at, m.stats, {COLUMNS} FROM messages AS m "
            "JOIN conversations AS c ON c.id = m.conversation_id JOIN models AS model ON model.id = m.model_id "
            "WHERE m.role = 'assistant' AND m.stats != '{}' AND m.deleted_at IS NULL AND c.deleted_at IS NULL "
            "ORDER BY answered_at DESC LIMIT ?",
            (limit,),
        )
        found = []
        for row in reversed(rows):
            model, stats = identity(row), turn_stats(from_json(row["stats"]))
            if model is not None and stats is not None:
                found.append(AnswerFigures(moment(row["answered_at"]), model, stats))
        return found
