"""What turns can do, under the test pilot: by command, by key on a turn, against what the store has."""

import random
from typing import Literal

import pytest

from qwen_core.protocol.events import Continue, Load, Loaded, Restore, Send, TurnDone
from qwen_tui.chat.turn_view import What
from support.app_stage import Stage, stage
from support.fake_engine import MODEL, Step, answered, done, loads_only, stats
from support.scenes import stored

SIZE = (100, 30)
Kind = What | Literal["ask"]


class Numbered:
    """Answers every question with a number of its own, so that no two answers are the same."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, command: object) -> list[Step]:
        if isinstance(command, Load):
            return [(0.0, Loaded(MODEL))]
        if isinstance(command, Send):
            self.count += 1
            return [(0.0, event) for event in answered(command.turn, f"answer {self.count} to {command.text}")]
        return []


async def asked(here: Stage, *questions: str) -> None:
    for question in questions:
        before = len(here.engine.sent())
        await here.enter(question)
        await here.wait(lambda before=before: len(here.engine.sent()) > before)
        await idle(here)


async def idle(here: Stage) -> None:
    await here.wait(lambda: here.app.conversation.phase == "ready" and not here.app.turns.busy)
    await here.settle()


def said(here: Stage) -> list[str]:
    return [text for turn in here.app.conversation.turns for text in (turn.question, turn.answer)]


def last_restore(here: Stage) -> Restore:
    return [command for command in here.engine.commands if isinstance(command, Restore)][-1]


async def test_editing_asks_anew_in_another_branch_and_only_what_changed_is_new() -> None:
    async with stage(Numbered(), size=SIZE) as here:
        await asked(here, "one", "two")
        await here.enter("/edit")
        assert here.app.chat.editor.text == "two"
        assert "editing turn 2" in here.text()
        await asked(here, "two, better")
        assert said(here) == ["one", "answer 1 to one", "two, better", "answer 3 to two, better"]
        assert last_restore(here).ids == tuple(range(10))
        assert [message.content for message in last_restore(here).messages] == ["one", "answer 1 to one"]
        assert here.app.conversation.turns[1].place == (2, 2)
        assert "editing" not in here.text()
        assert [message.content for message in stored()] == said(here)


async def test_leaving_an_edit_brings_the_draft_back() -> None:
    async with stage(Numbered(), size=SIZE) as here:
        await asked(here, "one")
        await here.write("a draft")
        here.app.chat.focus_turn(here.app.conversation.turns[0])
        await here.settle()
        await here.pilot.press("e")
        await here.wait(lambda: here.app.chat.editor.text == "one")
        await here.pilot.press("escape")
        await here.wait(lambda: here.app.chat.editor.text == "a draft")
        assert said(here) == ["one", "answer 1 to one"]


async def test_another_answer_is_an_alternative_and_both_can_be_walked() -> None:
    async with stage(Numbered(), size=SIZE) as here:
        await asked(here, "one", "two")
        here.app.chat.focus_turn(here.app.conversation.turns[0])
        await here.settle()
        await here.pilot.press("r")
        await here.wait(lambda: len(here.engine.sent()) == 3)
        await idle(here)
        assert said(here) == ["one", "answer 3 to one"]
        here.app.chat.focus_turn(here.app.conversation.turns[0])
        await here.settle()
        await here.pilot.press("left")
        await here.wait(lambda: len(here.app.conversation.turns) == 2)
        await here.settle()
        assert said(here) == ["one", "answer 1 to one", "two", "answer 2 to two"]
        assert last_restore(here).ids == tuple(range(20))
        assert here.app.conversation.turns[0].place == (1, 2)
        await here.pilot.press("right")
        await here.wait(lambda: len(here.app.conversation.turns) == 1)
        assert said(here) == ["one", "answer 3 to one"]


async def test_a_cut_off_answer_goes_on() -> None:
    async with stage(loads_only, size=SIZE) as here:
        await here.enter("/continue")
        assert "no turn yet" in here.lines()[-1]
        await here.ask("count")
        await here.feed(*answered(1, "1, 2")[:2], done(1, "1, 2", reason="length"))
        await here.enter("/continue")
        await here.wait(lambda: isinstance(here.engine.commands[-1], Continue))
        command = here.engine.commands[-1]
        assert isinstance(command, Continue)
        turn = command.turn
        assert [message.status for message in stored()] == ["complete", "running"]
        await here.feed(*answered(turn, ", 3")[:2])
        assert said(here) == ["count", "1, 2, 3"]
        whole = done(turn, "1, 2, 3")
        await here.feed(TurnDone(turn, "stop", whole.message, whole.ids, stats()))
        assert said(here) == ["count", "1, 2, 3"]
        assert [message.content for message in stored()] == ["count", "1, 2, 3"]
        await here.enter("/continue")
        assert "nothing to continue" in here.lines()[-1]


async def test_deleting_a_turn_and_bringing_it_back() -> None:
    async with stage(Numbered(), size=SIZE) as here:
        await asked(here, "one", "two", "three")
        everything = said(here)
        here.app.chat.focus_turn(here.app.conversation.turns[1])
        await here.settle()
        await here.pilot.press("d")
        await here.wait(lambda: len(here.app.conversation.turns) == 2)
        await here.settle()
        assert said(here) == ["one", "answer 1 to one", "three", "answer 3 to three"]
        assert [message.content for message in last_restore(here).messages] == said(here)
        assert (last_restore(here).ids, last_restore(here).known) == (tuple(range(10)), 2)
        await here.enter("/undo")
        await here.wait(lambda: len(here.app.conversation.turns) == 3)
        assert said(here) == everything
        await here.enter("/undo")
        assert "nothing to bring back" in here.lines()[-1]


async def test_nothing_is_done_to_turns_while_one_is_answered() -> None:
    async with stage(loads_only, size=SIZE) as here:
        await here.ask("count")
        commands = list(here.engine.commands)
        for line in ("/edit", "/retry", "/continue", "/delete", "/new", "/system be kind", "/resume 1"):
            await here.enter(line)
            await here.wait(lambda: "Still answering" in here.lines()[-1], line)
            here.app.chat.status.clear_flash()
        assert here.engine.commands == commands


class Walk:
    """A person at random; after each step the screen, the engine and the disk agree."""

    def __init__(self, here: Stage) -> None:
        self.here = here

    async def step(self, kind: Kind, number: int) -> None:
        here, turns = self.here, self.here.app.conversation.turns
        turn = turns[number % len(turns)] if turns else None
        if kind == "ask" or turn is None:
            await asked(here, f"question {number}")
        elif kind == "edit":
            here.app.turns.edit(turn)
            await asked(here, f"edited {number}")
        else:
            await here.app.turns.do(turn, kind)
            await idle(here)
        self.check()

    def check(self) -> None:
        here = self.here
        assert [message.content for message in stored(here.app.conversation.kept.id)] == said(here)
        restore = here.app.conversation.restore()
        assert [message.content for message in restore.messages] == said(here)
        for turn in here.app.conversation.turns:
            assert 1 <= turn.place[0] <= turn.place[1]


@pytest.mark.parametrize("seed", range(3))
async def test_any_walk_keeps_screen_engine_and_disk_together(seed: int) -> None:
    rng = random.Random(seed)
    kinds: tuple[Kind, ...] = ("ask", "ask", "edit", "retry", "previous", "next", "delete", "undo")
    steps: list[tuple[Kind, int]] = [(rng.choice(kinds), rng.randrange(6)) for _ in range(14)]
    async with stage(Numbered(), size=SIZE) as here:
        walk = Walk(here)
        for kind, number in steps:
            await walk.step(kind, number)
