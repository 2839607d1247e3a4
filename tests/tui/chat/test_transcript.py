"""The window of widgets over a conversation: always a run of its items in order, and the eye's place kept."""

import random

import pytest
from rich.cells import cell_len
from textual.geometry import Offset

from qwen_core.protocol.events import TurnStarted
from qwen_tui.chat import turn_window
from qwen_tui.chat.answer import AnswerView
from qwen_tui.chat.note import NoteView
from qwen_tui.chat.turn_view import TurnView
from qwen_tui.conversation.turns import Item, Turn
from support.app_stage import Stage, stage
from support.fake_engine import delta, loads_only
from support.transcripts import body, finish, numbers, put, rest, tell, told


def is_run(part: list[Item], whole: list[Item]) -> bool:
    places = [next((place for place, item in enumerate(whole) if item is one), -1) for one in part]
    return -1 not in places and places == list(range(places[0], places[0] + len(places))) if places else True


def check(here: Stage) -> None:
    """What holds at any time."""
    transcript, items = here.app.chat.transcript, here.app.conversation.items
    views = transcript.views
    assert is_run([view.item for view in views], items)
    assert [child for child in transcript.children if isinstance(child, TurnView | NoteView)] == views
    assert len(views) <= turn_window.MOST + turn_window.STEP
    assert bool(views) == bool(items)
    first, last = (items.index(views[place].item) for place in (0, -1)) if views else (0, -1)
    text = here.transcript()
    assert ("earlier turn" in text) == any(isinstance(item, Turn) for item in items[:first])
    assert ("later turn" in text) == any(isinstance(item, Turn) for item in items[last + 1 :])


CHANGES = [
    "append", "note", "remove", "retry", "cut", "all", "up", "down", "home", "end", "turn", "jump", "fold", "leave",
]  # fmt: skip


async def change(here: Stage, rng: random.Random, number: int) -> None:
    """Anything that may happen to a conversation or its view."""
    conversation, transcript, pilot = here.app.conversation, here.app.chat.transcript, here.pilot
    items = conversation.items
    match rng.choice(CHANGES):
        case "append":
            for more in range(rng.choice([1, 1, 9])):
                told(here, number + more)
        case "note":
            conversation.note(f"note {number}")
        case "remove" if items:
            items.remove(rng.choice(items))
        case "retry" if items:
            items[rng.randrange(len(items))] = told_apart(number)
        case "cut" if items:
            del items[rng.randrange(len(items)) :]
        case "all":
            items[:] = [told_apart(number + more) for more in range(rng.choice([0, 3, 30]))]
        case "up" | "down" as way:
            await pilot.press(*[f"page{way}"] * rng.choice([1, 3, 8]))
        case "home" | "end" as way:
            await pilot.press(f"ctrl+{way}")
        case "turn" if conversation.turns:
            here.app.chat.focus_turn(rng.choice(conversation.turns))
        case "jump":
            await pilot.press(rng.choice(["ctrl+up", "ctrl+down"]))
        case "fold":
            await pilot.press("ctrl+r")
        case _:
            here.app.chat.editor.focus()
    assert transcript.is_attached


def told_apart(number: int) -> Turn:
    turn = Turn(number, f"question {number}")
    finish(turn, f"answer {number}\n\n- with\n- a list")
    return turn


@pytest.mark.usefixtures("few_widgets")
@pytest.mark.parametrize("seed", range(2))
async def test_any_walk_leaves_a_run_of_items_in_order_and_the_end_as_if_drawn_anew(seed: int) -> None:
    async def walked() -> tuple[list[str], list[Item]]:
        rng = random.Random(seed)
        async with stage(loads_only, size=(60, 24)) as here:
            for step in range(22):
                await change(here, rng, 1000 * (step + 1))
                await rest(here)
                check(here)
            here.app.chat.editor.focus()
            await here.pilot.press("ctrl+end")
            await rest(here)
            return body(here), list(here.app.conversation.items)

    async def anew(items: list[Item]) -> list[str]:
        async with stage(loads_only, size=(60, 24)) as here:
            here.app.conversation.items.extend(items)
            await rest(here)
            return body(here)

    drawn, items = await walked()
    assert drawn == await anew(items)


@pytest.mark.usefixtures("few_widgets")
async def test_scrolling_walks_the_whole_conversation_and_the_text_under_the_eye_stays() -> None:
    """Page after page to the first line and back: each page shows the last two rows of the one before."""
    async with stage(loads_only, size=(60, 24)) as here:
        transcript = here.app.chat.transcript
        await tell(here, 20)
        assert numbers(transcript) == list(range(9, 21))
        seen = set(body(here))
        await here.pilot.press("pageup")
        for key, overlap in (("pageup", slice(None, 2)), ("pagedown", slice(-2, None))):
            while True:
                before, top = body(here), transcript.scroll_y
                await here.pilot.press(key)
                await rest(here)
                after = body(here)
                assert len(transcript.views) <= turn_window.MOST
                if before == after:
                    break
                seen |= set(after)
                if 0 < transcript.scroll_y < transcript.max_scroll_y:
                    other = slice(-2, None) if key == "pageup" else slice(None, 2)
                    assert after[other] == before[overlap], (key, top)
            end = "answer 1" if key == "pageup" else "answer 20"
            assert any(row.strip() == end for row in after) or transcript.following
        assert {f" ▌ question {number}" for number in range(1, 21)} <= seen
        assert transcript.following
        assert numbers(transcript) == list(range(9, 21))


