"""Text that is easily lost between features: rewordings, drafts, pastes, system prompts, deleted conversations."""

import os
from pathlib import Path

import pytest

from qwen_core.protocol.events import Load, Loaded, Restore
from qwen_tui.composer.editor import Editor
from qwen_tui.conversation_list.screen import ConversationsScreen
from qwen_tui.settings.file import load_settings
from qwen_tui.settings.key_bindings import checked_keys, is_key
from qwen_tui.store import open_store
from support.app_stage import Stage, stage
from support.fake_engine import MODEL, Step, delta, loads_only
from support.scenes import stored

SIZE = (100, 30)


def listed() -> list[int]:
    store = open_store()
    try:
        return [summary.id for summary in store.conversations.listed()]
    finally:
        store.close()


async def asked(here: Stage, *questions: str) -> None:
    for question in questions:
        await here.ask(question)
        await here.wait(lambda: here.app.conversation.current is None and not here.app.turns.busy)
        await here.settle()


async def kept_on_disk(here: Stage) -> None:
    """Until what was handed to the store is there."""
    await here.app.context.store.use(lambda store: None)


# Drafts and rewordings.


async def test_a_rewording_survives_a_crash() -> None:
    async with stage(size=SIZE) as here:
        await asked(here, "one")
        await here.enter("/edit")
        await here.write("one, said better")
        here.app.chat.editor.post_message(Editor.DraftChanged())
        await here.pilot.pause()
        await kept_on_disk(here)
        store = open_store()
        assert store.writing.draft(1).text == "one, said better"
        store.close()
        # Leaving it by Esc leaves no trace.
        await here.pilot.press("escape")
        await here.wait(lambda: here.app.chat.editor.text == "")
        await kept_on_disk(here)
    async with stage(size=SIZE, resume=1) as here:
        await here.wait(lambda: here.app.conversation.turns)
        assert here.app.chat.editor.text == ""


async def test_the_draft_that_gave_way_to_an_edit_comes_back_after_it() -> None:
    async with stage(size=SIZE) as here:
        await asked(here, "one", "two")
        await here.write("not yet asked")
        here.app.turns.edit(None)
        await here.pilot.pause()
        assert here.app.chat.editor.text == "two"
        await asked(here, "two, better")
        assert here.app.chat.editor.text == "not yet asked"
        assert [turn.question for turn in here.app.conversation.turns] == ["one", "two, better"]


async def test_another_conversation_loses_no_rewording() -> None:
    async with stage(size=SIZE) as here:
        await asked(here, "first")
        await here.enter("/new")
        await asked(here, "second")
        await here.enter("/edit")
        await here.write("second, reworded")
        await here.app.conversations.resume(1)
        await here.settle()
        assert here.app.chat.editor.text == ""
        assert "editing" not in here.text()
        await here.app.conversations.resume(2)
        assert here.app.chat.editor.text == "second, reworded"
        # And where there is a draft besides, it is among the earlier inputs.
        here.app.turns.edit(None)
        await here.write("second, reworded again")
        await here.app.conversations.resume(1)
        await here.app.conversations.resume(2)
        assert here.app.chat.editor.text == "second, reworded"
        await here.app.conversations.resume(1)
        here.app.chat.editor.focus()
        await here.pilot.press("up")
        assert here.app.chat.editor.text == "second, reworded again"


async def test_a_draft_stays_with_its_conversation() -> None:
    async with stage(size=SIZE) as here:
        await asked(here, "first")
        await here.write("of the first")
        await here.pilot.press("ctrl+n")
        await here.pilot.pause()
        assert here.app.chat.editor.text == ""
        assert "stays with the other conversation" in here.lines()[-1]
        await asked(here, "second")
        await here.app.conversations.resume(1)
        assert here.app.chat.editor.text == "of the first"


async def test_the_banner_goes_with_the_turn_that_was_edited() -> None:
    async with stage(size=SIZE) as here:
        await asked(here, "alpha", "beta")
        await here.enter("/edit")
        assert "editing turn 2" in here.text()
        await here.app.turns.delete(here.app.conversation.turns[1])
        await here.settle()
        assert "editing turn" not in here.text()
        assert here.app.chat.editor.text == "beta"
        await asked(here, "beta again")
        assert [turn.question for turn in here.app.conversation.turns] == ["alpha", "beta again"]
        # A draft that had given way to the edit is an earlier input then.
        await here.write("set aside")
        here.app.turns.edit(None)
        await here.app.turns.retry(here.app.conversation.turns[0])
        await here.settle()
        assert "editing turn" not in here.text()
        assert here.app.chat.editor.text == "beta again"
        await here.write("")
        await here.pilot.press("up")
        assert here.app.chat.editor.text == "set aside"


# Commands.


async def test_a_command_gets_what_was_pasted() -> None:
    async with stage(size=SIZE) as here:
        editor = here.app.chat.editor
        await here.write("/system ")
        pasted = "\n".join(f"rule {number}" for number in range(60))
        editor.move_cursor(editor.document.end)
        editor.insert(editor.pastes.collapse(pasted, 10, editor.text))
        await here.pilot.press("enter")
        await here.wait(lambda: here.app.conversation.system == pasted)


