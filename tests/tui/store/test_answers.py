"""Answers on disk: as they grow, as they end, and as they are found after their program has gone."""

import os
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as limits
from hypothesis import strategies as st

from qwen_core.protocol.events import GenerationSettings, Message
from qwen_core.protocol.pieces import Part
from qwen_tui.store import StoredMessage, StoreError
from qwen_tui.store.process_locks import Writer, is_gone
from qwen_tui.store.records import clean, title_from, turn_stats
from support.fake_engine import stats
from support.stores import MODEL, TEXT, TOKENS, opened, shown, turn

PARTS: list[Part] = ["answer", "reasoning", "tool_call"]
BATCHES = st.lists(st.tuples(st.lists(st.tuples(st.sampled_from(PARTS), TEXT), max_size=4), TOKENS), max_size=6)


def texts(message: StoredMessage) -> tuple[str, str, str]:
    return message.content, message.reasoning, message.tool_calls


def said(batches: list[tuple[list[tuple[Part, str]], list[int]]], part: Part) -> str:
    return "".join(text for pieces, _ in batches for name, text in pieces if name == part)


@limits(max_examples=40)
@given(BATCHES, BATCHES, TOKENS, st.booleans())
def test_what_was_appended_is_what_an_interrupted_answer_has(
    tmp_path_factory: pytest.TempPathFactory,
    first: list[tuple[list[tuple[Part, str]], list[int]]],
    then: list[tuple[list[tuple[Part, str]], list[int]]],
    prompt: list[int],
    prompt_known: bool,
) -> None:
    """Also when it goes on later and is interrupted again. With the prompt's ids, its own are kept behind them."""
    with opened(tmp_path_factory.mktemp("store")) as store:
        conversation = store.conversations.begin()
        turn(store, conversation, "Q0", "A0", (1, 2, 3))
        question = store.answers.ask(conversation, "Q")
        answer = store.answers.begin(question)
        if prompt_known:
            store.answers.prompt(answer, [1, 2, 3, *prompt])
        assert store.tree.message(answer).status == "running"
        for batches in (first, then):
            for pieces, ids in batches:
                store.answers.append(answer, pieces, ids)
            store.answers.interrupt(answer)
            message = store.tree.message(answer)
            assert message.status == "interrupted"
            store.answers.reopen(answer)
        everything = [*first, *then]
        assert texts(message) == tuple(said(everything, part) for part in PARTS)
        own = [token for _, ids in everything for token in ids]
        assert store.tree.ids(answer) == ((1, 2, 3, *prompt, *own) if prompt_known else None)


def test_an_answer_ends_as_it_is_told_and_the_parts_are_gone(tmp_path: Path) -> None:
    asked = GenerationSettings(temperature=0.6, seed=7, effort="high")
    figures = stats()
    with opened(tmp_path) as store:
        conversation = store.conversations.begin(model=MODEL)
        question = store.answers.ask(conversation, "Q")
        answer = store.answers.begin(question, asked, MODEL)
        store.answers.append(answer, [("answer", "\n\nhal")], [5])
        store.answers.finish(answer, Message("assistant", "half", "why", "<tool_call>"), "length", (1, 2), figures)
        assert store.database.read("SELECT * FROM parts") == []
    with opened(tmp_path) as store:
        message = store.tree.message(answer)
        assert texts(message) == ("half", "why", "<tool_call>")
        assert (message.status, message.finish_reason, message.model) == ("complete", "length", MODEL)
        assert GenerationSettings(**message.settings) == asked
        assert turn_stats(message.stats) == figures
        assert store.tree.ids(answer) == (1, 2)


