"""The models that answered: which files, and when they were used last."""

import sqlite3
import time
from collections.abc import Callable

from qwen_tui.store.database import Database
from qwen_tui.store.records import ModelIdentity, clean

# To be joined as `model` beside what refers to it.
COLUMNS = "model.fingerprint, model.path, model.name, model.variant, model.weight_bytes"


def identity(row: sqlite3.Row) -> ModelIdentity | None:
    """The model of a row that has COLUMNS; None where nothing was joined."""
    if row["fingerprint"] is None:
        return None
    return ModelIdentity(row["fingerprint"], row["path"], row["name"], row["variant"], row["weight_bytes"])


def model_id(connection: sqlite3.Connection, model: ModelIdentity | None, now: float) -> int | None:
    """The row of `model`, made or brought up to date, in the transaction that is open."""
    if model is None:
        return None
    key = (clean(model.fingerprint), clean(model.path))
    connection.execute(
        "INSERT INTO models (fingerprint, path, name, variant, weight_bytes, used_at) VALUES (?, ?, ?, ?, ?, ?) "
        "ON CONFLICT (fingerprint, path) DO UPDATE SET name = excluded.name, variant = excluded.variant, "
        "weight_bytes = excluded.weight_bytes, used_at = max(used_at, excluded.used_at)",
        (*key, clean(model.name), clean(model.variant), model.weight_bytes, now),
    )
    row = connection.execute("SELECT id FROM models WHERE fingerprint = ? AND path = ?", key).fetchone()
    return row["id"]


class Models:
    """Recent models, for a list to choose from."""

    def __init__(self, database: Database, now: Callable[[], float] = time.time) -> None:
        self._database = database
        self._now = now

    def used(self, model: ModelIdentity) -> None:
        """Remember that `model` was opened now."""
        with self._database.write() as connection:
            model_id(connection, model, self._now())

    def recent(self, limit: int = 20) -> list[ModelIdentity]:
        """The models used last, each directory once, the latest first."""
        rows = self._database.read(
            f"SELECT {COLUMNS}, max(model.used_at) AS used FROM models AS model GROUP BY model.path "
            "ORDER BY used DESC, model.id DESC LIMIT ?",
            (limit,),
        )
        return [model for row in rows if (model := identity(row)) is not None]
