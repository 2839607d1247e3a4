"""Each part of the app by itself: over a context with a real store and a scripted engine, without app and screen."""

import inspect
from collections.abc import Iterator
from pathlib import Path

import pytest
from textual.app import App

from qwen_core.protocol.events import Command, Continue, Restore, Send
from qwen_tui.app.appearance import Appearance
from qwen_tui.app.generation_commands import GenerationCommands
from qwen_tui.app.palette import entries_of
from qwen_tui.app.slash_commands import SlashCommands
from qwen_tui.composer.slash import COMMANDS, Call
from qwen_tui.conversation_list.screen import ConversationsResult, OpenedConversation
from qwen_tui.settings.themes import FALLBACK_THEME, theme_folder
from qwen_tui.settings.tree import AppSettings, with_value
from qwen_tui.store import Draft
from support.context_stage import ContextStage, context_stage
from support.fake_engine import Step, answered, default_script, done


def questions(here: ContextStage) -> list[str]:
    return [turn.question for turn in here.context.conversation.turns]


async def on_disk(here: ContextStage, conversation_id: int) -> list[str]:
    path = await here.context.store.use(lambda store: store.tree.path(conversation_id))
    return [message.content for message in path]


async def test_drafts_give_way_to_an_edit_and_come_back(tmp_path: Path) -> None:
    async with context_stage(tmp_path) as here:
        editor, drafts = here.context.chat.editor, here.drafts
        await here.ask("one")
        turn = here.context.conversation.turns[0]

        async def kept() -> str:
            return (await here.context.store.use(lambda store: store.writing.draft(1))).text

        for leave, text in ((drafts.leave_edit, "a draft"), (lambda: drafts.sent("one, better"), "a draft")):
            editor.set_text("a draft")
            drafts.edit(turn)
            assert (drafts.editing, here.written) == (turn, "one")
            editor.set_text("one, better")
            drafts.keep()
            assert await kept() == "a draft"
            leave()
            assert (drafts.editing, here.written, await kept()) == (None, text, "a draft")
        # Without a draft before it the new wording is what a crash must not lose; left, it leaves no trace.
        editor.set_text("")
        drafts.edit(turn)
        drafts.keep()
        assert await kept() == "one"
        drafts.leave_edit()
        assert (here.written, await kept()) == ("", "")
        # What has no place any more comes back with the up key.
        editor.set_text("a draft")
        drafts.edit(turn)
        here.context.conversation.clear()
        drafts.leave_lost_edit()
        assert (here.written, editor.recall.older(Draft())) == ("one", Draft("a draft"))


async def test_turns_are_answered_again_taken_out_and_walked(tmp_path: Path) -> None:
    def script(command: Command) -> Iterator[Step]:
        if isinstance(command, Send) and command.text == "long":
            yield from ((0.0, event) for event in answered(command.turn, "half")[:-1])
            yield 0.0, done(command.turn, "half", reason="length")
        else:
            yield from default_script(command)

    async with context_stage(tmp_path, script) as here:
        turns, engine = here.turns, here.engine
        await here.ask("one", "two", "long")
        await turns.do(None, "continue")
        await here.settle()
        assert isinstance(engine.commands[-1], Continue)
        here.context.conversation.apply(done(4, "half and half"))
        second = here.context.conversation.turns[1]
        await turns.do(second, "retry")
        await here.settle()
        assert questions(here) == ["one", "two"]
        assert here.context.conversation.turns[1].question_id == second.question_id
        restore, again = engine.commands[-2:]
        assert isinstance(restore, Restore)
        assert [message.content for message in restore.messages] == ["one", "You said: one"]
        assert (again, turns.busy) == (engine.sent()[-1], False)
        assert here.context.conversation.turns[1].place == (2, 2)
        await turns.do(None, "previous")
        assert questions(here) == ["one", "two", "long"]
        await turns.do(here.context.conversation.turns[0], "delete")
        assert questions(here) == ["two", "long"]
        await turns.do(None, "undo")
        assert (questions(here), here.said) == (["one", "two", "long"], "The turn is back.")
        assert (await on_disk(here, 1))[::2] == questions(here)
        # Nothing is done to a turn while one is being answered.
        here.context.conversation.ask("four")
        await turns.do(None, "delete")
        assert "Still answering" in here.said


async def test_a_conversation_is_left_and_gone_on_with(tmp_path: Path) -> None:
    async with context_stage(tmp_path) as here:
        conversations, editor = here.conversations, here.context.chat.editor
        await here.ask("one")
        editor.set_text("not yet asked")
        conversations.new()
        assert (questions(here), here.written) == ([], "")
        await here.ask("two")
        await conversations.list_closed(ConversationsResult(OpenedConversation(1)))
        await here.settle()
        assert (questions(here), here.written) == (["one"], "not yet asked")
        restore = here.engine.commands[-1]
        assert isinstance(restore, Restore)
        assert [message.content for message in restore.messages] == ["one", "You said: one"]
        await conversations.list_closed(ConversationsResult(OpenedConversation(7)))
        assert (questions(here), "7" in here.said) == (["one"], True)
        await conversations.list_closed(ConversationsResult(None, frozenset([1])))
        assert questions(here) == []
        await conversations.model_chosen(str(tmp_path / "none"))
        assert "none" in here.said
        here.context.conversation.ask("three")
        await conversations.resume(2)
        assert "Still answering" in here.said