def test_a_failed_answer_keeps_its_text_and_why(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        answer = store.answers.begin(store.answers.ask(store.conversations.begin(), "Q"))
        store.answers.append(answer, [("answer", "half")])
        store.answers.fail(answer, "memory ran out")
        message = store.tree.message(answer)
        assert (message.status, message.error, message.content) == ("failed", "memory ran out", "half")


def test_only_the_answers_of_programs_that_have_gone_are_interrupted(tmp_path: Path) -> None:
    """Two stores stand for two programs: a lock belongs to an open file, not to a process."""
    with opened(tmp_path) as busy:
        conversation = busy.conversations.begin()
        running = busy.answers.begin(busy.answers.ask(conversation, "Q"))
        busy.answers.append(running, [("answer", "one ")])
        with opened(tmp_path) as other:
            assert other.interrupted == []
            assert other.tree.message(running).status == "running"
        busy.answers.append(running, [("answer", "two")])
        busy.answers.finish(running, Message("assistant", "one two"), "stop")
        left = busy.answers.begin(busy.answers.ask(conversation, "Q2"))
        busy.answers.append(left, [("answer", "half")])
        # The end of a process without any of its own doing: the lock goes with the file.
        busy._writer._descriptor, descriptor = -1, busy._writer._descriptor
        os.close(descriptor)
        with opened(tmp_path) as later:
            assert later.interrupted == [left]
            assert shown(later, conversation) == ["Q", "one two", "Q2", "half"]
            assert [m.status for m in later.tree.path(conversation)] == ["complete"] * 3 + ["interrupted"]
        busy._writer.name = ""
        busy.database.close()


def test_leaving_marks_what_still_runs(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        answer = store.answers.begin(store.answers.ask(store.conversations.begin(), "Q"))
        store.answers.append(answer, [("answer", "half")])
    with opened(tmp_path) as store:
        message = store.tree.message(answer)
        assert (message.status, message.content, store.interrupted) == ("interrupted", "half", [])


def test_a_writer_is_gone_once_it_let_go(tmp_path: Path) -> None:
    writer = Writer(tmp_path / "writers")
    name = writer.name
    assert not is_gone(tmp_path / "writers", name)
    writer.close()
    for gone in (name, "", "../conversations.db", "nobody"):
        assert is_gone(tmp_path / "writers", gone)
    assert list((tmp_path / "writers").iterdir()) == []


@given(st.text(max_size=300))
def test_titles_are_one_short_line_and_never_empty(question: str) -> None:
    title = title_from(question)
    assert 0 < len(title) <= 60
    assert title == clean(title)
    assert len(title.splitlines()) == 1
    assert title == title.strip() or title == "Conversation"


@pytest.mark.parametrize(
    ("question", "title"),
    [
        ("What is NVFP4?", "What is NVFP4?"),
        ("\n\n## Explain **this**\nmore", "Explain **this"),
        ("```\n\n```", "``` ```"),
        ("", "Conversation"),
        ("word " * 30, "word word word word word word word word word word word…"),
        ("字" * 80, "字" * 59 + "…"),
    ],
)
def test_titles(question: str, title: str) -> None:
    assert title_from(question) == title


@given(
    st.dictionaries(st.sampled_from(list(asdict(stats()))) | st.text(max_size=5), st.integers() | st.text() | st.none())
)
def test_figures_that_are_not_a_turns_are_none(values: dict[str, object]) -> None:
    """What an older or newer program stored is either understood or left alone."""
    needed = {"prompt_tokens", "cached_tokens", "generated_tokens", "reasoning_tokens", "context_tokens"}
    figures = turn_stats(values)
    assert figures is None or all(isinstance(values[name], int) for name in needed)
    assert turn_stats({**asdict(stats()), "unknown": 1}) == stats()
    off = replace(stats(), draft_off="cpu")
    assert turn_stats(asdict(off)) == off
    assert turn_stats({**asdict(off), "draft_off": ["none of these"]}) == stats()


def test_alternatives_are_counted() -> None:
    message = StoredMessage(5, 1, None, "user", "Q", siblings=(3, 5, 9))
    assert message.place == (2, 3)


def test_a_question_follows_what_its_model_saw_and_not_what_another_program_added(tmp_path: Path) -> None:
    with opened(tmp_path) as here, opened(tmp_path) as there:
        conversation = here.conversations.begin()
        opening = here.answers.ask(conversation, "here first", after=None)
        _, first = turn(there, conversation, "Q1", "A1")
        assert there.tree.message(opening).siblings == here.tree.path(conversation)[0].siblings
        theirs, theirs_answer = turn(there, conversation, "theirs", "A2")
        mine = here.answers.ask(conversation, "mine", after=first)
        assert shown(here, conversation) == ["Q1", "A1", "mine"]
        assert here.tree.message(mine).siblings == (theirs, mine)
        again = here.answers.ask(conversation, "again", after=mine)
        assert here.tree.message(again).siblings == (theirs, mine, again)
        there.tree.delete_turn(theirs)
        left = here.answers.ask(conversation, "left", after=theirs_answer)
        assert here.tree.message(left).siblings == (mine, again, left)
        root = here.answers.ask(conversation, "root", after=None)
        assert here.tree.message(root).parent_id is None
        assert shown(here, conversation) == ["root"]
        with pytest.raises(StoreError, match="another conversation"):
            here.answers.ask(here.conversations.begin(), "lost", after=first)
        with pytest.raises(StoreError, match="there is no message 999"):
            here.answers.ask(conversation, "lost", after=999)


@pytest.mark.parametrize("how", ["ask", "edit", "begin", "reopen"])
def test_what_is_asked_in_a_deleted_conversation_brings_it_back(tmp_path: Path, how: str) -> None:
    with opened(tmp_path) as here, opened(tmp_path) as there:
        conversation = here.conversations.begin()
        question, answer = turn(here, conversation, "Q", "A")
        there.conversations.delete(conversation)
        if how == "ask":
            here.answers.ask(conversation, "more")
        elif how == "edit":
            here.answers.edit(question, "other")
        elif how == "begin":
            here.answers.begin(question)
        else:
            here.answers.reopen(answer)
        assert there.conversations.purge(older_than_days=-1) == 0
        assert [summary.id for summary in there.conversations.listed()] == [conversation]


def test_nothing_is_asked_in_a_conversation_that_was_purged(tmp_path: Path) -> None:
    with opened(tmp_path) as here, opened(tmp_path) as there:
        conversation = here.conversations.begin()
        question, answer = turn(here, conversation, "Q", "A")
        there.conversations.delete(conversation)
        assert there.conversations.purge(older_than_days=-1) == 1
        for action in (
            lambda: here.answers.ask(conversation, "more"),
            lambda: here.answers.ask(conversation, "more", after=answer),
            lambda: here.answers.ask(conversation, "more", after=None),
            lambda: here.answers.edit(question, "other"),
            lambda: here.answers.begin(question),
        ):
            with pytest.raises(StoreError, match="there is no"):
                action()
