"""The list behind the list of conversations: whatever is done in whatever order, it is what a simple model says."""

import asyncio
from collections.abc import Awaitable
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as limits
from hypothesis import strategies as st

from qwen_tui.conversation_list import book as book_module
from qwen_tui.conversation_list.book import ConversationBook
from qwen_tui.store import StoreError
from support.conversations_stage import NOW, furnish, shelf

COUNT = 9
TITLES = st.sampled_from(["alpha", "beta", "Alphabet", "gamma ray", "100 % _", "量化"])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("rename"), st.integers(0, COUNT), TITLES),
        st.tuples(st.sampled_from(["delete", "pin"]), st.integers(0, COUNT), st.just("")),
        st.tuples(st.sampled_from(["undo", "undo", "wait", "more", "everything"]), st.just(0), st.just("")),
        st.tuples(st.just("search"), st.just(0), st.sampled_from(["", "alpha", "%", "a"])),
    ),
    max_size=25,
)


class Model:
    """What the list must be, by a dictionary and a stack."""

    def __init__(self, ids: list[int]) -> None:
        self.titles = {one: f"number {one}" for one in ids}
        self.pinned: set[int] = set()
        self.deleted: list[int] = []

    def listed(self, query: str) -> list[tuple[int, str, bool]]:
        order = sorted(self.titles, key=lambda one: (one in self.pinned, one), reverse=True)
        return [
            (one, self.titles[one], one in self.pinned)
            for one in order
            if one not in self.deleted and query.lower() in self.titles[one].lower()
        ]


@limits(max_examples=80)
@given(steps=STEPS)
async def test_any_sequence_of_changes(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int, str]]
) -> None:
    """The changes come faster than the store takes them, but where a step says wait; pages are of three."""
    here = shelf(tmp_path_factory.mktemp("store"))
    with closing(here.thread), pytest.MonkeyPatch.context() as patch:
        patch.setattr(book_module, "PAGE", 3)
        model = Model([here.do(lambda store: store.conversations.begin(title="x")) for _ in range(COUNT)])
        for one, title in model.titles.items():
            here.do(lambda store, one=one, title=title: store.conversations.rename(one, title))
        book = ConversationBook(here.thread)
        await book.look()
        waiting: list[Awaitable[object]] = []

        async def settle() -> None:
            await asyncio.gather(*waiting)
            waiting.clear()
            await book.look()
            expected = model.listed(book.query)
            listed = [(summary.id, summary.title, summary.pinned) for summary in book.titles]
            assert listed == expected[: len(listed)]
            assert book.more == (len(listed) < len(expected))
            assert len(listed) >= min(book_module.PAGE, len(expected))
            assert book.deleted == frozenset(model.deleted)

        for step, place, title in steps:
            seen = book.titles[place % len(book.titles)].id if book.titles else None
            match step:
                case "rename" if seen is not None:
                    waiting.append(book.rename(seen, title))
                    model.titles[seen] = title
                case "delete" if seen is not None:
                    waiting.append(book.delete(seen))
                    model.deleted.append(seen)
                    assert seen not in [summary.id for summary in book.titles]
                case "pin" if seen is not None:
                    waiting.append(book.pin(seen))
                    model.pinned ^= {seen}
                case "undo" if model.deleted:
                    waiting.append(book.undo())
                    model.deleted.pop()
                case "search":
                    book.search(title)
                    waiting.append(book.look())
                case "more" | "everything":
                    waiting.append(book.read_more(everything=step == "everything"))
                case "wait":
                    await settle()
        await settle()


async def test_a_page_that_was_asked_for_before_a_change_is_dropped(tmp_path: Path) -> None:
    """What it holds is older than what the person sees."""
    here = shelf(tmp_path)
    with closing(here.thread), pytest.MonkeyPatch.context() as patch:
        patch.setattr(book_module, "PAGE", 3)
        for number in range(6):
            here.do(lambda store, number=number: store.conversations.begin(title=f"{number}"))
        book = ConversationBook(here.thread)
        await book.look()
        page = asyncio.ensure_future(book.read_more())
        await asyncio.sleep(0)  # it has been handed in
        deleted = book.delete(book.titles[0].id)
        await page
        await deleted
        assert [summary.title for summary in book.titles] == ["4", "3", "2"]


async def test_a_change_is_done_though_nobody_waits(tmp_path: Path) -> None:
    here = shelf(tmp_path)
    made = furnish(here)
    with closing(here.thread):
        book = ConversationBook(here.thread)
        await book.look()
        book.delete(made["sql"])
        assert await book.settled()
        assert made["sql"] not in [summary.id for summary in book.titles]
        assert "Why is my query slow?" not in here.titles()


async def test_a_deletion_that_fails_is_not_there_to_undo(tmp_path: Path) -> None:
    here = shelf(tmp_path)
    made = furnish(here)
    with closing(here.thread):
        book = ConversationBook(here.thread)
        await book.look()
        here.do(lambda store: store.database.read("PRAGMA query_only = ON"))
        for change in (book.delete(made["sql"]), book.rename(made["trip"], "x")):
            with pytest.raises(StoreError):
                await change
        book.delete(made["sql"])
        assert not await book.settled()
        assert not book.deleted
        assert len(book.titles) == 5
        here.do(lambda store: store.database.read("PRAGMA query_only = OFF"))
        await book.delete(made["sql"])
        here.do(lambda store: store.database.read("PRAGMA query_only = ON"))
        with pytest.raises(StoreError):
            await book.undo()
        assert book.deleted == {made["sql"]}, "it can be tried again"


def test_the_time_of_the_store_is_the_shelfs(tmp_path: Path) -> None:
    here = shelf(tmp_path)
    with closing(here.thread):
        made = here.add("one", 60)
        assert here.do(lambda store: store.conversations.get(made)).updated_at == NOW - 60
