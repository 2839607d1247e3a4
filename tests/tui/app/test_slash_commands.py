"""Every slash command under the test pilot, and the same through the command palette."""

import json
import re
import stat
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest

from qwen_core.protocol.events import Command, GenerationSettings, Restore, SaveState, StateSaved
from qwen_tui.app.help_screen import HelpScreen
from qwen_tui.app.models_screen import ModelsScreen
from qwen_tui.conversation_list.screen import ConversationsScreen
from qwen_tui.layers.screen import InspectorScreen
from support.app_stage import Stage, stage
from support.scenes import stored

SIZE = (120, 40)


async def asked(here: Stage, question: str) -> None:
    await here.ask(question)
    await here.wait(lambda: here.app.conversation.phase == "ready" and not here.app.turns.busy)
    await here.settle()


Kind = TypeVar("Kind", bound=Command)


def last(here: Stage, kind: type[Kind]) -> Kind:
    """The last command of this kind that the engine got."""
    return next(command for command in reversed(here.engine.commands) if isinstance(command, kind))


def the_status(here: Stage) -> str:
    return " ".join(row.strip() for row in here.rows_of(here.app.chat.status))


@pytest.mark.parametrize(
    ("line", "screen"),
    [
        ("/help", HelpScreen),
        ("/resume", ConversationsScreen),
        ("/search one", ConversationsScreen),
        ("/model", ModelsScreen),
        ("/inspect", InspectorScreen),
    ],
)
async def test_a_command_that_opens_a_screen(line: str, screen: type) -> None:
    async with stage(size=SIZE) as here:
        await asked(here, "one")
        await here.enter(line)
        await here.wait(lambda: isinstance(here.app.screen, screen), line)
        await here.pilot.pause()
        await here.pilot.press("escape", "escape")
        await here.wait(lambda: here.app.screen is here.app.chat)


@pytest.mark.parametrize(
    ("line", "check", "says"),
    [
        ("/set temperature 0.3", lambda request: request.temperature == 0.3, "temperature is 0.3"),
        ("/set top_p=0.9", lambda request: request.top_p == 0.9, "top_p is 0.9"),
        ("/set max tokens 100", lambda request: request.max_new_tokens == 100, "max_tokens is 100"),
        ("/set presence 1.5", lambda request: request.presence_penalty == 1.5, "presence_penalty is 1.5"),
        ("/set seed 7", lambda request: request.seed == 7, "seed is 7"),
        (
            "/set top_k default",
            lambda request: request.top_k is None,
            "top_k is 20 (recommended by the model's authors) again",
        ),
        ("/set reasoning budget 50", lambda request: request.reasoning_budget == 50, "reasoning_budget is 50"),
        ("/set top_p 7", lambda request: request.top_p is None, "top_p = '7' is not a number"),
        ("/set heat 7", lambda request: request.temperature is None, "There is no 'heat' to set"),
        ("/set temperature", lambda request: request.temperature is None, "It takes"),
        (
            "/preset coding",
            lambda request: (request.temperature, request.effort) == (0.6, "high"),
            "preset is coding",
        ),
        ("/preset", lambda request: request.temperature is None, "preset is auto. /preset takes one of"),
        ("/think high", lambda request: request.effort == "high", "effort is high"),
        ("/think", lambda request: request.effort is None, "effort is the model's. /think takes"),
        ("/guard", lambda request: not request.repetition_guard, "guard is off. /guard takes one of"),
        ("/copy code", lambda request: True, "no block of code"),
        ("/guard on", lambda request: request.repetition_guard, "repeat themselves"),
        ("/nonsense", lambda request: True, "There is no command"),
    ],
)
async def test_how_answers_are_generated(line: str, check: Callable[[GenerationSettings], object], says: str) -> None:
    async with stage(size=(160, 40)) as here:
        await here.enter(line)
        await here.settle()
        assert says in the_status(here)
        assert check(here.app.context.request())
        await here.write("")
        await asked(here, "one")
        assert here.engine.sent()[-1].settings == here.app.context.request()


async def test_set_alone_lists_and_a_preset_takes_values_back() -> None:
    async with stage(size=SIZE) as here:
        await here.enter("/set temperature 0.3")
        await here.enter("/set")
        await here.settle()
        assert re.search(r"temperature +0\.3 +for now", here.transcript())
        assert re.search(r"top_k +20 +recommended", here.transcript())
        await here.enter("/preset thinking")
        assert here.app.context.request().temperature == 1.0


async def test_a_system_prompt_is_kept_with_its_conversation() -> None:
    async with stage(size=SIZE) as here:
        await asked(here, "one")
        await here.enter("/system be kind")
        await here.wait(lambda: isinstance(here.engine.commands[-1], Restore))
        assert last(here, Restore).system == "be kind"
        await here.enter("/system")
        await here.settle()
        assert "System prompt: be kind" in here.text()
        await here.enter("/system none")
        await here.wait(lambda: last(here, Restore).system is None)
        await here.enter("/system be brief")
        await here.wait(lambda: last(here, Restore).system == "be brief")
    async with stage(size=SIZE, resume=1) as here:
        await here.wait(lambda: here.app.conversation.system == "be brief")


