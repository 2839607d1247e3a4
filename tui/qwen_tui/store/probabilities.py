"""How sure a model was of the tokens of an answer, packed beside it.

In a table of its own: nobody reads it but who looks, and they take some 40 bytes a token. Format 1: the byte
1, the number of alternatives, then zlib over planes: all first bytes of the rows, all second ones, and so on.
"""

import sqlite3
import time
import zlib
from array import array
from collections.abc import Callable
from dataclasses import dataclass

from qwen_core.protocol.probabilities import MOST_TOP, Probabilities
from qwen_tui.store.database import Database
from qwen_tui.store.models import COLUMNS, identity, model_id
from qwen_tui.store.records import ModelIdentity

FORMAT = 1
MAX_BYTES = 64 << 20
_EXPONENT = 0x7F800000  # all ones in a float32 that is no finite number


@dataclass(frozen=True)
class StoredProbabilities:
    """Those of all tokens of an answer, and whose they are: another model may have read the answer since."""

    probabilities: Probabilities
    model: ModelIdentity | None = None


class KeptProbabilities:
    """What is known of answers: of all tokens of one, or nothing."""

    def __init__(self, database: Database, now: Callable[[], float] = time.time) -> None:
        self._database = database
        self._now = now

    def keep(self, answer_id: int, probabilities: Probabilities | None, model: ModelIdentity | None) -> None:
        """Those of an answer as it is now; None: they are not known, and what was kept of it is gone."""
        with self._database.write() as connection:
            connection.execute("DELETE FROM probabilities WHERE message_id = ?", (answer_id,))
            if probabilities is not None and 0 < len(probabilities.data) <= MAX_BYTES:
                connection.execute(
                    "INSERT INTO probabilities (message_id, model_id, packed) "
                    "SELECT id, ?, ? FROM messages WHERE id = ?",
                    (model_id(connection, model, self._now()), pack(probabilities), answer_id),
                )

    def of(self, answer_id: int) -> StoredProbabilities | None:
        """Those of an answer; None where none are kept, as of those of earlier versions, or they are damaged."""
        rows = self._database.read(
            f"SELECT packed, {COLUMNS} FROM probabilities LEFT JOIN models AS model ON model.id = model_id "
            "WHERE message_id = ?",
            (answer_id,),
        )
        return _stored(rows[0]) if rows else None


def _stored(row: sqlite3.Row) -> StoredProbabilities | None:
    try:
        return StoredProbabilities(unpack(row["packed"]), identity(row))
    except ValueError:
        return None


def pack(probabilities: Probabilities) -> bytes:
    """As they are on disk."""
    width, data = probabilities.row_bytes, probabilities.data
    planes = b"".join(data[plane::width] for plane in range(width))
    return bytes([FORMAT, probabilities.top]) + zlib.compress(planes, 6)


def unpack(packed: bytes) -> Probabilities:
    """What `pack` packed. ValueError for anything else, and for figures that are no numbers."""
    if len(packed) < 2 or packed[0] != FORMAT or not 0 < packed[1] <= MOST_TOP:
        raise ValueError("these are not probabilities in a known format")
    inflater = zlib.decompressobj()
    try:
        planes = inflater.decompress(packed[2:], MAX_BYTES + 1)
    except zlib.error as error:
        raise ValueError(f"damaged probabilities: {error}") from None
    found = Probabilities(packed[1])
    count, rest = divmod(len(planes), found.row_bytes)
    if not inflater.eof or inflater.unused_data or rest or len(planes) > MAX_BYTES:
        raise ValueError("damaged probabilities")
    data = bytearray(len(planes))
    for plane in range(found.row_bytes):
        data[plane :: found.row_bytes] = planes[plane * count : (plane + 1) * count]
    found = Probabilities(found.top, bytes(data))
    _check_numbers(found)
    return found


def _check_numbers(found: Probabilities) -> None:
    """A log-probability with which no token was drawn (word 1) alone may be no number."""
    words, width = array("I", found.data), found.row_bytes // 4
    for word in (0, 2, *range(width - found.top, width)):
        if any(value & _EXPONENT == _EXPONENT for value in words[word::width]):
            raise ValueError("probabilities that are no numbers")
