"""The reasoning effort in the app: exactly the levels that the loaded model's template has."""

from collections.abc import Iterable
from dataclasses import replace

from qwen_core.protocol.events import Command, GenerationSettings, Load, Loaded
from qwen_tui.app.palette import entries_of
from support.app_stage import Stage, stage
from support.fake_engine import MODEL, Step, default_script

SIZE = (160, 40)
# As Qwen3.8's template has them: two levels with a text before the conversation.
LEVELS = replace(MODEL, efforts=(("none", 0), ("low", 1), ("medium", 0), ("xhigh", 2)), default_effort="xhigh")


def script(command: Command) -> Iterable[Step]:
    return [(0.0, Loaded(LEVELS))] if isinstance(command, Load) else default_script(command)


def status(here: Stage) -> str:
    return here.lines()[-1]


def effort(here: Stage) -> str | None:
    return here.app.context.request().effort


async def say(here: Stage, line: str) -> str:
    await here.enter(line)
    await here.settle()
    return status(here)


async def test_think_takes_what_the_model_has() -> None:
    async with stage(script, size=SIZE) as here:
        assert "none, low, medium, xhigh" in await say(here, "/think")
        assert "is low for now; /save keeps it." in await say(here, "/think low")
        assert effort(here) == "low"
        assert "no effort much: none, low, medium, xhigh." in await say(here, "/think much")
        assert effort(here) == "low"
        assert "it is xhigh here" in await say(here, "/think HIGH")
        assert effort(here) == "xhigh"
        (effort_of,) = (e for e in entries_of(here.app.commands, lambda _: "") if e.title == "Reasoning effort")
        assert [choice.title for choice in effort_of.choices] == ["none", "low", "medium", "xhigh"]
        assert [choice.title for choice in effort_of.choices if choice.in_use] == ["xhigh"]


async def test_what_has_all_be_read_again_is_said_before() -> None:
    async with stage(script, size=SIZE) as here:
        assert "again" not in await say(here, "/think low"), "there is nothing to read yet"
        await here.ask("one")
        await here.wait(lambda: here.app.conversation.phase == "ready" and not here.app.turns.busy)
        tokens = here.app.conversation.context_tokens
        assert f"medium: reads all {tokens:,} tokens again; /save keeps it." in await say(here, "/think medium")
        assert "again" not in await say(here, "/think none")


async def test_what_was_read_already_is_said_too() -> None:
    """Where the engine has kept the conversation as another effort has it; and where the state has it still."""
    async with stage(script, size=(60, 20), settings=GenerationSettings(effort="low")) as here:
        await here.ask("one")
        await here.wait(lambda: here.app.conversation.phase == "ready" and not here.app.turns.busy)
        tokens = here.app.conversation.context_tokens
        here.app.conversation.ways_back = {1: tokens, 0: 11}
        assert "medium: goes on from 11 tokens; /save keeps it." in await say(here, "/think medium")
        assert f"reads all {tokens:,} tokens again; /save keeps it." in await say(here, "/think xhigh")
        assert "Reasoning effort is low." in await say(here, "/think low"), "what the state holds"
        here.app.conversation.restore()
        assert f"reads all {tokens:,} tokens again; /save keeps it." in await say(here, "/think medium"), (
            "nobody knows any more"
        )


async def test_the_level_that_stands_for_another_is_the_same_text() -> None:
    async with stage(script, size=(60, 20), settings=GenerationSettings(effort="high")) as here:
        await here.ask("one")
        await here.wait(lambda: here.app.conversation.phase == "ready" and not here.app.turns.busy)
        assert "again" not in await say(here, "/think xhigh")
        assert "tokens again; /save keeps it." in await say(here, "/think low"), "whole in 60 cells"
        assert "xhigh." in await say(here, "/think much"), "whole in 60 cells"


async def test_a_level_that_is_set_and_called_otherwise_is_told_when_the_model_is_there() -> None:
    async with stage(script, size=SIZE, settings=GenerationSettings(effort="high")) as here:
        await here.settle()
        assert "no reasoning effort high: it is xhigh here" in here.text()
    async with stage(size=SIZE, settings=GenerationSettings(effort="high")) as here:
        await here.settle()
        assert "no reasoning effort" not in here.text()