async def test_copying(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[str] = []
    monkeypatch.setattr("qwen_tui.app.copying.copy_with_program", lambda text: taken.append(text) or "pbcopy")
    async with stage(size=SIZE) as here:
        await here.enter("/copy")
        await here.wait(lambda: "nothing to copy" in the_status(here))
        await asked(here, "write\n```python\nprint(1)\n```\nand\n```\nls\n```")
        for line, text in (
            ("/copy", "You said: write\n```python\nprint(1)\n```\nand\n```\nls\n```"),
            ("/copy code", "ls\n"),
            ("/copy code 1", "print(1)\n"),
        ):
            await here.enter(line)
            await here.wait(lambda text=text: taken and taken[-1] == text, line)
            assert here.app.clipboard == text
        await here.enter("/copy all")
        await here.wait(lambda: taken[-1].startswith("## You"))
        await here.enter("/copy code 9")
        await here.wait(lambda: "there is no '9'" in the_status(here))
        await here.enter("/copy money")
        await here.wait(lambda: "/copy takes" in the_status(here))


async def test_exporting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    async with stage(size=SIZE) as here:
        await here.enter("/export")
        await here.wait(lambda: "nothing to export" in the_status(here))
        await asked(here, "Why?")
        await here.enter("/export")
        await here.wait(lambda: (tmp_path / "Why.md").exists())
        await here.enter("/export chat.json")
        await here.wait(lambda: (tmp_path / "chat.json").exists())
        await here.enter("/export chat.json")
        await here.wait(lambda: "exists" in the_status(here))
    assert "You said: Why?" in (tmp_path / "Why.md").read_text()
    assert json.loads((tmp_path / "chat.json").read_text())


async def test_figures_themes_and_a_new_conversation() -> None:
    async with stage(size=SIZE) as here:
        await here.enter("/stats")
        await here.settle()
        assert "no figures yet" in the_status(here)
        await asked(here, "one")
        await here.enter("/stats")
        await here.settle()
        assert "decode 17.3 tok/s" in here.text()
        assert "88 % of 400 GB/s, published · ceiling 19.7 tok/s est." in " ".join(here.transcript().split())
        await here.enter("/theme paper")
        assert here.app.theme == "paper"
        await here.enter("/theme none-such")
        await here.settle()
        assert "There is no such theme" in the_status(here)
        await here.enter("/new")
        await here.settle()
        assert here.app.conversation.items == []
        await asked(here, "two")
    assert [message.content for message in stored()] == ["two", "You said: two"]
    assert [message.content for message in stored(1)] == ["one", "You said: one"]


async def test_the_state_is_saved_and_named_when_the_conversation_is_resumed(home: Path) -> None:
    async with stage(size=SIZE) as here:
        await here.enter("/save-state")
        await here.settle()
        assert "nothing to save" in the_status(here)
        await asked(here, "one")
        await here.enter("/save-state")
        await here.wait(lambda: isinstance(here.engine.commands[-1], SaveState))
        path = Path(last(here, SaveState).path)
        assert path.parent.is_relative_to(home)
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        path.write_bytes(b"state")
        await here.feed(StateSaved(str(path), 10, 5))
        assert "this conversation resumes" in here.text()
    async with stage(size=SIZE, resume=1) as here:
        await here.wait(lambda: any(isinstance(command, Restore) for command in here.engine.commands))
        assert last(here, Restore).state_path == str(path)
        # An edit goes back to a snapshot; a new conversation has no state on the disk.
        await here.enter("/edit")
        await asked(here, "one, better")
        assert last(here, Restore).state_path == ""
        await here.enter("/new")
        await here.wait(lambda: last(here, Restore).messages == ())
        assert last(here, Restore).state_path == ""


async def test_files_that_a_message_names_go_along(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "notes.txt").write_text("the secret is 42\n")
    async with stage(size=SIZE) as here:
        await here.enter("see @notes.txt please ")
        await here.wait(lambda: here.engine.sent())
        await here.settle()
        assert "the secret is 42" in here.engine.sent()[0].text
        assert "the secret is 42" not in here.app.conversation.turns[0].shown
        await here.enter("see @./missing.txt ")
        await here.wait(lambda: "Not sent" in the_status(here))
        assert here.app.chat.editor.text == "see @./missing.txt "
    question = stored()[0]
    assert "the secret is 42" in question.content
    assert question.shown == "see @notes.txt please "


async def test_two_clean_quits() -> None:
    async with stage(size=SIZE) as here:
        await here.enter("/quit")
        await here.wait(lambda: not here.app.is_running)


async def test_the_figures_say_what_an_answer_was_sampled_with() -> None:
    """By the settings that it was asked with, not by those of now."""
    async with stage(size=(100, 40)) as here:
        await here.enter("/set temperature 0.3")
        await asked(here, "one")
        await here.enter("/set temperature 0.9")
        await here.enter("/stats")
        await here.settle()
        said = " ".join(here.transcript().split())
        assert "sampling: temperature 0.3 (for now) · top_p 0.95, top_k 20, presence_penalty 0 (recommended" in said
