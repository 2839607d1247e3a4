"""Searching: what is there is found, with and without FTS5, in any script, and no query is a program."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as limits
from hypothesis import strategies as st

from qwen_core.protocol.events import Message
from qwen_tui.store.copies import copy_turns
from support.stores import MODEL, OTHER, opened, turn

WORDS = st.text(st.sampled_from("abcDE12é"), min_size=1, max_size=6) | st.sampled_from(
    ["量化", "模型", "データ", "C++", "a_b"]
)
TEXTS = st.lists(WORDS, min_size=1, max_size=8).map(" ".join)
BOTH = pytest.mark.parametrize("full_text", [True, False])


@BOTH
@limits(max_examples=40)
@given(texts=st.lists(TEXTS, min_size=1, max_size=6), data=st.data())
def test_a_piece_of_a_message_finds_it(
    tmp_path_factory: pytest.TempPathFactory, full_text: bool, texts: list[str], data: st.DataObject
) -> None:
    """Beginnings of any of its words, in any order; nothing is found that lacks one of them."""
    words = data.draw(st.sampled_from(texts)).split()
    chosen = data.draw(st.lists(st.sampled_from(words), min_size=1, max_size=3))
    terms = [word[: data.draw(st.integers(1, len(word)))] for word in chosen]
    with opened(tmp_path_factory.mktemp("store"), full_text=full_text) as store:
        conversation = store.conversations.begin()
        ids = [store.answers.ask(conversation, text) for text in texts]
        found = {hit.message_id for hit in store.search.find(" ".join(terms), limit=100)}
        for id, text in zip(ids, texts, strict=True):
            if all(any(word.startswith(term) for word in text.split()) for term in terms):
                assert id in found
            elif not all(plain(term) in plain(text) for term in terms):
                assert id not in found


def plain(text: str) -> str:
    """As an index compares: without case and accents."""
    return text.lower().replace("é", "e")


@BOTH
@limits(max_examples=60)
@given(
    query=st.text(max_size=40) | st.sampled_from(['"', "NEAR(", "a AND", "content:x", "*", "^a", "-", "(", "'", "a\0b"])
)
def test_no_query_fails(tmp_path_factory: pytest.TempPathFactory, full_text: bool, query: str) -> None:
    with opened(tmp_path_factory.mktemp("store"), full_text=full_text) as store:
        conversation = store.conversations.begin()
        turn(store, conversation, query, "A")
        hits = store.search.find(query)
        text = query.encode("utf-8", "replace").decode()
        if text == query and query.split() and "\0" not in query and query.isascii():
            assert hits, "a message is found by its own text"
        for hit in hits:
            assert "".join(piece for piece, _ in hit.snippet)


@BOTH
def test_turns_that_were_copied_are_found_once_where_they_are_shown(tmp_path: Path, full_text: bool) -> None:
    with opened(tmp_path, full_text=full_text) as store:
        conversation, other = store.conversations.begin(), store.conversations.begin()
        turn(store, conversation, "first", "an answer")
        turn(store, conversation, "a needle", "another needle")
        question, answer = (message.id for message in store.tree.path(conversation)[2:])
        copy_turns(store, [question, answer], conversation, None)
        copy_turns(store, [question, answer], other, None)
        shown = [message.id for message in store.tree.path(other)]
        assert sorted(hit.message_id for hit in store.search.find("needle")) == shown
        assert [hit.message_id for hit in store.search.find("needle", limit=1)] in ([shown[0]], [shown[1]])
        turn(store, other, "a needle", "nothing")
        assert len(store.search.find("needle")) == 3, "asked again, it is another message"


@BOTH
def test_a_hit_shows_where_it_is(tmp_path: Path, full_text: bool) -> None:
    with opened(tmp_path, full_text=full_text) as store:
        conversation = store.conversations.begin(model=MODEL)
        question = store.answers.ask(conversation, "before " * 100 + "Needle 模型量化方法" + " after" * 100)
        answer = store.answers.begin(question, None, MODEL)
        store.answers.finish(answer, Message("assistant", "nothing", "a thought about thread"), "stop")
        for query, match in (("needle", "Needle"), ("量化", "量化")):
            (hit,) = store.search.find(query)
            assert (hit.message_id, hit.role, hit.part, hit.conversation_id) == (
                question,
                "user",
                "content",
                conversation,
            )
            assert [text for text, found in hit.snippet if found] == [match]
            text = "".join(text for text, _ in hit.snippet)
            assert "Needle 模型量化方法" in text
            assert "before" in text
            assert len(text) < 400
            assert text.startswith("…") and text.endswith("…")
        (hit,) = store.search.find("thread thought")
        assert (hit.message_id, hit.part) == (answer, "reasoning")
        assert [text for text, found in hit.snippet if found] == ["thought", "thread"]
        assert hit.title == store.conversations.get(conversation).title


@BOTH
def test_signs_are_looked_for_as_they_are(tmp_path: Path, full_text: bool) -> None:
    with opened(tmp_path, full_text=full_text) as store:
        conversation = store.conversations.begin()
        texts = ("C++ code", "C code", "foo_bar", "foo bar", "a -> b")
        ids = {text: store.answers.ask(conversation, text) for text in texts}
        for query, expected in (("C++", ["C++ code"]), ("foo_bar", ["foo_bar"]), ("->", ["a -> b"])):
            assert [hit.message_id for hit in store.search.find(query)] == [ids[text] for text in expected]


@BOTH
def test_hits_can_be_narrowed_to_a_model_and_a_number(tmp_path: Path, full_text: bool) -> None:
    with opened(tmp_path, full_text=full_text) as store:
        one, two = store.conversations.begin(model=MODEL), store.conversations.begin(model=OTHER)
        for conversation in (one, two):
            store.answers.ask(conversation, "needle")
        assert [hit.conversation_id for hit in store.search.find("needle", model=OTHER.name)] == [two]
        assert len(store.search.find("needle", limit=1)) == 1
        assert store.search.find("   ") == []


@BOTH
def test_what_was_deleted_or_changed_is_not_found(tmp_path: Path, full_text: bool) -> None:
    with opened(tmp_path, full_text=full_text) as store:
        conversation = store.conversations.begin()
        question, answer = turn(store, conversation, "Q", "needle")
        store.answers.finish(answer, Message("assistant", "thread"), "stop")
        assert store.search.find("needle") == []
        assert [hit.message_id for hit in store.search.find("thread")] == [answer]
        deleted = store.tree.delete_turn(question)
        assert store.search.find("thread") == []
        store.tree.undo_delete(deleted)
        assert [hit.message_id for hit in store.search.find("thread")] == [answer]


def test_a_program_with_fts5_indexes_what_one_without_has_written(tmp_path: Path) -> None:
    with opened(tmp_path, full_text=False) as store:
        turn(store, store.conversations.begin(), "needle", "A")
        assert store.database.read("SELECT * FROM sqlite_schema WHERE name = 'search'") == []
    with opened(tmp_path) as store:
        assert store.search.full_text
        assert len(store.search.find("needle")) == 1
        assert store.database.read("SELECT count(*) FROM search")[0][0] == 2


def test_this_sqlite_has_what_the_tests_are_about() -> None:
    modules = sqlite3.connect(":memory:").execute("SELECT name FROM pragma_module_list").fetchall()
    assert ("fts5",) in modules


BROKEN = {
    "pages": "UPDATE search_data SET block = x'00ff'",
    "no pages": "DELETE FROM search_data",
    "its format": "UPDATE search_config SET v = 0",
    "no texts": "DELETE FROM search_content",
    "its columns": "DROP TABLE search; CREATE VIRTUAL TABLE search USING fts5(other)",
    "no table": "DROP TABLE search",
}


@pytest.mark.parametrize("begins_with", ["a turn", "a search"])
@pytest.mark.parametrize("script", BROKEN.values(), ids=BROKEN)
def test_an_index_that_is_broken_is_made_anew_and_keeps_no_turn_from_being_kept(
    tmp_path: Path, script: str, begins_with: str
) -> None:
    with opened(tmp_path) as store:
        turn(store, store.conversations.begin(), "needle", "A")
    with closing(sqlite3.connect(tmp_path / "conversations.db")) as raw:
        raw.executescript(script)
    with opened(tmp_path) as store:
        if begins_with == "a turn" or store.notices:
            turn(store, store.conversations.begin(), "another needle", "A")
        store.search.find("needle")
    with opened(tmp_path) as store:
        assert store.notices == []
        turn(store, store.conversations.begin(), "third", "A")
        assert {hit.conversation_id for hit in store.search.find("third")} != set()
        assert 1 in {hit.conversation_id for hit in store.search.find("needle")}
