"""The list of conversations by its keys, over a real store: what is shown, what the store has then, how it ends."""

from pathlib import Path

import pytest
from textual.widgets import Input

from qwen_tui.conversation_list.book import PAGE
from qwen_tui.conversation_list.fields import SearchField
from qwen_tui.conversation_list.list_view import ConversationList
from qwen_tui.conversation_list.screen import ConversationsResult, ConversationsScreen, OpenedConversation
from qwen_tui.settings.key_help import key_help
from qwen_tui.settings.key_names import spoken
from qwen_tui.store import ConversationSummary, Hit, Store
from qwen_tui.widgets.cursor_list import Heading
from support.conversations_stage import DAY, HOUR, MINUTE, ORDER, Shelf, conversations, furnish, titles
from support.stores import OTHER


async def test_enter_resumes_what_the_cursor_is_on(store: Shelf) -> None:
    made = furnish(store)
    async with conversations(store) as here:
        assert titles(here) == ORDER
        await here.press("down", "down", "up")
        await here.press("enter")
        assert here.result == ConversationsResult(OpenedConversation(made["formats"]))
        assert here.app.screen is here.app.chat


@pytest.mark.parametrize("key", ["escape", "f3", "ctrl+s"])
async def test_leaving_changes_nothing(store: Shelf, key: str) -> None:
    furnish(store)
    async with conversations(store) as here:
        await here.press(key)
        assert here.result == ConversationsResult()
        assert store.titles() == ORDER


async def test_a_row_says_what_there_is_to_know(store: Shelf) -> None:
    made = furnish(store)
    async with conversations(store, current=made["formats"]) as here:
        rows = [line for line in here.lines() if "turns" in line]
        assert any("★ A poem" in line for line in rows)
        for words in ("Qwen3.6-27B", "3 turns", "3 min", "open"):
            assert any("NVFP4 vs" in line and words in line for line in rows), words
        for words in ("interrupted", "13 turns", "yesterday"):
            assert any("query slow" in line and words in line for line in rows), words


@pytest.mark.parametrize(
    ("size", "room"),
    [((160, 45), True), ((100, 30), True), ((100, 24), False), ((60, 20), False)],
    ids=lambda value: str(value).replace(" ", ""),
)
async def test_how_it_ended_stands_beside_the_list_or_below(store: Shelf, size: tuple[int, int], room: bool) -> None:
    made = furnish(store)
    store.do(lambda s: s.answers.ask(made["dinner"], "\x1b[31mAnd [b]tomorrow[/b]?"))
    async with conversations(store, size) as here:
        await here.press("down")
        assert here.row.title == ORDER[2]
        assert ("And [b]tomorrow[/b]?" in here.text()) is room
        assert "\x1b" not in here.text()
        assert "駅の近く" not in here.text(), "that was the answer before"
        await here.press("down")
        assert ("shares one E4M3 scale" in here.text()) is room
        await here.press(*"zebra")
        assert "E4M3" not in here.text(), "there is no row"


async def test_conversations_stand_under_the_time_they_were_used(store: Shelf) -> None:
    furnish(store)
    for size, blanks in (((100, 30), 3), ((60, 14), 0)):
        async with conversations(store, size) as here:
            rows = here.view._rows
            heads = [row.name for row in rows if isinstance(row, Heading)]
            assert [name for name in heads if name] == ["Pinned", "Today", "The last seven days", "Earlier"]
            assert heads.count("") == blanks
            assert here.row.title == ORDER[0], "a heading is passed over"
            await here.press("end", "home")
            assert here.row.title == ORDER[0]
            assert "Pinned" in here.text()


# Searching.


async def test_the_mouse_does_what_the_keys_do(store: Shelf) -> None:
    made = furnish(store)
    async with conversations(store, query="scale") as here:
        first = here.row
        await here.pilot.click(ConversationList, offset=(10, 2))
        assert here.row is first, "a heading is passed over"
        await here.pilot.click(ConversationList, offset=(10, 5))
        await here.settle()
        row = here.row
        assert isinstance(row, Hit) and row.conversation_id == made["poem"], "its second line is it as well"
        await here.pilot.click(ConversationList, offset=(10, 7), times=2)
        await here.settle()
        assert here.result.opened is not None
        assert here.result.opened.conversation_id == made["formats"]


# Changes.


async def test_letters_search_and_change_nothing(store: Shelf) -> None:
    """Every letter that was a key once, and some words that begin with one."""
    furnish(store)
    before = store.do(lambda s: s.conversations.listed())
    async with conversations(store) as here:
        for words in ("d", "r", "u", "p", "m", "x", "q", "j", "k", "/", "delete rename undo pin", "query slow"):
            await here.type(words)
            assert here.search.value == words
            assert not here.results
            assert store.do(lambda s: s.conversations.listed()) == before
            if words == "query slow":
                assert titles(here) == ["Why is my query slow?"]
            await here.press("escape")
        assert titles(here) == ORDER