async def test_the_first_and_the_last_line_are_one_key_away() -> None:
    async with stage(loads_only, size=(60, 20)) as here:
        transcript = here.app.chat.transcript
        await tell(here, 500)
        await here.pilot.press("ctrl+home")
        await rest(here)
        assert "question 1" in here.text()
        assert "460 later turns" in here.transcript()
        assert not transcript.following
        await here.pilot.press("ctrl+end")
        await rest(here)
        assert "answer 500" in here.text()
        assert "460 earlier turns, scroll up" in here.transcript()
        assert transcript.following


async def test_drawing_again_touches_only_what_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[str] = []
    original = AnswerView.set_blocks
    monkeypatch.setattr(
        AnswerView, "set_blocks", lambda self, blocks, keep=0: (drawn.append("x"), original(self, blocks, keep=keep))[0]
    )
    async with stage(loads_only, size=(60, 20)) as here:
        turns = await tell(here, 500)
        assert len(drawn) <= turn_window.MOST, "items out of the window cost nothing"
        drawn.clear()
        await rest(here)
        assert drawn == []
        put(turns[-2], "answer", "another alternative")
        put(turns[0], "answer", "out of sight")
        await rest(here)
        assert len(drawn) == 1
        assert "another alternative" in here.transcript()


async def test_text_streams_in_while_the_person_reads_elsewhere_and_the_status_says_so() -> None:
    async with stage(loads_only, size=(100, 20)) as here:
        await tell(here, 100)
        await here.ask("and now?")
        await here.feed(TurnStarted(101, 10, 0))
        assert "paused" not in here.lines()[-1]
        await here.pilot.press("ctrl+home")
        await rest(here)
        before = body(here)
        for number in range(12):
            await here.feed(delta(101, ("answer", f"line {number}\n\n"), count=number))
        assert body(here) == before
        assert "paused, ^End follows" in here.lines()[-1]
        await here.pilot.press("ctrl+end")
        await rest(here)
        assert "line 11" in here.text()
        assert "paused" not in here.lines()[-1]


async def test_the_focus_survives_drawing_and_goes_over_to_what_takes_a_turns_place() -> None:
    async with stage(loads_only, size=(100, 30)) as here:
        chat, items = here.app.chat, here.app.conversation.items
        turns = await tell(here, 3)
        chat.focus_turn(turns[1])
        await rest(here)
        view = chat.focused
        put(turns[1], "answer", "changed")
        await rest(here)
        assert chat.focused is view
        # Another alternative: everything is read from disk anew.
        items[:] = [told_apart(number) for number in (1, 2, 3)]
        await rest(here)
        focused = chat.focused
        assert isinstance(focused, TurnView)
        assert focused.item is items[1]
        del items[1]
        await rest(here)
        assert chat.focused is chat.editor


async def test_a_resize_keeps_the_place() -> None:
    async with stage(loads_only, size=(100, 24)) as here:
        turns = await tell(here, 60)
        here.app.chat.focus_turn(turns[29])
        await rest(here)
        for size in ((60, 20), (40, 12), (120, 40)):
            await here.pilot.resize_terminal(*size)
            await rest(here)
            assert "question 30" in here.text(), size


async def test_the_mouse_selects_text_of_an_answer_across_wrapped_rows_and_blocks() -> None:
    """What is copied are the lines as they were written: no breaks of the screen, no quotation marks of the drawing."""
    answer = (
        "The first paragraph is long enough to be broken into two rows of the screen here.\n\n"
        "- one **bold** thing\n- 東京 takes two cells\n\n```python\nx = 1\ny = 2\n```\n\nThe end."
    )
    async with stage(loads_only, size=(60, 40)) as here:
        told(here, 1, answer)
        await rest(here)
        view = here.app.chat.transcript.views[0]
        drawn = view.query_one(AnswerView)
        region = drawn.content_region
        # From "first" in its first row to the "takes" of the list.
        rows = [drawn.render_line(y).text for y in range(region.height)]
        begin = Offset(rows[0].index("first"), 0)
        row = next(y for y, text in enumerate(rows) if "takes" in text)
        end = Offset(cell_len(rows[row].split("takes")[0]) + len("takes") - 1, row)
        await here.pilot.mouse_down(drawn, offset=begin)
        await here.pilot.hover(drawn, offset=end)
        await here.pilot.mouse_up(drawn, offset=end)
        await here.pilot.pause()
        selected = here.app.chat.get_selected_text()
        assert selected is not None
        lines = selected.splitlines()
        assert lines[0] == "first paragraph is long enough to be broken into two rows of the screen here."
        assert lines[-1].endswith("東京 takes")
        assert any(line.endswith("one bold thing") for line in lines)
        await here.pilot.press("ctrl+c")
        assert here.app.clipboard == selected
