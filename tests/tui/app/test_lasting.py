"""Conversations that last: on disk before they are shown as done, resumed as they were, in the same home."""

from dataclasses import replace

import pytest

from qwen_core.protocol.events import EngineDied, Event, Load, Loaded, Message, Restore, Send, TurnDone, TurnStarted
from qwen_tui.composer.editor import Editor
from qwen_tui.store import open_store
from qwen_tui.store.records import turn_stats
from support.app_stage import Stage, stage
from support.fake_engine import MODEL, Script, Step, answered, delta, done, loads_only, stats
from support.scenes import stored

WIDE = (100, 30)


async def finished(here: Stage, turns: int) -> None:
    await here.wait(lambda: len(here.app.conversation.turns) == turns and here.app.conversation.phase == "ready")
    await here.settle()


async def test_a_turn_is_on_disk_before_it_is_shown_as_done(monkeypatch: pytest.MonkeyPatch) -> None:
    async with stage(loads_only, size=WIDE) as here:
        await here.ask("Why?")
        assert [(message.role, message.content, message.status) for message in stored()] == [
            ("user", "Why?", "complete"),
            ("assistant", "", "running"),
        ]
        seen: list[str] = []
        applied = here.app.conversation.apply

        def look(event: Event) -> Restore | None:
            seen.extend(message.status for message in stored() if message.role == "assistant")
            return applied(event)

        monkeypatch.setattr(here.app.conversation, "apply", look)
        await here.feed(done(1, "Because."))
        assert seen == ["complete"]
        assert stored()[-1].content == "Because."
        assert here.app.conversation.turns[0].answer_id == stored()[-1].id


async def test_another_start_goes_on_where_the_first_ended() -> None:
    async with stage(size=WIDE, system="be kind") as here:
        await here.ask("one")
        await finished(here, 1)
        await here.ask("two")
        await finished(here, 2)
        figures = [line[:60] for line in here.lines() if "↳" in line]
        assert figures
    async with stage(size=WIDE, resume=1) as here:
        await finished(here, 2)
        assert "You said: one" in here.transcript()
        assert "You said: two" in here.transcript()
        assert [line[:60] for line in here.lines() if "↳" in line] == figures
        restore = next(command for command in here.engine.commands if isinstance(command, Restore))
        assert [message.content for message in restore.messages] == ["one", "You said: one", "two", "You said: two"]
        assert restore.ids == tuple(range(20))
        assert restore.system == "be kind"
        # What is asked now stands below what there was.
        await here.ask("three")
        await finished(here, 3)
    assert [m.content for m in stored() if m.role == "user"] == ["one", "two", "three"]


async def test_reasoning_keeps_its_tokens_and_its_time() -> None:
    """What is written beside the fold is the same after a restart."""

    def fold(here: Stage) -> str:
        return next(line for line in here.lines() if "Reasoning" in line)

    async with stage(loads_only, size=WIDE) as here:
        await here.ask("one")
        thought = Message("assistant", "Yes.", reasoning="Let me see.")
        figures = replace(stats(), reasoning_s=12.34)
        await here.feed(delta(1, ("reasoning", "Let me see."), ("answer", "Yes."), count=5))
        await here.feed(TurnDone(1, "stop", thought, tuple(range(10)), figures))
        await finished(here, 1)
        shown = fold(here)
        assert "96" in shown
        assert "12 s" in shown
    async with stage(size=WIDE, resume=1) as here:
        await finished(here, 1)
        assert fold(here)[:50] == shown[:50]  # beside it are the meters


async def test_ids_of_another_model_are_no_ids() -> None:
    async with stage(size=WIDE) as here:
        await here.ask("one")
        await finished(here, 1)
    store = open_store()
    with store.database.write() as connection:
        connection.execute("UPDATE models SET fingerprint = 'another'")
    store.close()
    async with stage(size=WIDE, resume=1) as here:
        await finished(here, 1)
        restore = next(command for command in here.engine.commands if isinstance(command, Restore))
        assert restore.messages
        assert restore.ids == ()


