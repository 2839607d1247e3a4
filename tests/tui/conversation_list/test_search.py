"""Searching on the list of conversations: what is found, how the hit is marked, how to get out of it."""

from qwen_tui.conversation_list.screen import ConversationsResult, OpenedConversation
from qwen_tui.store import Hit
from support.conversations_stage import ORDER, Shelf, conversations, furnish, titles


async def test_a_search_finds_titles_and_messages(store: Shelf) -> None:
    made = furnish(store)
    async with conversations(store) as here:
        await here.type("scale")
        assert titles(here) == ["A poem about scales and fish"]
        assert {row.conversation_id for row in here.rows if isinstance(row, Hit)} == {made["formats"], made["poem"]}
        assert "shares one E4M3 scale, so" in here.text()
        assert store.titles() == ORDER, "letters in the search are no keys"
        await here.press("down")
        row = here.row
        assert isinstance(row, Hit)
        await here.press("enter")
        assert here.result.opened == OpenedConversation(row.conversation_id, row.message_id)


async def test_keys_that_need_a_row_are_not_named_without_one(store: Shelf) -> None:
    async with conversations(store) as here:
        assert here.text().splitlines()[-1].strip().split("  ") == ["Esc back", "F1 keys"]
    furnish(store)
    async with conversations(store) as here:
        assert "⏎ go on" in here.text().splitlines()[-1].strip()
        await here.press(*"zzzz")
        assert here.text().splitlines()[-1].strip().split("  ") == ["Esc clear", "⇥ model", "F1 keys"]


async def test_one_letter_looks_at_titles_alone(store: Shelf) -> None:
    furnish(store)
    async with conversations(store) as here:
        await here.press("z")
        assert not here.rows
        assert "From two letters on" in here.text()
        await here.press("backspace", "v")
        assert titles(here) == ["Explain NVFP4 vs MXFP4"]
        assert not [row for row in here.rows if isinstance(row, Hit)]


async def test_a_word_of_one_wide_letter_is_searched(store: Shelf) -> None:
    made = furnish(store)
    async with conversations(store, query="駅") as here:
        assert [row.conversation_id for row in here.rows if isinstance(row, Hit)] == [made["dinner"]]


async def test_escape_clears_the_search_first(store: Shelf) -> None:
    furnish(store)
    async with conversations(store, query="norway") as here:
        assert here.search.has_focus
        assert titles(here) == ["Packing list for Norway"]
        await here.press("s", "escape")
        assert not here.results
        assert titles(here) == ORDER
        assert here.search.has_focus
        await here.press("escape")
        assert here.result == ConversationsResult()


async def test_what_is_deleted_is_what_was_found(store: Shelf) -> None:
    furnish(store)
    async with conversations(store) as here:
        await here.press(*"NOR", "down")
        assert here.search.has_focus
        await here.press("delete")
        assert "Packing list for Norway" not in store.titles()


async def test_the_hit_is_marked_without_colour(store: Shelf) -> None:
    furnish(store)
    async with conversations(store, query="e4m3") as here:
        strips = [here.view.render_line(y) for y in range(here.view.size.height)]
        marked = [segment for strip in strips for segment in strip if segment.style and segment.style.underline]
        assert [segment.text for segment in marked] == ["E4M3"]
        await here.press("home")
        assert all(segment.style and segment.style.bold for segment in marked)
