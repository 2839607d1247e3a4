"""Turns have the focus: each key does its one thing, and writing still goes to the composer."""

import pytest

from qwen_tui.chat.turn_view import TurnView
from qwen_tui.conversation.turns import Turn
from support.app_stage import Stage, stage
from support.fake_engine import loads_only
from support.transcripts import put, rest, tell

ASKED = {
    "e": "edit",
    "r": "retry",
    "c": "continue",
    "d": "delete",
    "u": "undo",
    "y": "copy",
    "left": "previous",
    "right": "next",
}


def listen(here: Stage, monkeypatch: pytest.MonkeyPatch) -> list[tuple[Turn | None, str]]:
    """What turns ask the app for from now on; nothing is done."""
    heard: list[tuple[Turn | None, str]] = []

    async def do(turn: Turn | None, what: str) -> None:
        heard.append((turn, what))

    monkeypatch.setattr(here.app.turns, "do", do)
    return heard


@pytest.mark.parametrize(("key", "what"), ASKED.items())
async def test_each_key_asks_for_its_one_thing(key: str, what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with stage(loads_only) as here:
        turns = await tell(here, 3)
        heard = listen(here, monkeypatch)
        here.app.chat.focus_turn(turns[1])
        await rest(here)
        await here.press(key)
        assert [(turn is turns[1], asked) for turn, asked in heard] == [(True, what)]
        assert here.app.chat.editor.text == ""
        assert isinstance(here.app.chat.focused, TurnView)


async def test_keys_of_a_turn_are_letters_in_the_composer_and_other_letters_go_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with stage(loads_only) as here:
        chat = here.app.chat
        await tell(here, 2)
        heard = listen(here, monkeypatch)
        await here.pilot.press(*"erdcuynN")
        assert chat.editor.text == "erdcuynN"
        await here.pilot.press("ctrl+up", "w")
        assert chat.focused is chat.editor
        await here.pilot.press(*"hen")
        assert chat.editor.text == "erdcuynNwhen"
        # Without a search that is open, n is a letter like any other.
        await here.pilot.press("ctrl+up", "n")
        assert chat.editor.text == "erdcuynNwhenn"
        assert heard == []


@pytest.mark.usefixtures("few_widgets")
async def test_jumping_walks_the_turns_and_ends_in_the_composer() -> None:
    async with stage(loads_only, size=(60, 20)) as here:
        chat = here.app.chat
        turns = await tell(here, 16)

        async def press(*keys: str) -> object:
            await here.pilot.press(*keys)
            await rest(here)
            return chat.focused.item if isinstance(chat.focused, TurnView) else chat.focused

        for turn in turns[-3:-7:-3]:
            assert await press(*["ctrl+up"] * 3) is turn
            assert f"question {turn.number}" in here.text()
        # Over the edge of what has widgets, and back.
        chat.focus_turn(turns[-9])
        for turn in turns[-12:-16:-3]:
            assert await press(*["ctrl+up"] * 3) is turn
            assert f"question {turn.number}" in here.text()
        for turn in (turns[-12], turns[-9]):
            assert await press(*["alt+down"] * 3) is turn
        chat.focus_turn(turns[-1])
        await rest(here)
        assert await press("ctrl+down") is chat.editor
        assert chat.transcript.following
        await press("ctrl+home")
        assert await press("ctrl+down") is turns[0]
        assert await press("ctrl+up") is turns[0]
        assert await press("escape") is chat.editor
        assert "question 1" in here.text(), "the composer has the focus, the eye stays"


async def test_tab_walks_turns_and_folds() -> None:
    async with stage(loads_only) as here:
        turns = await tell(here, 2)
        put(turns[1], "reasoning", "thoughts")
        await rest(here)
        walked = []
        for _ in range(3):
            await here.pilot.press("shift+tab")
            walked.append(here.app.chat.focused)
        assert [type(widget).__name__ for widget in walked] == ["Fold", "TurnView", "TurnView"]
        assert [widget.item for widget in walked[1:] if isinstance(widget, TurnView)] == turns[::-1]
        await here.pilot.press("tab", "tab", "tab")
        assert here.app.chat.focused is here.app.chat.editor


async def test_a_focused_turn_is_marked_by_more_than_colour_and_its_keys_are_hinted_at() -> None:
    async with stage(loads_only) as here:
        await tell(here, 2)
        assert "┃" not in here.text()
        await here.pilot.press("ctrl+up")
        await rest(here)
        assert "┃▌ question 2" in here.text()
        assert "┃▌ question 1" not in here.text()
        assert "Esc back  e edit  r again  l lens  ←→ others  c continue  m map  y copy" in here.lines()[-1]
        await here.pilot.press("escape")
        await rest(here)
        assert "┃" not in here.text()
        assert "⏎ send" in here.lines()[-1]


async def test_clicking_leaves_the_focus_in_the_composer() -> None:
    async with stage(loads_only) as here:
        await tell(here, 1)
        row = next(y for y, line in enumerate(here.lines()) if "answer 1" in line)
        await here.pilot.click(offset=(3, row))
        assert here.app.chat.focused is here.app.chat.editor


async def test_alternatives_are_counted_under_the_answer() -> None:
    async with stage(loads_only, size=(60, 24)) as here:
        turns = await tell(here, 2)
        assert "/" not in here.transcript().replace("tok/s", "")
        turns[1].place = (2, 3)
        await rest(here)
        assert "‹ 2/3 › answer 2 of 3" in here.text()
        assert "← →" in here.text()


@pytest.mark.parametrize("rows", [12, 13, 60])
async def test_a_long_question_is_cut_until_it_is_opened(rows: int) -> None:
    async with stage(loads_only, size=(60, 30)) as here:
        turns = await tell(here, 1)
        turns[0].shown = "\n".join(f"row {number}" for number in range(rows))
        turns[0].question = "what the model got"
        await rest(here)
        assert "row 0" in here.transcript()
        assert "what the model got" not in here.transcript()
        cut = rows > 12
        assert (f"row {rows - 1}" in here.transcript()) != cut
        assert (f"… {rows - 11} more lines" in here.transcript()) == cut
        for key in ("ctrl+r", "ctrl+up"):
            await here.pilot.press(key)
            if key == "ctrl+up":
                await rest(here)
                await here.pilot.press("enter")
            await rest(here)
            assert f"row {rows - 1}" in here.transcript()
            await here.pilot.press("ctrl+r" if key == "ctrl+r" else "enter")
            await rest(here)
            assert ("more lines" in here.transcript()) == cut


async def test_walking_the_alternatives_keeps_the_turn_in_view() -> None:
    async with stage(size=(40, 15)) as here:
        conversation = here.app.conversation

        async def answered(*place: int) -> None:
            await here.wait(lambda: conversation.current is None and conversation.turns[-1].place == place)
            await rest(here)

        await here.ask("a long question " * 40)
        await answered(1, 1)
        await here.ask("short")
        await answered(1, 1)
        await here.enter("/retry")
        await answered(2, 2)
        await here.press("ctrl+up")
        for key in ("left", "right"):
            await here.press(key)
            await rest(here)
            focused = here.app.chat.focused
            assert isinstance(focused, TurnView) and focused.item is conversation.turns[-1]
            assert here.app.chat.transcript.region.contains_region(focused.region), "no other turn was scrolled to"


async def test_a_banner_stands_above_the_composer_until_esc() -> None:
    async with stage(loads_only, size=(60, 20)) as here:
        left: list[str] = []

        def leave() -> None:
            left.append("left")
            here.app.chat.composer_banner(None)

        here.app.drafts.leave_edit = leave
        await here.pilot.press("escape")
        assert left == []
        here.app.chat.composer_banner("editing turn 3 · Esc\x1b leaves [b]it[/b]")
        await here.settle()
        row = next(y for y, line in enumerate(here.lines()) if "editing turn 3 · Esc␛ leaves [b]it[/b]" in line)
        assert here.lines()[row + 1].startswith("───")
        await here.press("escape")
        assert left == ["left"]
        assert "editing turn" not in here.text()


async def test_tab_goes_to_the_last_turn_and_back_to_the_composer() -> None:
    async with stage(loads_only, size=(60, 20)) as here:
        chat = here.app.chat
        turns = await tell(here, 6)
        await here.write("a draft")
        await here.press("tab")
        await rest(here)
        assert isinstance(chat.focused, TurnView) and chat.focused.item is turns[-1]
        assert "question 6" in here.text()
        await here.press("tab")
        await rest(here)
        assert chat.focused is chat.editor
        assert chat.editor.text == "a draft"
        chat.action_scroll_transcript(-1)
        await rest(here)
        seen = chat.transcript.first_in_view()
        await here.press("tab")
        await rest(here)
        assert isinstance(chat.focused, TurnView) and chat.focused.item is seen, "what is in view comes first"