async def test_an_answer_that_was_cut_off_by_a_crash_comes_back_marked() -> None:
    async with stage(loads_only, size=WIDE) as here:
        await here.ask("Why?")
        await here.feed(TurnStarted(1, 4, 0, (7, 8, 9, 10)), delta(1, ("answer", "Half an ans"), ids=(1, 2)))
        await here.feed(EngineDied("killed by signal 9", -9, "/tmp/log"))
    async with stage(size=WIDE, resume=1) as here:
        await finished(here, 1)
        assert "Half an ans" in here.text()
        assert "interrupted" in here.text()
        # Token for token what the model had, its question's prompt included.
        restore = next(command for command in here.engine.commands if isinstance(command, Restore))
        assert restore.ids == (7, 8, 9, 10, 1, 2)


async def test_leaving_in_the_middle_of_an_answer_keeps_all_that_was_shown() -> None:
    async with stage(loads_only) as here:
        await here.ask("Count.")
        await here.feed(*(delta(1, ("answer", f"{number} "), ids=(number,)) for number in range(50)))
        shown = here.app.conversation.turns[0].answer
    store = open_store()
    question, answer = store.tree.path(1)
    assert (question.content, answer.status, answer.content) == ("Count.", "interrupted", shown)
    assert turn_stats(answer.stats) is not None
    store.close()


async def test_a_question_without_an_answer_can_be_sent_again_after_a_restart() -> None:
    async with stage(loads_only, size=WIDE) as here:
        await here.ask("Why?")
    async with stage(size=WIDE, resume=1) as here:
        await finished(here, 1)
        assert here.app.conversation.turns[0].unanswered
        await here.enter("/retry")
        await finished(here, 1)
        assert "You said: Why?" in here.text()
    assert [message.content for message in stored()] == ["Why?", "You said: Why?"]


async def test_drafts_and_inputs_come_back() -> None:
    async with stage(size=WIDE) as here:
        await here.ask("first question")
        await finished(here, 1)
        await here.write("not yet sent")
        here.app.chat.editor.post_message(Editor.DraftChanged())
        await here.pilot.pause()
        draft = await here.app.context.store.use(lambda store: store.writing.draft(1))
        assert draft.text == "not yet sent"
        await here.pilot.press("ctrl+n")
        await here.write("for the next one")  # and leaves at once
    async with stage(size=WIDE) as here:
        await here.wait(lambda: here.app.chat.editor.text == "for the next one")
        await here.enter("/resume 1")
        await here.wait(lambda: here.app.chat.editor.text == "not yet sent")
        await here.write("")
        await here.pilot.press("up", "up")
        assert here.app.chat.editor.text == "first question"


async def test_a_store_that_cannot_be_opened_is_told_and_the_chat_goes_on() -> None:
    from qwen_tui.store import Store, StoreError
    from qwen_tui.store.thread import StoreThread

    def fail() -> Store:
        raise StoreError("the disk is full")

    async with stage(size=WIDE, store=StoreThread(fail)) as here:
        assert "not being saved: the disk is full" in here.text()
        await here.ask("one")
        await finished(here, 1)
        assert "You said: one" in here.text()
        await here.enter("/retry")
        await finished(here, 1)
        await here.ask("two")
        await finished(here, 2)


async def test_another_model_goes_on_with_the_conversation() -> None:
    def script(command: object) -> list[Step]:
        if isinstance(command, Load):
            return [(0.0, Loaded(MODEL))]
        return [(0.0, e) for e in answered(command.turn, "A")] if isinstance(command, Send) else []

    typed: Script = script
    async with stage(typed, size=WIDE) as here:
        await here.ask("one")
        await finished(here, 1)
        from qwen_core.demo import demo_model_path

        await here.enter(f"/model {demo_model_path()}")
        await here.wait(lambda: sum(isinstance(command, Load) for command in here.engine.commands) == 2)
        await here.wait(lambda: isinstance(here.engine.commands[-1], Restore))
        await here.settle()
        restore = here.engine.commands[-1]
        assert isinstance(restore, Restore)
        assert [message.content for message in restore.messages] == ["one", "A"]
        await here.enter("/model /no/such/place")
        await here.wait(lambda: "/no/such/place" in here.lines()[-1])
        assert sum(isinstance(command, Load) for command in here.engine.commands) == 2
