"""A context that fills up: a warning, the oldest turns left out, a summary in a new conversation; each taken back."""

from collections.abc import Iterable
from dataclasses import replace

import pytest

from qwen_core.protocol.counting import Count, Counted, PromptCount
from qwen_core.protocol.events import (
    Command,
    EngineDied,
    Event,
    FinishReason,
    Load,
    Loaded,
    Message,
    Restore,
    Send,
    TurnDone,
    TurnFailed,
    TurnStarted,
)
from qwen_tui.app.making_room import REQUEST, turns_to_drop, turns_to_summarise
from qwen_tui.conversation.turns import Note, Turn
from qwen_tui.store import open_store
from support.app_stage import Stage, stage
from support.fake_engine import MODEL, Step, delta, stats
from support.scenes import stored

LIMIT = 1000


class Small:
    """A context of 1,000 tokens in which each question takes `each`; a summary ends as it is told."""

    def __init__(self, each: int = 100, summary: Event | None = None) -> None:
        self.each, self.used, self.asked = each, 0, 0
        self.summary = summary

    def __call__(self, command: Command) -> Iterable[Step]:
        match command:
            case Load():
                return [(0.0, Loaded(replace(MODEL, context_limit=LIMIT)))]
            case Count(number):
                return [(0.0, Counted(number, PromptCount(307, 7, 0)))]
            case Send(turn, text):
                self.asked += 1
                if text == REQUEST and self.summary is not None:
                    return [
                        (0.0, TurnStarted(turn, 10, 10)),
                        (
                            0.0,
                            self.summary if isinstance(self.summary, EngineDied) else replace(self.summary, turn=turn),
                        ),
                    ]
                self.used += self.each
                answer = "It was about A." if text == REQUEST else f"answer {self.asked}"
                figures = replace(stats(50, 0, self.used - 50, 0), context_tokens=self.used)
                ids = tuple(range(self.used))
                start = TurnStarted(turn, self.used - 50, 0, ids[:-50])
                done = TurnDone(turn, "stop", Message("assistant", answer), ids, figures)
                return [(0.0, event) for event in (start, delta(turn, ("answer", answer)), done)]
            case _:
                return []


def said(here: Stage) -> list[str]:
    return [text for turn in here.app.conversation.turns for text in (turn.shown or turn.question, turn.answer)]


def notes(here: Stage) -> list[str]:
    return [item.text for item in here.app.conversation.items if isinstance(item, Note)]


async def idle(here: Stage) -> None:
    await here.wait(lambda: here.app.conversation.current is None and not here.app.turns.busy)
    await here.settle()


async def asked(here: Stage, *questions: str) -> None:
    for question in questions:
        await here.ask(question)
        await idle(here)


def last_restore(here: Stage) -> Restore:
    return [command for command in here.engine.commands if isinstance(command, Restore)][-1]


async def test_a_context_that_fills_up_says_so_once_and_what_can_be_done() -> None:
    async with stage(Small(each=270)) as here:
        await asked(here, "one", "two")
        assert notes(here) == []
        assert "full" not in here.lines()[-1]
        await asked(here, "three")
        assert notes(here) == [
            "The context is 81 % full, 190 tokens are left: /drop leaves the oldest turns out, /summary goes on with a "
            "summary in a new conversation."
        ]
        assert "81 % full" in here.lines()[-1]
        await here.enter("/drop 1")
        await here.wait(lambda: len(here.app.conversation.turns) == 2)


