"""What the list of conversations says and keeps when the store or the disk fails it."""

from pathlib import Path

import pytest

from qwen_tui.conversation_list.screen import ConversationsResult, ConversationsScreen
from qwen_tui.store import StoreError
from qwen_tui.store.thread import StoreThread
from support.app_stage import stage
from support.conversations_stage import ORDER, Shelf, conversations, furnish, opened, titles
from support.fake_engine import loads_only


async def test_an_export_that_cannot_be_written_is_said(store: Shelf, tmp_path: Path) -> None:
    furnish(store)
    async with conversations(store, folder=tmp_path / "gone") as here:
        await here.press("ctrl+o")
        assert here.said.startswith("✕") and "cannot be written" in here.said


# What can go wrong.


async def test_a_store_that_cannot_be_opened_is_a_line(tmp_path: Path) -> None:
    def refuse() -> None:
        raise StoreError("the conversations cannot be opened: no space is left")

    async with stage(loads_only) as platform:
        thread = StoreThread(lambda: refuse() or pytest.fail())
        here = await opened(platform, ConversationsScreen(thread, None))
        assert here.said == "✕ the conversations cannot be opened: no space is left"
        await here.press("delete", "ctrl+z", "tab", "ctrl+o", "enter", "a", "escape", "escape")
        assert here.result == ConversationsResult()
        thread.close()


async def test_a_change_that_fails_is_said_and_taken_back(store: Shelf) -> None:
    made = furnish(store)
    async with conversations(store) as here:
        store.do(lambda s: s.database.read("PRAGMA query_only = ON"))
        for key in ("delete", "ctrl+t"):
            await here.press("home", key)
            assert here.said.startswith("✕")
            assert titles(here) == ORDER
        store.do(lambda s: s.database.read("PRAGMA query_only = OFF"))
        await here.press("ctrl+z")
        assert "Nothing was deleted" in here.said
        await here.press("escape")
        assert here.result == ConversationsResult()
        assert made["poem"]


async def test_leaving_right_after_a_deletion_does_not_lose_it(store: Shelf) -> None:
    made = furnish(store)
    async with conversations(store) as here:
        with store.held():
            await here.pilot.press("delete", "escape")
            assert not here.results, "not before it is in the store"
        await here.settle()
        assert here.result.deleted == {made["poem"]}
        assert store.titles() == ORDER[1:]


async def test_a_deletion_that_fails_keeps_the_screen_open_to_say_so(store: Shelf) -> None:
    furnish(store)
    async with conversations(store) as here:
        store.do(lambda s: s.database.read("PRAGMA query_only = ON"))
        with store.held():
            await here.pilot.press("delete", "escape")
        await here.settle()
        assert not here.results
        assert here.said.startswith("✕")
        await here.press("escape")
        assert here.result == ConversationsResult()


async def test_what_another_program_deleted_is_a_line(store: Shelf) -> None:
    made = furnish(store)
    async with conversations(store) as here:
        store.do(lambda s: s.conversations.delete(made["poem"]))
        store.do(lambda s: s.conversations.purge(0))
        await here.press("ctrl+r", "x", "enter")
        assert "no such conversation" in here.said
        assert titles(here) == ORDER[1:]


# Much, odd and narrow.
