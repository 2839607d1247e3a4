"""What drafts said is underlined where a person asks for it, in the text as the model wrote it."""

import pytest

from qwen_core.protocol.events import Command, Delta, Event, Load, Loaded, Send, TurnStarted
from qwen_core.protocol.pieces import Piece
from qwen_tui.text.marked import marked
from support.app_stage import Stage, stage
from support.fake_engine import MODEL, Step, delta, done

PIECES: tuple[Piece, ...] = (
    ("reasoning", "I "),
    ("reasoning", "think\x1b"),
    ("answer", "So **yes"),
    ("answer", "**, and"),
    ("answer", " no."),
)
DRAFTED = (False, True, False, True, False)


def answers(command: Command) -> list[Step]:
    if isinstance(command, Load):
        return [(0.0, Loaded(MODEL))]
    if not isinstance(command, Send):
        return []
    given = delta(command.turn, *PIECES, count=5)
    events: list[Event] = [
        TurnStarted(command.turn, 20, 4),
        Delta(command.turn, given.pieces, (), given.stats, DRAFTED),
        done(command.turn, "So **yes**, and no.", "I think\x1b"),
    ]
    return [(0.0, event) for event in events]


def underlined(here: Stage) -> str:
    """The underlined text of the screen, row by row."""
    strips = here.strips()
    return "|".join(
        text
        for strip in strips
        if (text := "".join(part.text for part in strip if part.style is not None and part.style.underline))
    )


async def test_a_key_and_a_command_mark_what_drafts_said() -> None:
    async with stage(answers) as here:
        await here.ask("is it so?")
        await here.wait(lambda: here.app.conversation.phase == "ready", "the answer's end")
        await here.settle()
        assert "So yes, and no." in here.text()
        assert underlined(here) == ""
        await here.press("f8")
        assert "So **yes**, and no." in here.text(), "marked is the text as the model wrote it"
        assert underlined(here) == "**, and|underlined"
        await here.press("ctrl+r")
        assert underlined(here) == "think\u241b|**, and|underlined"
        await here.enter("/draft marks")
        assert underlined(here) == ""
        assert "So yes, and no." in here.text()


async def test_marks_are_drawn_while_an_answer_runs_and_in_turns_to_come() -> None:
    async with stage(answers) as here:
        await here.press("ctrl+b")
        await here.ask("is it so?")
        await here.wait(lambda: here.app.conversation.phase == "ready", "the answer's end")
        await here.settle()
        assert underlined(here) == "**, and|underlined"
        turn = here.app.conversation.ask("and then?")
        turn.state = "decoding"
        turn.say("answer", "one ")
        turn.say("answer", "two", drafted=True)
        await here.app.chat.draw()
        await here.settle()
        assert underlined(here).endswith("two|underlined")
        turn.say("answer", " three")
        await here.app.chat.draw()
        await here.settle()
        assert "one two three" in here.text()
        assert underlined(here).endswith("two|underlined")


@pytest.mark.parametrize("places", [(), ((0, 2),), ((1, 2), (2, 5)), ((3, 9),)])
def test_marked_text_is_the_text(places: tuple[tuple[int, int], ...]) -> None:
    text = "a\x07b\u200bcd e"
    shown = marked(text, places)
    assert shown.plain == marked(text, ()).plain == "a\u2407bcd e"
