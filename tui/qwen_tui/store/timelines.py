"""When the tokens of an answer came, packed beside it: the words of a `Timeline` as token ids are kept."""

from array import array

from qwen_core.protocol.timeline import Timeline
from qwen_tui.store.database import Database
from qwen_tui.store.token_ids import MAX_IDS, pack, unpack


class KeptTimelines:
    """What is known of answers."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def keep(self, answer_id: int, timeline: Timeline) -> None:
        """That of an answer as it is now; an empty one is not kept."""
        words = array("I", timeline.data)
        with self._database.write() as connection:
            connection.execute("DELETE FROM timelines WHERE message_id = ?", (answer_id,))
            if 0 < len(words) <= MAX_IDS:
                connection.execute(
                    "INSERT INTO timelines (message_id, packed) SELECT id, ? FROM messages WHERE id = ?",
                    (pack(words), answer_id),
                )

    def of(self, answer_id: int) -> Timeline:
        """That of an answer; an empty one where none is kept, or it is damaged."""
        rows = self._database.read("SELECT packed FROM timelines WHERE message_id = ?", (answer_id,))
        try:
            return Timeline(array("I", unpack(rows[0]["packed"])).tobytes()) if rows else Timeline()
        except ValueError:
            return Timeline()
