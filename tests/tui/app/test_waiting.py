"""Enter while an answer comes: the message waits, is seen, can be taken back, and is asked when its turn has come."""

from dataclasses import replace

import pytest

from qwen_core.protocol.events import EngineDied, Event, FinishReason, Message, Send, TurnDone, TurnFailed
from support.app_stage import Stage, stage
from support.fake_engine import done, loads_only, stats


def asked(here: Stage) -> list[str]:
    return [command.text for command in here.engine.sent() if isinstance(command, Send)]


def unread(reason: FinishReason) -> TurnDone:
    """The first turn ends before a token of its answer."""
    return TurnDone(1, reason, Message("assistant", ""), (), stats(0, 0))


async def answering(here: Stage, *waiting: str) -> None:
    """The first question is being answered, and `waiting` were sent meanwhile."""
    await here.ask("first")
    for text in waiting:
        await here.enter(text)
    await here.settle()


async def test_what_is_sent_while_it_answers_waits_and_is_asked_in_order() -> None:
    async with stage(loads_only) as here:
        await answering(here, "second", "third")
        assert asked(here) == ["first"]
        assert "2 wait (Esc takes back): second" in here.text()
        assert "Esc take back" in here.lines()[-1]
        assert here.app.chat.editor.text == ""
        await here.feed(done(1, "one"))
        await here.wait(lambda: asked(here) == ["first", "second"])
        await here.settle()
        assert "1 waits (Esc takes back): third" in here.text()
        await here.feed(done(2, "two"))
        await here.wait(lambda: asked(here) == ["first", "second", "third"])
        await here.settle()
        assert "(Esc takes back)" not in here.text()


async def test_escape_takes_back_first_what_waits_and_then_stops() -> None:
    async with stage(loads_only) as here:
        await answering(here, "second", "third")
        await here.write("more")
        for text in ("third\n\nmore", "second\n\nthird\n\nmore"):
            await here.press("escape")
            assert here.app.chat.editor.text == text
            assert not here.app.conversation.stopping
        assert "(Esc takes back)" not in here.text()
        await here.press("escape")
        await here.wait(lambda: here.app.conversation.stopping)
        await here.feed(done(1, "one", reason="cancelled"))
        assert asked(here) == ["first"]


@pytest.mark.parametrize("event", [done(1, "one", reason="cancelled"), TurnFailed(1, "no")])
async def test_after_an_answer_that_did_not_end_by_itself_all_come_back(event: Event) -> None:
    async with stage(loads_only) as here:
        await answering(here, "second", "third")
        await here.feed(event)
        await here.wait(lambda: here.app.chat.editor.text == "second\n\nthird")
        assert asked(here) == ["first"]


@pytest.mark.parametrize("waiting", [(), ("second", "third")])
@pytest.mark.parametrize("event", [unread("cancelled"), unread("context"), EngineDied("signal 9")])
async def test_a_question_that_was_not_taken_up_comes_back_too(event: Event, waiting: tuple[str, ...]) -> None:
    async with stage(loads_only) as here:
        await answering(here, *waiting)
        await here.feed(event)
        await here.wait(lambda: here.app.chat.editor.text == "\n\n".join(("first", *waiting)))
        assert asked(here) == ["first"]


async def test_a_question_that_was_stopped_does_not_come_back_over_what_is_written_or_where_it_stands() -> None:
    async with stage(loads_only) as here:
        await answering(here)
        await here.write("more")
        await here.feed(unread("cancelled"))
        assert here.app.chat.editor.text == "more"
        await here.enter("/retry")
        await here.wait(lambda: asked(here) == ["first", "first"])
        await here.feed(replace(unread("cancelled"), turn=2))
        assert here.app.chat.editor.text == "", "the answer before it is there, and r asks once more"


@pytest.mark.parametrize("reason", ["stop", "length", "repetition"])
async def test_what_is_written_meanwhile_stays(reason: FinishReason) -> None:
    async with stage(loads_only) as here:
        await answering(here, "sec")
        await here.write("second thoughts")
        await here.feed(done(1, "one", reason=reason))
        await here.wait(lambda: asked(here) == ["first", "sec"])
        assert here.app.chat.editor.text == "second thoughts"


async def test_what_waits_is_a_draft_on_the_disk() -> None:
    async with stage(loads_only) as here:
        await answering(here, "second")
        await here.write("more")
        here.app.drafts.keep()
        kept = here.app.conversation.kept.id
        draft = await here.app.context.store.use(lambda store: store.writing.draft(kept))
        assert draft.text == "second\n\nmore"
        await here.feed(done(1, "one"))
        await here.wait(lambda: len(asked(here)) == 2)
        here.app.drafts.keep()
        draft = await here.app.context.store.use(lambda store: store.writing.draft(kept))
        assert draft.text == "more"


async def test_what_cannot_be_asked_comes_back() -> None:
    async with stage(loads_only) as here:
        await answering(here, "@missing-file.txt what is this", "third")
        await here.feed(done(1, "one"))
        await here.wait(lambda: here.app.chat.editor.text.startswith("@missing-file.txt"))
        assert here.app.chat.editor.text.endswith("third")
        assert asked(here) == ["first"]


async def test_a_file_that_is_not_there_holds_a_message_back_once() -> None:
    async with stage(loads_only) as here:
        await here.enter("@missing-file.txt what is this")
        await here.wait(lambda: "No file missing-file.txt" in here.text())
        assert asked(here) == []
        assert here.app.chat.editor.text == "@missing-file.txt what is this"
        await here.press("enter")
        await here.wait(lambda: asked(here) == ["@missing-file.txt what is this"])


async def test_pastes_that_wait_mention_nothing_and_come_back_as_they_were() -> None:
    async with stage(loads_only) as here:
        await answering(here)
        pasted = "\n".join(f"@missing-file.txt {number}" for number in range(50))
        editor = here.app.chat.editor
        editor.insert_pasted(pasted)
        token = editor.text
        assert token != pasted
        await here.press("enter")
        await here.press("escape")
        assert editor.text == token
        await here.press("enter")
        await here.feed(done(1, "one"))
        await here.wait(lambda: asked(here) == ["first", pasted])


async def test_what_begins_with_two_slashes_is_asked_with_one() -> None:
    async with stage(loads_only) as here:
        await answering(here, "//help me")
        await here.feed(done(1, "one"))
        await here.wait(lambda: asked(here) == ["first", "/help me"])


async def test_nothing_waits_across_a_load() -> None:
    async with stage(loads_only) as here:
        await answering(here, "second")
        await here.press("ctrl+t")
        here.app.action_restart()
        await here.wait(lambda: here.app.chat.editor.text == "second")