async def test_what_was_deleted_can_be_brought_back_in_sight(store: Shelf) -> None:
    furnish(store)
    async with conversations(store, (40, 15)) as here:
        assert "^Z undo" not in here.text()
        await here.press("delete")
        assert here.said == f"Deleted, Ctrl+Z brings it back: {ORDER[0]}"
        await here.press("down", *"norway")
        assert "^Z undo" in here.text(), "also once something else was said"
        await here.press("ctrl+z")
        assert store.titles() == ORDER
        assert "^Z undo" not in here.text()


async def test_rename_in_place(store: Shelf) -> None:
    made = furnish(store)
    async with conversations(store) as here:
        await here.press("down", "ctrl+r")
        editor = here.screen.query_one("#title", Input)
        assert editor.has_focus and editor.value == "Explain NVFP4 vs MXFP4"
        lines = here.lines()
        assert editor.region.y == next(y for y, line in enumerate(lines) if "Explain NVFP4" in line)
        await here.press("ctrl+u")
        await here.type("dqx/")
        assert store.titles() == ORDER, "letters of a title are no keys"
        await here.press("enter")
        assert store.titles() == [ORDER[0], "dqx/", *ORDER[2:]]
        assert here.search.has_focus and here.row.title == "dqx/"
        assert not editor.display
        await here.press("enter")
        assert here.result.opened == OpenedConversation(made["formats"])


@pytest.mark.parametrize("keys", [("escape",), ("tab",), ("enter",)])
async def test_a_title_that_is_left_alone_stays(store: Shelf, keys: tuple[str, ...]) -> None:
    """Escape and walking away leave it; Enter on the same words is no change either."""
    furnish(store)
    odd = "two  blanks\tand \x1b[31mred"
    identity = store.do(lambda s: s.conversations.begin(title="x"))
    store.do(lambda s: s.database.read("UPDATE conversations SET title = ? WHERE id = ?", (odd, identity)))
    async with conversations(store) as here:
        await here.press("down")
        assert here.row.title == odd
        await here.press("ctrl+r")
        if keys != ("enter",):
            await here.press("x")
        await here.press(*keys)
        assert odd in store.titles()
        assert not here.screen.query_one("#title", Input).display
        assert not here.results


async def test_an_empty_title_is_refused(store: Shelf) -> None:
    furnish(store)
    async with conversations(store) as here:
        await here.press("ctrl+r", "ctrl+u", "space", "enter")
        assert "needs a title" in here.said
        assert here.screen.query_one("#title", Input).has_focus
        await here.press("escape")
        assert store.titles() == ORDER


async def test_delete_and_undo_are_a_stack(store: Shelf) -> None:
    made = furnish(store)
    async with conversations(store, current=made["formats"]) as here:
        await here.press("ctrl+z")
        assert "Nothing was deleted" in here.said
        await here.press("down")
        with store.held():  # the second key means what is under the cursor after the first
            await here.pilot.press("delete", "delete", "delete")
        await here.settle()
        assert store.titles() == titles(here) == [ORDER[0], ORDER[4]]
        assert "Ctrl+Z brings it back" in here.said
        await here.press("ctrl+z")
        assert store.titles() == titles(here) == [ORDER[0], *ORDER[3:]]
        assert here.row.title == ORDER[3]
        await here.press("escape")
        assert here.result == ConversationsResult(None, frozenset((made["formats"], made["dinner"])))


async def test_deleting_all_leaves_a_list_that_says_so(store: Shelf) -> None:
    furnish(store)
    async with conversations(store) as here:
        await here.press(*["delete"] * 5, "delete", "ctrl+t", "ctrl+r", "ctrl+o", "enter", "up", "end")
        assert store.titles() == []
        assert "No conversations yet." in here.text()
        assert not here.results
        await here.press(*["ctrl+z"] * 5)
        assert store.titles() == ORDER


async def test_a_conversation_deleted_at_a_hit_takes_its_hits_along(store: Shelf) -> None:
    made = furnish(store)
    async with conversations(store, query="scale") as here:
        await here.press("down")
        row = here.row
        assert isinstance(row, Hit) and row.conversation_id == made["poem"]
        await here.press("delete")
        assert {row.conversation_id for row in here.rows if isinstance(row, Hit)} == {made["formats"]}
        assert titles(here) == []
        await here.press("ctrl+z")
        assert titles(here) == ["A poem about scales and fish"]


async def test_pinning_moves_to_the_top_and_the_cursor_goes_along(store: Shelf) -> None:
    furnish(store)
    async with conversations(store) as here:
        await here.press("end", "ctrl+t")
        assert titles(here) == store.titles() == [ORDER[0], ORDER[4], *ORDER[1:4]]
        assert here.row.title == ORDER[4]
        assert here.said == f"Pinned: {ORDER[4]}."
        await here.press("ctrl+t")
        assert store.titles() == ORDER
        assert here.said.startswith("No longer pinned")


