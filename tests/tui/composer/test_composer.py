"""The composer: what keys do to the text, what comes back with the arrows, and the draft that is told."""

import pytest
from textual.widgets import TextArea

from qwen_tui.store import Draft
from support.composer_stage import composer_stage

LONG = "".join(f"line {number}\n" for number in range(30)).rstrip("\n")
TOKEN = "[paste 1: 30 lines]"


async def test_enter_sends_what_is_written_and_leaves_it_there() -> None:
    async with composer_stage() as here:
        await here.type("one\ntwo")
        await here.press("enter")
        assert here.app.sent == ["one\ntwo"]
        assert here.editor.text == "one\ntwo"
        assert here.taken() == "one\ntwo"
        assert here.editor.text == ""


async def test_a_long_paste_is_a_token_and_a_short_one_is_text() -> None:
    async with composer_stage() as here:
        editor = here.editor
        editor.insert_pasted("a\r\nb\x1b[31m")
        assert editor.text == "a\nb[31m"
        editor.set_text("")
        here.app.copy_to_clipboard(LONG)
        await here.press("ctrl+v")
        await here.type(" x")
        assert editor.text == f"{TOKEN} x"
        await here.press("enter")
        assert here.app.sent == [f"{TOKEN} x"]
        assert editor.pastes.expand(editor.text) == f"{LONG} x"
        assert here.taken() == f"{LONG} x"
        editor.paste_lines = 30
        editor.insert_pasted(LONG)
        assert editor.text == LONG


async def test_a_paste_that_spells_a_token_is_what_it_says() -> None:
    """Neither the token of a paste that is there, nor that of the next one."""
    async with composer_stage() as here:
        editor = here.editor
        editor.insert_pasted("[paste 1: 30 lines]")
        editor.insert_pasted(LONG)
        assert editor.text == "[paste 1: 30 lines][paste 2: 30 lines]"
        editor.insert_pasted("[paste 2: 30 lines]")
        assert here.taken() == f"[paste 1: 30 lines]{LONG}[paste 2: 30 lines]"


@pytest.mark.parametrize(
    ("to", "key", "left"),
    [
        ([], "backspace", "see  now"),
        ([], "ctrl+w", "see  now"),
        ([], "ctrl+u", " now"),
        (["left"], "delete", "see  now"),
        (["left"], "ctrl+d", "see  now"),
        (["left"], "alt+delete", "see  now"),
        (["left"], "ctrl+k", "see "),
        (["shift+left"], "backspace", "see  now"),
        (["shift+left"], "x", "see x now"),
    ],
)
async def test_one_key_deletes_a_whole_token_and_undo_brings_it_back(to: list[str], key: str, left: str) -> None:
    async with composer_stage() as here:
        editor = here.editor
        await here.type("see ")
        editor.insert_pasted(LONG)
        await here.type(" now")
        editor.move_cursor((0, 4 + len(TOKEN)))
        await here.press(*to, key)
        assert editor.text == left
        await here.press("ctrl+z")
        assert editor.text == f"see {TOKEN} now"
        assert editor.pastes.expand(editor.text) == f"see {LONG} now"


async def test_the_cursor_steps_over_a_token() -> None:
    async with composer_stage() as here:
        editor = here.editor
        await here.type("a")
        editor.insert_pasted(LONG)
        await here.type("b")
        ends = []
        for key in ("left", "left", "left", "left", "right", "right", "right"):
            await here.press(key)
            ends.append(editor.cursor_location[1])
        behind = 1 + len(TOKEN)
        assert ends == [behind, 1, 0, 0, 1, behind, behind + 1]
        await here.pilot.click(editor, offset=(5, 0))
        assert editor.cursor_location == (0, 1)
        await here.type("x")
        assert editor.text == f"ax{TOKEN}b"


async def test_outside_of_the_draft_a_token_is_what_was_pasted() -> None:
    async with composer_stage() as here:
        editor = here.editor
        editor.insert_pasted(LONG)
        await here.press("shift+left")
        assert editor.selected_text == LONG
        await here.press("ctrl+x")
        assert (editor.text, here.app.clipboard) == ("", LONG)
        await here.type("other")
        assert here.taken() == "other"
        await here.press("ctrl+v")
        assert here.taken() == LONG


async def test_a_token_is_drawn_apart_from_text() -> None:
    async with composer_stage() as here:
        await here.type("see ")
        here.editor.insert_pasted(LONG)
        await here.type(" 日本")
        italics = "".join(
            segment.text for segment in here.editor.render_line(0) if segment.style is not None and segment.style.italic
        )
        assert italics == TOKEN


async def test_what_was_sent_comes_back_with_its_pastes() -> None:
    async with composer_stage() as here:
        editor = here.editor
        editor.insert_pasted(LONG)
        await here.press("enter")
        here.taken()
        editor.insert_pasted(LONG.upper())
        assert editor.text == TOKEN
        await here.press("up")
        assert editor.text == TOKEN
        assert editor.pastes.expand(editor.text) == LONG
        await here.press("down")
        assert here.taken() == LONG.upper()
        await here.press("up", "up")
        assert editor.pastes.expand(editor.text) == LONG


async def test_inputs_of_earlier_runs_come_back_before_those_of_this_one() -> None:
    async with composer_stage() as here:
        editor = here.editor
        await here.type("now")
        here.taken()
        editor.recall.fill(["oldest", "old\x1ber"])
        seen = []
        for _ in range(4):
            await here.press("up")
            seen.append(editor.text)
        assert seen == ["now", "older", "oldest", "oldest"]


async def test_a_draft_comes_back_whole_and_clean() -> None:
    async with composer_stage() as here:
        editor = here.editor
        await here.type("see ")
        editor.insert_pasted("gone\n" * 40)
        await here.press("backspace")
        editor.insert_pasted(LONG)
        draft = editor.draft()
        assert draft == Draft("see [paste 2: 30 lines]", {2: LONG})
        here.taken()
        editor.set_draft(Draft(draft.text + "\x1b", draft.pastes))
        assert editor.draft() == draft
        assert editor.cursor_location == (0, len(draft.text))
        editor.set_text("something else")
        assert editor.draft() == Draft("something else", {})
        editor.insert_pasted(LONG)
        assert here.taken() == f"something else{LONG}"


async def test_the_draft_is_told_once_things_are_quiet() -> None:
    async with composer_stage() as here:
        for character in "hello":
            here.editor.insert_typed(character)
        here.editor.insert_pasted(LONG)
        assert here.app.drafts == []
        await here.wait(lambda: here.app.drafts, "the draft")
        assert here.app.drafts == [Draft(f"hello{TOKEN}", {1: LONG})]
        here.taken()
        await here.wait(lambda: len(here.app.drafts) > 1, "the empty draft")
        assert here.app.drafts[1] == Draft("", {})


async def test_a_wide_draft_keeps_its_cells() -> None:
    """The cursor, which input methods follow, stands behind the last wide character."""
    async with composer_stage() as here:
        here.editor.set_text("日本🎉")
        await here.pilot.pause()
        x, _ = here.editor.cursor_screen_offset
        assert x == here.editor.content_region.x + 6
        assert "› 日本🎉" in "\n".join(here.lines())


async def test_an_empty_field_says_what_it_is_for() -> None:
    async with composer_stage(size=(40, 12)) as here:
        assert any("› ask anything" in line for line in here.lines())
        assert isinstance(here.editor, TextArea)
