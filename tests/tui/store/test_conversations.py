"""The list of conversations, drafts and earlier inputs, and the models."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as limits
from hypothesis import strategies as st

from qwen_tui.conversation_list.lines import age
from qwen_tui.store import Draft, StoreError
from qwen_tui.store.export_markdown import conversation_markdown
from support.stores import MODEL, OTHER, TEXT, opened, shown, turn

DAY = 86_400


def test_pinned_ones_come_first_then_those_used_last(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        first, second, third = (store.conversations.begin(title=name) for name in ("one", "two", "three"))
        turn(store, first, "Q", "A")
        store.conversations.pin(second)
        assert [entry.id for entry in store.conversations.listed()] == [second, first, third]
        latest = store.conversations.latest()
        assert latest is not None
        assert latest.id == first
        store.conversations.pin(second, False)
        assert [entry.id for entry in store.conversations.listed(limit=2)] == [first, third]
        assert [entry.id for entry in store.conversations.listed(limit=2, offset=2)] == [second]


def test_a_conversation_is_named_by_its_first_question_unless_a_person_did(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        conversation = store.conversations.begin()
        turn(store, conversation, "What is NVFP4?", "A")
        turn(store, conversation, "And MXFP4?", "A")
        assert store.conversations.get(conversation).title == "What is NVFP4?"
        store.conversations.rename(conversation, "  four\nbits ")
        assert store.conversations.get(conversation).title == "four bits"
        with pytest.raises(StoreError, match="needs a title"):
            store.conversations.rename(conversation, " \n ")
        named = store.conversations.begin(title="mine")
        turn(store, named, "Q", "A")
        assert store.conversations.get(named).title == "mine"


def test_the_list_says_how_many_turns_are_shown_and_what_was_interrupted(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        conversation = store.conversations.begin("be brief", MODEL)
        question, _ = turn(store, conversation, "Q1", "A1")
        turn(store, conversation, "Q2", "A2")
        (entry,) = store.conversations.listed()
        assert (entry.turns, entry.interrupted, entry.system, entry.model) == (2, False, "be brief", MODEL)
        store.answers.edit(question, "Q1 anew")
        assert store.conversations.get(conversation).turns == 1
        store.answers.interrupt(store.answers.begin(question))
        assert store.conversations.get(conversation).interrupted


def test_deleting_hides_undoing_shows_and_purging_removes(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        kept, gone = store.conversations.begin(), store.conversations.begin()
        turn(store, kept, "needle kept", "A")
        turn(store, gone, "needle gone", "A")
        store.writing.save_draft(gone, Draft("half"))
        store.conversations.delete(gone)
        assert [entry.id for entry in store.conversations.listed()] == [kept]
        assert [entry.id for entry in store.conversations.listed(deleted=True)] == [gone]
        assert [hit.conversation_id for hit in store.search.find("needle")] == [kept]
        store.conversations.restore(gone)
        assert {hit.conversation_id for hit in store.search.find("needle")} == {kept, gone}
        assert shown(store, gone) == ["needle gone", "A"]
        store.conversations.delete(gone)
        assert store.conversations.purge(older_than_days=1) == 0
        assert store.conversations.purge(older_than_days=0) == 1
        with pytest.raises(StoreError, match=f"no conversation {gone}"):
            store.conversations.get(gone)
        left = [
            store.database.read(f"SELECT count(*) FROM {table}")[0][0] for table in ("messages", "drafts", "search")
        ]
        assert left == [2, 0, 2]
        assert store.database.read("PRAGMA foreign_key_check") == []


def test_a_long_conversation_can_be_purged(tmp_path: Path) -> None:
    """Longer than SQLite nests what one deletion sets off."""
    with opened(tmp_path) as store:
        conversation = store.conversations.begin()
        with store.database.write() as connection:
            for number in range(1, 3001):
                connection.execute(
                    "INSERT INTO messages (id, conversation_id, parent_id, role, content, created_at) "
                    "VALUES (?, ?, ?, ?, 'text', 0)",
                    (number, conversation, number - 1 or None, ("assistant", "user")[number % 2]),
                )
            connection.execute("UPDATE messages SET chosen_child = id + 1 WHERE id < 3000")
            connection.execute("UPDATE conversations SET chosen_root = 1")
        assert len(store.tree.path(conversation)) == 3000
        assert store.conversations.get(conversation).turns == 1500
        store.conversations.delete(conversation)
        assert store.conversations.purge(0) == 1
        assert store.database.read("SELECT count(*) FROM messages")[0][0] == 0


def test_old_deletions_go_when_a_program_starts(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        old, new = store.conversations.begin(), store.conversations.begin()
        store.conversations.delete(old)
        store.conversations.delete(new)
        with store.database.write() as connection:
            connection.execute("UPDATE conversations SET deleted_at = deleted_at - ? WHERE id = ?", (31 * DAY, old))
    with opened(tmp_path) as store:
        assert [entry.id for entry in store.conversations.listed(deleted=True)] == [new]


def test_the_list_can_be_narrowed(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        plain = store.conversations.begin(model=MODEL, title="100% sure")
        other = store.conversations.begin(model=OTHER, title="1000 things")
        assert store.conversations.models() == [OTHER.name, MODEL.name]
        assert [entry.id for entry in store.conversations.listed(model=OTHER.name)] == [other]
        assert [entry.id for entry in store.conversations.listed(title="100%")] == [plain]
        assert [entry.id for entry in store.conversations.listed(title="_")] == []
        assert [entry.id for entry in store.conversations.listed(title="THINGS")] == [other]


def test_what_does_not_exist_cannot_be_changed(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        for action in (
            lambda: store.conversations.rename(7, "x"),
            lambda: store.conversations.pin(7),
            lambda: store.conversations.delete(7),
            lambda: store.conversations.restore(7),
            lambda: store.conversations.set_system(7, None),
        ):
            with pytest.raises(StoreError, match="no such conversation"):
                action()
        assert store.conversations.latest() is None


def test_numbers_of_conversations_are_never_used_again(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        first = store.conversations.begin()
        store.conversations.delete(first)
        store.conversations.purge(0)
        assert store.conversations.begin() > first


@limits(max_examples=40)
@given(st.lists(st.tuples(st.sampled_from([None, 1, 2]), TEXT, st.dictionaries(st.integers(1, 999), TEXT, max_size=2))))
def test_each_conversation_has_its_last_draft(
    tmp_path_factory: pytest.TempPathFactory, drafts: list[tuple[int | None, str, dict[int, str]]]
) -> None:
    folder = tmp_path_factory.mktemp("store")
    with opened(folder) as store:
        assert [store.conversations.begin() for _ in range(2)] == [1, 2]
        for place, text, pastes in drafts:
            store.writing.save_draft(place, Draft(text, pastes))
    last = {place: Draft(text, pastes) for place, text, pastes in drafts if text}
    for place, text, _ in drafts:
        if not text:
            last.pop(place, None)
        else:
            last[place] = next(Draft(t, p) for where, t, p in reversed(drafts) if where == place)
    last = {place: draft for place, draft in last.items() if draft.text}
    with opened(folder) as store:
        for place in (None, 1, 2):
            assert store.writing.draft(place) == last.get(place, Draft(""))


@limits(max_examples=30)
@given(st.lists(TEXT, max_size=12), st.integers(1, 12))
def test_inputs_come_back_in_order_without_the_same_twice_in_a_row(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str], limit: int
) -> None:
    folder = tmp_path_factory.mktemp("store")
    with opened(folder) as store:
        for text in texts:
            store.writing.remember(text)
    said = [text for text in texts if text.strip()]
    expected = [text for place, text in enumerate(said) if place == 0 or said[place - 1] != text]
    with opened(folder) as store:
        assert store.writing.recent(limit) == expected[-limit:]


def test_the_history_of_inputs_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qwen_tui.store.drafts.MAX_INPUTS", 5)
    with opened(tmp_path) as store:
        for number in range(20):
            store.writing.remember(str(number))
        store.writing.remember("x" * 200_000)
        assert store.writing.recent() == [str(number) for number in range(15, 20)]


def test_recent_models_are_directories_in_order_of_use(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        for model in (MODEL, OTHER, MODEL):
            store.models.used(model)
        assert store.models.recent() == [MODEL, OTHER]
        assert store.models.recent(1) == [MODEL]


@pytest.mark.parametrize("moment", [1e308, -1e308])
def test_a_time_that_no_calendar_has_is_the_nearest_one(tmp_path: Path, moment: float) -> None:
    with opened(tmp_path) as store:
        turn(store, conversation := store.conversations.begin(), "Q", "A")
        with store.database.write() as connection:
            connection.execute("UPDATE conversations SET created_at = ?, updated_at = ?", (moment, moment))
            connection.execute("UPDATE messages SET created_at = ?", (moment,))
        summary = store.conversations.get(conversation)
        assert summary.created_at == summary.updated_at == min(max(moment, 0.0), 1e11)
        assert conversation_markdown(summary, store.tree.path(conversation)).startswith("# Q")
        assert age(0.0, summary.updated_at)
