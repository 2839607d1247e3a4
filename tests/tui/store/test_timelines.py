"""When the tokens of an answer came, kept with it."""

from pathlib import Path

from qwen_core.protocol.timeline import Moment, Timeline, packed
from support.stores import MODEL, opened, turn

TIMES = packed([Moment("prefill", 0.5, 40), Moment("token", 0.02), Moment("draft", 0.0)])


def test_it_is_kept_with_the_answer_and_goes_with_it(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        conversation = store.conversations.begin(None, MODEL)
        _, answer = turn(store, conversation, "Q", "A")
        assert store.timelines.of(answer) == Timeline()
        store.timelines.keep(answer, TIMES)
        assert store.timelines.of(answer) == TIMES
        store.timelines.keep(answer, Timeline())
        assert store.timelines.of(answer) == Timeline()
        store.timelines.keep(answer, TIMES)
        store.timelines.keep(answer + 100, TIMES)  # deleted by another program meanwhile
        store.database.read("UPDATE timelines SET packed = x'00ff'")
        assert store.timelines.of(answer) == Timeline()
        store.database.read("DELETE FROM conversations")
        assert store.database.read("SELECT count(*) FROM timelines")[0][0] == 0