async def test_the_oldest_turns_are_left_out_on_another_branch_and_come_back() -> None:
    async with stage(Small()) as here:
        await asked(here, "one", "two", "three")
        everything = said(here)
        await here.enter("/drop 1")
        await here.wait(lambda: "left out" in here.app.chat.status.flash_text)
        await here.settle()
        assert here.app.chat.status.flash_text == (
            "1 turn left out: 300 tokens are read with the next question, 7 are kept. /undo brings them back."
        )
        assert said(here) == everything[2:]
        assert [message.content for message in last_restore(here).messages] == everything[2:]
        assert here.app.conversation.context_tokens == 307
        assert [message.content for message in stored()] == everything[2:]
        await asked(here, "four")
        after = said(here)
        assert here.app.conversation.turns[0].place == (2, 2)
        await here.enter("/undo")
        await here.wait(lambda: len(here.app.conversation.turns) == 3 and said(here) == everything)
        await here.wait(lambda: "are back: 300 tokens are read" in here.app.chat.status.flash_text)
        assert last_restore(here).ids == tuple(range(300))
        # What was said without them is a branch that stays.
        here.app.chat.focus_turn(here.app.conversation.turns[0])
        await here.settle()
        await here.press("right")
        await here.wait(lambda: said(here) == after)


async def test_turns_that_were_left_out_come_back_in_a_later_run_too() -> None:
    async with stage(Small()) as here:
        await asked(here, "one", "two", "three")
        everything, kept = said(here), here.app.conversation.kept.id
        for number in ("1", "1"):
            await here.enter(f"/drop {number}")
            await here.wait(lambda: "left out" in here.app.chat.status.flash_text)
        assert said(here) == everything[4:]
        await asked(here, "four")
    async with stage(Small(), resume=kept) as here:
        await here.wait(lambda: said(here)[-2:] == ["four", "answer 4"])
        for turns in (2, 3):
            await here.enter("/undo")
            await here.wait(lambda turns=turns: said(here) == everything[-2 * turns :])
        assert here.app.chat.status.flash_text == "All turns are back."
        await here.enter("/undo")
        await here.wait(lambda: here.app.chat.status.flash_text == "There is nothing to bring back.")


@pytest.mark.parametrize(("argument", "says"), [("0", "1 to 1"), ("2", "1 to 1"), ("x", "1 to 1")])
async def test_how_many_to_leave_out_must_leave_one(argument: str, says: str) -> None:
    async with stage(Small()) as here:
        await here.enter("/drop")
        assert "No older turns" in here.app.chat.status.flash_text
        await asked(here, "one", "two")
        await here.enter(f"/drop {argument}")
        assert says in here.app.chat.status.flash_text
        assert len(here.app.conversation.turns) == 2


async def test_a_summary_begins_a_new_conversation_and_the_whole_one_stays() -> None:
    async with stage(Small()) as here:
        await asked(here, "one", "two")
        everything, first = said(here), here.app.conversation.kept.id
        await here.enter("/summary")
        await here.wait(lambda: any("begins with this summary" in note for note in notes(here)))
        await idle(here)
        sent = here.engine.sent()[-1]
        assert (sent.text, sent.settings.max_new_tokens) == (REQUEST, 125)
        before = here.engine.commands[here.engine.commands.index(sent) - 1]
        assert isinstance(before, Send), "the engine goes on from what it has"
        assert said(here) == ["Summary of the conversation so far", "It was about A."]
        assert last_restore(here) == Restore((Message("user", REQUEST), Message("assistant", "It was about A.")))
        assert "in place of 200 tokens: 300 tokens are read with the next question, 7 are kept." in notes(here)[-1]
        second = here.app.conversation.kept.id
        assert second != first
        store = open_store()
        assert [summary.id for summary in store.conversations.listed()] == [second, first]
        assert store.conversations.get(second or 0).title == "one, summed up"
        assert store.tree.ids(store.tree.path(second or 0)[-1].id) is None, "those that were fed are the old one's"
        store.close()
        await asked(here, "three")
        await here.enter("/undo")
        await here.wait(lambda: said(here) == everything)
        assert here.app.conversation.kept.id == first
        assert len(stored(second)) == 4


async def test_what_leaves_no_room_for_a_summary_goes_on_behind_it_as_it_was() -> None:
    async with stage(Small(each=240)) as here:
        await asked(here, "one", "two", "three", "four")
        everything = said(here)
        await here.enter("/summary")
        await here.wait(lambda: any("begins with this summary" in note for note in notes(here)))
        await idle(here)
        send = here.engine.commands.index(here.engine.sent()[-1])
        cut = here.engine.commands[send - 1]
        assert isinstance(cut, Restore)
        assert [message.content for message in cut.messages] == everything[:6]
        assert cut.ids == tuple(range(720))
        assert said(here) == ["Summary of the first 3 turns", "It was about A.", *everything[6:]]


