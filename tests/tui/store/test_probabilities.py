"""How sure a model was, kept with its answer: what was put in comes out, of whatever else there is nothing."""

import sqlite3
import struct
import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwen_core.protocol.events import GenerationSettings
from qwen_core.protocol.probabilities import Probabilities, row_words
from qwen_tui.store import StoredProbabilities
from qwen_tui.store.probabilities import pack, unpack
from qwen_tui.store.schema import MIGRATIONS, migrate
from support.stores import MODEL, OTHER, opened, turn

FIGURES = st.floats(-90, 0, width=32)


@st.composite
def probabilities(draw: st.DrawFn) -> Probabilities:
    top, rows = draw(st.integers(1, 20)), draw(st.integers(1, 12))
    data = b""
    for _ in range(rows):
        drawn = draw(FIGURES | st.just(float("nan")))
        data += struct.pack("<3fI", draw(FIGURES), drawn, -draw(FIGURES), draw(st.integers(1, 300_000)))
        data += struct.pack(f"<{top}I", *draw(st.lists(st.integers(0, 2**32 - 1), min_size=top, max_size=top)))
        data += struct.pack(f"<{top}f", *draw(st.lists(FIGURES, min_size=top, max_size=top)))
    return Probabilities(top, data)


@given(probabilities())
def test_what_is_packed_comes_out_again(found: Probabilities) -> None:
    assert unpack(pack(found)) == found


@given(probabilities(), st.data())
def test_what_is_damaged_is_refused_or_are_numbers(found: Probabilities, data: st.DataObject) -> None:
    packed = bytearray(pack(found))
    packed[data.draw(st.integers(0, len(packed) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        read = unpack(bytes(packed))
    except ValueError:
        return
    assert all(step.logprob == step.logprob and abs(step.entropy) < float("inf") for step in read)


@pytest.mark.parametrize(
    "packed",
    [
        b"",
        b"\x01",
        b"\x02\x08" + zlib.compress(b""),
        b"\x01\x00" + zlib.compress(b""),
        b"\x01\x08" + zlib.compress(bytes(row_words(8) * 4 + 1)),
        b"\x01\x08" + zlib.compress(bytes(65 << 20)),
        b"\x01\x01" + zlib.compress(b"\xff" * row_words(1) * 4),
    ],
    ids=["nothing", "short", "another format", "no alternative", "half a row", "too much", "no numbers"],
)
def test_anything_else_is_refused(packed: bytes) -> None:
    with pytest.raises(ValueError):
        unpack(packed)


ROWS = Probabilities(1, struct.pack("<3fIIf", -0.5, -0.25, 1.5, 2, 77, -0.375) * 3)


def test_they_are_kept_with_the_answer_and_go_with_it(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        conversation = store.conversations.begin(None, MODEL)
        _, answer = turn(store, conversation, "Q", "A")
        assert store.probabilities.of(answer) is None
        store.probabilities.keep(answer, ROWS, MODEL)
        assert store.probabilities.of(answer) == StoredProbabilities(ROWS, MODEL)
        store.probabilities.keep(answer, ROWS, OTHER)  # read anew by another model
        assert store.probabilities.of(answer) == StoredProbabilities(ROWS, OTHER)
        store.probabilities.keep(answer, None, None)
        assert store.probabilities.of(answer) is None
        store.probabilities.keep(answer, ROWS, None)
        store.probabilities.keep(answer + 100, ROWS, MODEL)  # deleted by another program meanwhile
        store.database.read("DELETE FROM conversations")
        assert store.database.read("SELECT count(*) FROM probabilities")[0][0] == 0


def test_an_answer_of_an_earlier_version_has_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as before:
        before.setattr("qwen_tui.store.schema.MIGRATIONS", MIGRATIONS[:2])
        before.setattr("qwen_tui.store.schema.LATEST", 2)
        connection = sqlite3.connect(tmp_path / "conversations.db", isolation_level=None)
        migrate(connection)
        connection.execute("INSERT INTO conversations (title, created_at, updated_at) VALUES ('old', 1, 1)")
        for role, parent in (("user", None), ("assistant", 1)):
            connection.execute(
                "INSERT INTO messages (conversation_id, parent_id, role, content, created_at) VALUES (1, ?, ?, 'x', 1)",
                (parent, role),
            )
        connection.close()
    with opened(tmp_path) as store:
        assert store.probabilities.of(2) is None
        store.probabilities.keep(2, ROWS, MODEL)
        assert store.probabilities.of(2) == StoredProbabilities(ROWS, MODEL)


def test_a_damaged_row_is_as_if_there_were_none(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        conversation = store.conversations.begin(None, MODEL)
        question = store.answers.ask(conversation, "Q")
        answer = store.answers.begin(question, GenerationSettings(), MODEL)
        store.probabilities.keep(answer, ROWS, MODEL)
        store.database.read("UPDATE probabilities SET packed = x'00ff'")
        assert store.probabilities.of(answer) is None
