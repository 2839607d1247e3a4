"""A conversation that is open in two programs: both say so, once."""

import pytest

from qwen_tui.app.other_programs import SAID, OtherPrograms
from qwen_tui.conversation.conversation import Note
from qwen_tui.store.open_marks import OpenMarks
from support.app_stage import Stage, stage


def notes(here: Stage) -> int:
    return sum(isinstance(item, Note) and item.text == SAID for item in here.app.conversation.items)


async def test_another_program_is_told_of_once(monkeypatch: pytest.MonkeyPatch) -> None:
    shared: set[int] = set()
    looked: list[int | None] = []

    def look(self: OpenMarks, conversation: int | None) -> bool:
        looked.append(conversation)
        return conversation in shared

    monkeypatch.setattr(OpenMarks, "look", look)
    async with stage() as here:
        others = OtherPrograms(here.app.context)
        await others.look()
        assert looked[-1] is None, "nothing is kept yet"
        await here.ask("one")
        await here.settle()
        kept = here.app.conversation.kept.id
        assert kept is not None
        await others.look()
        assert looked[-1] == kept
        assert notes(here) == 0
        shared.add(kept)
        for _ in range(3):
            await others.look()
        await here.settle()
        assert notes(here) == 1
        assert "open in another program" in here.transcript()
        shared.clear()
        await others.look()
        await here.ask("two")
        await here.settle()
        shared.add(kept)
        await others.look()
        await here.settle()
        assert notes(here) == 2, "another one came"


async def test_the_app_looks_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qwen_tui.app.app.LOOK_S", 0.01)
    monkeypatch.setattr(OpenMarks, "look", lambda self, conversation: conversation is not None)
    async with stage() as here:
        await here.ask("one")
        await here.wait(lambda: notes(here) == 1, "the note")