@pytest.mark.parametrize("again", [False, True], ids=["while it loads", "before a restart"])
async def test_a_system_prompt_that_was_set_is_the_one_that_answers(again: bool) -> None:
    def script(command: object) -> list[Step]:
        return [(0.0, Loaded(MODEL))] if isinstance(command, Load) and again else []

    async with stage(script, size=SIZE, ready=again) as here:
        await here.enter("/system Be a pirate")
        if again:
            here.engine.commands.clear()
            await here.enter("/restart")
        else:
            here.engine.feed(Loaded(MODEL))
        await here.wait(lambda: any(isinstance(c, Restore) for c in here.engines[-1].commands), "the restore")
        restores = [command for command in here.engines[-1].commands if isinstance(command, Restore)]
        assert restores[-1].system == "Be a pirate"


async def test_arguments_stand_behind_any_white_space() -> None:
    async with stage(size=SIZE) as here:
        await here.enter("/set\ttop_p 0.5")
        assert here.app.context.request().top_p == 0.5
        await here.enter("/system\nBe kind.\nBe brief.")
        assert here.app.conversation.system == "Be kind.\nBe brief."
        await asked(here, "one")
        await here.enter("/copy code 0000011")
        assert "no block of code" in here.lines()[-1]


async def test_a_theme_that_was_chosen_stays_when_a_key_is_bound() -> None:
    async with stage(size=SIZE) as here:
        await here.enter("/theme paper")
        here.app.context.change("keys.new", ("f9",))
        assert here.app.theme == "paper"
        await here.pilot.press("f9")


# Deleted conversations.


async def test_what_is_being_answered_is_not_deleted() -> None:
    async with stage(loads_only, size=SIZE) as here:
        await here.ask("one")
        await here.feed(delta(1, ("answer", "so ")))
        await here.pilot.press("f3")
        await here.wait(lambda: isinstance(here.app.screen, ConversationsScreen) and here.app.screen.book.titles)
        await here.pilot.press("delete", "escape")
        await here.wait(lambda: "Not deleted" in here.lines()[-1])
        assert listed() == [1]
        assert here.app.conversation.kept.id == 1


async def test_undo_brings_a_conversation_back_after_the_list_was_closed() -> None:
    async with stage(size=SIZE) as here:
        await asked(here, "one")
        await here.pilot.press("ctrl+n", "f3")
        await here.wait(lambda: isinstance(here.app.screen, ConversationsScreen) and here.app.screen.book.titles)
        await here.pilot.press("delete", "escape")
        await here.wait(lambda: here.app.screen is here.app.chat)
        assert listed() == []
        await here.enter("/resume 1")
        await here.wait(lambda: "was deleted" in here.lines()[-1])
        assert here.app.conversation.kept.id is None
        await here.pilot.press("f3")
        await here.wait(lambda: isinstance(here.app.screen, ConversationsScreen) and here.app.screen.book.was_read)
        await here.pilot.press("ctrl+z")
        await here.wait(lambda: listed() == [1])
    assert [message.content for message in stored()][:1] == ["one"]


# Keys in the file of settings.


async def test_keys_that_cannot_be_bound_are_told_together_and_the_others_count(tmp_path: Path) -> None:
    """As in the screen of settings: no letter that could not be written any more, no key of something else."""
    home = Path(os.environ["QWEN_TUI_HOME"])
    (home / "config").mkdir(parents=True, exist_ok=True)
    (home / "config" / "config.toml").write_text(
        '[keys]\nquit = "h"\nhelp = "f3"\nnosuch = "f9"\nrestart = "notakey"\nnew = "f10"\n', encoding="utf-8"
    )
    async with stage(size=SIZE, loaded=load_settings()) as here:
        text = " ".join(here.transcript().replace("▌", " ").split())
        for told in ("keys.quit: h is a character", "keys.help: F3 is the key of sessions", "keys.nosuch"):
            assert told in text
        assert "is not a key" in text
        here.app.chat.editor.focus()
        await here.pilot.press("h")
        assert here.app.chat.editor.text == "h"
        await asked(here, "one")
        await here.pilot.press("f10")
        assert not here.app.conversation.turns


def test_keys_may_change_places() -> None:
    actions = [("help", "", "f1"), ("layers", "", "f2"), ("turn_edit", "", "e"), ("quit", "", "ctrl+q")]
    assert checked_keys({"help": ("f2",), "layers": ("f1",)}, actions) == ({"help": ("f2",), "layers": ("f1",)}, [])
    assert checked_keys({"turn_edit": ("x",)}, actions) == ({"turn_edit": ("x",)}, [])
    assert checked_keys({"help": ()}, actions) == ({"help": ()}, [])
    keys, problems = checked_keys({"help": ("f5",), "layers": ("f5",)}, actions)
    assert len(keys) == len(problems) == 1
    assert checked_keys({"quit": ("ctrl+q",)}, actions) == ({}, [])


def test_names_of_keys() -> None:
    assert all(map(is_key, ["f1", "ctrl+n", "a", "ctrl+underscore", "question_mark", "shift+tab", "+", "alt+up"]))
    assert not any(map(is_key, ["notakey", "hyperspace+x", "ctrl+", "f99"]))


# Two programs.


async def test_a_question_follows_what_its_own_screen_shows() -> None:
    """Two programs have one conversation open: what both ask next are branches, neither below the other's."""
    async with stage(size=SIZE) as one:
        await asked(one, "base")
        async with stage(size=SIZE, resume=1) as other:
            await other.wait(lambda: other.app.conversation.turns)
            await asked(other, "from the other")
            await asked(one, "from here")
            assert [turn.question for turn in one.app.conversation.turns] == ["base", "from here"]
    assert [message.content for message in stored() if message.role == "user"] == ["base", "from here"]
    store = open_store()
    hits = store.search.find("other")
    store.close()
    assert hits