async def test_commands_do_what_they_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    acted: list[tuple[str, str]] = []
    names = ("help", "search", "model", "inspect", "settings", "theme", "restart", "quit")
    actions = {name: lambda text, name=name: acted.append((name, text)) for name in names}
    async with context_stage(tmp_path) as here:
        commands = SlashCommands(
            here.context, here.conversations, here.turns, here.copying, here.room, actions, lambda: ["ember", "paper"]
        )
        for name in names:
            await commands.call(Call(name))
        await commands.call(Call("resume"))
        assert acted == [*((name, "") for name in names), ("search", "")]
        await commands.call(Call("export"))
        assert "nothing to export" in here.said
        await here.ask("Why?")
        await commands.call(Call("export"))
        assert "You said: Why?" in (tmp_path / "Why.md").read_text()
        await commands.call(Call("stats"))
        assert "tok/s" in here.notes[-1]
        await commands.call(Call("theme", "paper"))
        assert here.context.running.looks.theme == "paper"
        await commands.call(Call("theme", "none"))
        assert "ember, paper" in here.said
        await commands.call(Call("resume", "12"))
        assert "12" in here.said
        await commands.call(Call("new"))
        assert questions(here) == []
        # Each command does something, and the palette offers all of them.
        offered = [entry.title for entry in entries_of(commands, lambda _: "")]
        assert offered[: len(COMMANDS)] == [command.title for command in COMMANDS]
        assert not any(inspect.iscoroutine(commands.choices(command.name)) for command in COMMANDS)


async def test_how_answers_are_generated_is_changed_for_this_run(tmp_path: Path) -> None:
    async with context_stage(tmp_path) as here:
        commands, context = GenerationCommands(here.context), here.context
        commands.set("top-p = 0.5")
        commands.think("high")
        commands.guard("on")
        request = context.request()
        assert (request.top_p, request.effort, request.repetition_guard) == (0.5, "high", True)
        commands.set("")
        assert "top_p              0.5               for now" in here.notes[-1]
        commands.set("top_p 7")
        assert "top_p = '7' is not a number" in here.said
        commands.preset("coding")
        assert (context.request().top_p, context.request().effort) == (
            with_value(AppSettings(), "generation.preset", "coding").request().top_p,
            "high",
        )
        await here.ask("one")
        commands.system("be kind")
        await here.settle()
        restore = here.engine.commands[-1]
        assert isinstance(restore, Restore)
        assert (restore.system, restore.ids) == ("be kind", ())
        assert (await context.store.use(lambda store: store.conversations.get(1))).system == "be kind"


async def test_copying_says_what_took_the_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qwen_tui.app.copying.copy_with_program", lambda text: "")
    async with context_stage(tmp_path) as here:
        await here.copying.copy(None, "")
        assert (here.copied, "nothing to copy" in here.said) == ([], True)
        await here.ask("a\n```\nls\n```\nb\n```\npwd\n```")
        for what, text in (
            ("code", "pwd\n"),
            ("code 1", "ls\n"),
            ("answer", "You said: a\n```\nls\n```\nb\n```\npwd\n```"),
        ):
            await here.copying.copy(None, what)
            assert here.copied[-1] == text
            assert "OSC 52" in here.said
        monkeypatch.setattr("qwen_tui.app.copying.copy_with_program", lambda text: "pbcopy")
        await here.copying.copy(None, "all")
        assert here.copied[-1].startswith("## You\n")
        assert "(pbcopy)" in here.said
        await here.copying.copy(None, "code 3")
        assert "there is no '3'" in here.said


def test_themes_and_keys_are_those_of_the_settings_and_of_saved_files(tmp_path: Path) -> None:
    notes: list[str] = []
    app = App[None]()
    text = (theme_folder() / "midnight.toml").read_text().replace('"midnight"', '"mine"')
    (tmp_path / "mine.toml").write_text(text)
    settings = with_value(AppSettings(), "looks.theme", "mine")
    actions = [("stop", "Stop the answer", "escape"), ("new", "New conversation", "ctrl+n")]
    appearance = Appearance(app, settings, actions, lambda text, kind="notice": notes.append(text), [tmp_path])
    assert app.theme == "mine"
    assert "textual-dark" not in appearance.themes()
    appearance.use_theme("none")
    assert app.theme == "mine"
    (tmp_path / "mine.toml").write_text("no theme")
    appearance.look()
    assert (app.theme, len(notes), "mine.toml" in notes[0]) == ("mine", 1, True)
    (tmp_path / "mine.toml").unlink()
    appearance.look()
    assert app.theme == FALLBACK_THEME.name
    assert appearance.use_keys({"new": ["ctrl+b"], "stop": ["ctrl+b"]}) != []
    assert appearance.use_keys({"new": ["ctrl+b"]}) == []
    assert dict(app._keymap) == {"new": "ctrl+b"}