@pytest.mark.parametrize(
    "end",
    [
        TurnDone(0, "cancelled", Message("assistant", "It w"), (), stats()),
        TurnDone(0, "context", Message("assistant", ""), (), replace(stats(), generated_tokens=0)),
        TurnFailed(0, "memory ran out"),
    ],
)
async def test_without_a_summary_the_conversation_is_as_it_was(end: Event) -> None:
    async with stage(Small(summary=end)) as here:
        await asked(here, "one", "two")
        everything, first = said(here), here.app.conversation.kept.id
        await here.enter("/summary")
        await here.wait(lambda: "There is no summary" in here.app.chat.status.flash_text)
        await idle(here)
        assert said(here) == everything
        assert here.app.conversation.kept.id == first
        assert [message.content for message in last_restore(here).messages] == everything
        assert last_restore(here).ids == tuple(range(200))
        assert here.app.chat.editor.text == ""
        store = open_store()
        assert [summary.id for summary in store.conversations.listed()] == [first]
        store.close()


class Slow(Small):
    """A summary ends as it is told to, later."""

    def __call__(self, command: Command) -> Iterable[Step]:
        if isinstance(command, Send) and command.text == REQUEST:
            self.turn = command.turn
            return [(0.0, TurnStarted(command.turn, 10, 10))]
        return super().__call__(command)

    def ends(self, reason: FinishReason) -> TurnDone:
        return TurnDone(self.turn, reason, Message("assistant", "It was about A."), (1, 2), stats(50, 0))


async def test_what_is_sent_while_a_summary_is_written_is_asked_behind_it() -> None:
    script = Slow()
    async with stage(script) as here:
        await asked(here, "one", "two")
        await here.enter("/summary")
        await here.wait(lambda: here.engine.sent()[-1].text == REQUEST)
        await here.enter("three")
        await here.settle()
        assert "1 waits" in here.text()
        await here.feed(script.ends("stop"))
        await here.wait(lambda: here.engine.sent()[-1].text == "three")
        await idle(here)
        assert said(here) == ["Summary of the conversation so far", "It was about A.", "three", "answer 3"]


async def test_what_is_sent_while_a_summary_is_written_comes_back_where_there_is_none() -> None:
    script = Slow()
    async with stage(script) as here:
        await asked(here, "one")
        before = said(here)
        await here.enter("/summary")
        await here.wait(lambda: here.engine.sent()[-1].text == REQUEST)
        await here.enter("two")
        await here.write("three")
        await here.feed(script.ends("cancelled"))
        await here.wait(lambda: here.app.chat.editor.text == "two\n\nthree")
        await idle(here)
        assert said(here) == before
        assert "waits" not in here.text()


async def test_an_engine_that_dies_over_a_summary_leaves_the_conversation() -> None:
    async with stage(Small(summary=EngineDied("gone"))) as here:
        await asked(here, "one")
        everything = said(here)
        await here.enter("/summary")
        await here.wait(lambda: "There is no summary" in here.app.chat.status.flash_text)
        assert said(here) == everything
        assert here.app.chat.editor.text == ""


def turns_of(*sizes: int) -> list[Turn]:
    return [Turn(number, "q" * size, state="done") for number, size in enumerate(sizes)]


def test_as_many_turns_go_as_leave_half_of_the_context() -> None:
    even = turns_of(10, 10, 10, 10)
    assert turns_to_drop(even, 800, 1000) == 2
    assert turns_to_drop(even, 400, 1000) == 1, "whoever asks wants one gone"
    assert turns_to_drop(turns_of(1, 1, 98), 1000, 1000) == 2, "the last stays"
    assert [turns_to_summarise(even, 800, most) for most in (100, 200, 500, 800)] == [0, 1, 2, 4]
