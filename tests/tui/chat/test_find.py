"""Finding in a conversation: every place, in order, against a plain search; and the bar that walks them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwen_tui.chat.finding import find_matches, nearest
from qwen_tui.chat.turn_view import TurnView
from qwen_tui.conversation.turns import Turn
from support.app_stage import Stage, stage
from support.fake_engine import loads_only
from support.transcripts import body, put, rest, tell

WORDS = st.text(alphabet="aAbB ß東\n.*[", max_size=20)


@given(st.lists(st.tuples(WORDS, WORDS, WORDS), max_size=4), st.text(alphabet="aAbBß東.*[", min_size=1, max_size=2))
def test_every_place_is_found_in_any_case(texts: list[tuple[str, str, str]], needle: str) -> None:
    turns = [
        Turn(0, question, pieces=(("reasoning", thoughts), ("answer", answer))) for question, thoughts, answer in texts
    ]
    found = find_matches(turns, needle)
    for place, parts in enumerate(texts):
        for name, text in zip(("question", "reasoning", "answer"), parts, strict=True):
            here = [match.number for match in found if (match.place, match.part) == (place, name)]
            assert here == list(range(len(text.lower().split(needle.lower())) - 1))
    order = ["question", "reasoning", "answer"]
    keys = [(match.place, order.index(match.part), match.number) for match in found]
    assert keys == sorted(keys)


def test_a_search_begins_where_the_person_is_and_goes_on_where_it_was() -> None:
    turns = [Turn(number, "a word", pieces=(("answer", "a word, a word"),)) for number in range(4)]
    matches = find_matches(turns, "word")
    assert matches[nearest(matches, None, 2)].turn is turns[2]
    assert nearest(matches, None, 4) == len(matches) - 1
    assert nearest(matches, matches[7], 0) == 7
    assert nearest([], None, 0) == -1


def count(here: Stage) -> str:
    row = next((line for line in here.lines() if line.startswith(" Find ")), "")
    return row.split("  ")[-1].strip()


def found(here: Stage) -> list[Turn]:
    """The turns that are marked as found, by a line at their side."""
    return [view.item for view in here.app.chat.transcript.views if view.has_class("-found") and view.item in TURNS]


TURNS: list[Turn] = []


@pytest.mark.usefixtures("few_widgets")
async def test_the_bar_walks_all_places_round_the_ends() -> None:
    async with stage(loads_only, size=(100, 24)) as here:
        turns = await tell(here, 40)
        TURNS[:] = turns
        put(turns[7], "answer", "Nothing.\n\nBut here is a **Needle** in it.")
        turns[33].question = "a needle"
        put(turns[33], "reasoning", "\n".join(["hay"] * 70 + ["the NEEDLE"] + ["hay"] * 20))
        await rest(here)
        await here.pilot.press("ctrl+f", *"needle")
        await rest(here)
        assert count(here) == "3 of 3", "nothing is found in view or after it: the last place"
        places = []
        for _ in range(4):
            await here.pilot.press("enter")
            await rest(here)
            places.append((count(here), found(here)[0].number))
            assert "needle" in "\n".join(body(here)).lower()
        assert places == [("1 of 3", 8), ("2 of 3", 34), ("3 of 3", 34), ("1 of 3", 8)]
        await here.pilot.press("up")
        await rest(here)
        assert count(here) == "3 of 3"
        assert "the NEEDLE" in here.text(), "reasoning is opened, and scrolled to"
        assert "bold reverse" in here.snapshot()
        await here.pilot.press("escape")
        await rest(here)
        chat = here.app.chat
        assert chat.focused is chat.editor
        assert found(here) == []
        assert "the NEEDLE" in here.text(), "the eye stays"
        assert "bold reverse" not in here.snapshot()


async def test_what_is_not_there_is_said_and_letters_are_written() -> None:
    async with stage(loads_only, size=(60, 20)) as here:
        await tell(here, 3)
        await here.pilot.press("ctrl+f", *"needrcyu")
        await rest(here)
        assert count(here) == "not found"
        assert here.app.chat.editor.text == ""
        here.app.chat.find("[Question")
        await rest(here)
        assert count(here) == "not found"
        here.app.chat.find("question")
        await rest(here)
        assert count(here).endswith("of 3")


@pytest.mark.usefixtures("few_widgets")
async def test_with_a_turn_focused_n_and_N_walk_and_esc_ends_the_search() -> None:
    async with stage(loads_only, size=(100, 24)) as here:
        chat = here.app.chat
        turns = await tell(here, 20)
        chat.find("question")
        await rest(here)
        chat.focus_turn(turns[4])
        await rest(here)
        begin = int(count(here).split()[0])
        await here.pilot.press("n", "n", "N")
        await rest(here)
        assert int(count(here).split()[0]) == begin % 20 + 1
        assert isinstance(chat.focused, TurnView)
        assert chat.focused.has_class("-found")
        await here.pilot.press("escape")
        await rest(here)
        assert chat.focused is chat.editor
        assert " Find " not in here.text()


async def test_what_comes_meanwhile_is_found_too_and_what_goes_is_not_missed() -> None:
    async with stage(loads_only, size=(60, 20)) as here:
        turns = await tell(here, 3)
        here.app.chat.find("second paragraph")
        await rest(here)
        turns[2].say("answer", "\n\na second paragraph more")
        await rest(here)
        await here.pilot.press("enter")
        await rest(here)
        assert count(here).endswith("of 4")
        here.app.conversation.items.clear()
        await rest(here)
        await here.pilot.press("enter", "escape")
        await rest(here)
        assert " Find " not in here.text()