async def test_the_model_filter_goes_round(store: Shelf) -> None:
    furnish(store)
    async with conversations(store, query="r") as here:
        await here.press("escape", "tab")
        assert titles(here) == ["東京での夕食の予約"]
        assert f"model {OTHER.name}" in here.text()
        await here.press(*"scale")
        assert not here.rows
        assert "with this model has that" in here.text()
        await here.press("enter", "tab")
        assert [row.title for row in here.rows if isinstance(row, ConversationSummary)] == [ORDER[0]]
        await here.press("escape", "tab")
        assert titles(here) == ORDER


async def test_export_writes_markdown_under_a_free_name(store: Shelf, tmp_path: Path) -> None:
    store.add("../../etc/passwd \x1b[31m", text="The answer")
    async with conversations(store, folder=tmp_path) as here:
        await here.press("ctrl+o", "ctrl+o")
        assert str(tmp_path) in here.said
    written = sorted(path.name for path in tmp_path.iterdir() if path.is_file())
    assert len(written) == 2
    assert all(name.endswith(".md") and "/" not in name and not name.startswith(".") for name in written)
    assert "The answer" in (tmp_path / written[0]).read_text(encoding="utf-8")


async def test_a_thousand_are_read_in_pages(store: Shelf) -> None:
    def fill(inside: Store) -> None:
        for number in range(1000):
            store.clock[0] += 1
            inside.conversations.begin(title=f"Number {number}")

    store.do(fill)
    async with conversations(store) as here:
        assert len(here.rows) == PAGE
        assert "200+" in here.lines()[0]
        for _ in range(14):
            await here.press("pagedown")
        assert len(here.rows) == 2 * PAGE
        assert here.view.row in here.rows
        await here.press("end")
        assert len(here.rows) == 1000
        assert here.row.title == "Number 0"
        assert "1,000 " in here.lines()[0] + " "
        await here.press("delete", "ctrl+t")
        assert len(here.rows) == 999
        assert here.row.title == "Number 1"
        assert titles(here)[0] == "Number 1"
        await here.press("ctrl+z")
        assert here.row.title == "Number 0"
        assert len({row.id for row in here.rows if isinstance(row, ConversationSummary)}) == 1000


ODD = [
    "\x1b[31mred\x1b[0m \x9b2J [bold]not bold[/bold]",
    "[link=file:///etc/passwd]x[/link] $primary [/]",
    "\u202egnp.exe and \u2066isolated",
    "東京" * 60,
    "👩‍👩‍👧‍👦 🇩🇪 e\u0301 \u0e01\u0e33 ﷽",
    "x" * 10_000,
    "a b " * 2_500,
    "\n\nlines\r\nin a title\x00",
]


@pytest.mark.parametrize("size", [(100, 30), (60, 20), (40, 12), (20, 6), (10, 3), (3, 2)], ids=str)
async def test_titles_from_anywhere_at_any_size(store: Shelf, size: tuple[int, int]) -> None:
    for number, title in enumerate(ODD):
        made = store.add("x", number * HOUR, text=f"Found {title}")
        change = "UPDATE conversations SET title = ? WHERE id = ?"
        store.do(lambda s, change=change, values=(title, made): s.database.read(change, values))
    async with conversations(store, size, query="found") as here:
        for keys in (["end"], ["home", "ctrl+r", "escape"], ["escape", "end"], ["ctrl+r", "escape", "home"]):
            await here.press(*keys)
            lines = here.lines()
            assert not any(sign in line for line in lines for sign in "\x1b\x9b\x00\u202e\u2066")
            for y in range(here.view.size.height):
                assert here.view.render_line(y).cell_length == here.view.size.width
        await here.pilot.resize_terminal(100, 30)
        await here.settle()
        assert "[bold]not bold[/bold]" in here.text()


async def test_help_names_every_key(store: Shelf) -> None:
    made = furnish(store)
    async with conversations(store) as here:
        told = key_help(here.app.screen)
        keys = {word for shown, _ in told.keys for word in shown.split()}
        for owner in (ConversationsScreen, SearchField):
            for binding in owner.BINDINGS:
                assert not isinstance(binding, tuple)
                assert {spoken(key) for key in binding.key.split(",")} <= keys, binding.key
        assert f"#{made['poem']} " in here.text(), "the number that --resume takes"
        assert not [shown for shown, _ in told.keys if len(shown) == 1 and shown.isalpha()]


async def test_the_clock_of_the_ages_is_the_screens(store: Shelf) -> None:
    store.add("old", 3 * DAY + 5 * MINUTE)
    async with conversations(store) as here:
        assert "10 Nov" in here.text()
