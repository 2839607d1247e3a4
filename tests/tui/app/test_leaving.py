"""Leaving while widgets are being made: what was never composed is mounted all the same, and that is no error."""

import asyncio

import pytest
from textual.app import ComposeResult
from textual.widgets import TextArea

from qwen_core.protocol.events import Notice
from qwen_tui.chat.fold import Fold
from qwen_tui.chat.turn_view import TurnView
from qwen_tui.composer.editor import Editor
from qwen_tui.conversation.turns import Turn
from support.app_stage import Stage, stage


@pytest.mark.parametrize("kind", [Fold, TurnView])
async def test_a_widget_that_was_never_composed_is_mounted_in_peace(
    kind: type[Fold] | type[TurnView], monkeypatch: pytest.MonkeyPatch
) -> None:
    def nothing(_: object) -> ComposeResult:
        yield from ()

    async with stage() as here:
        monkeypatch.setattr(kind, "compose", nothing)
        turn = Turn(1, "why?", state="reasoning")
        widget = Fold("Reasoning", classes="reasoning") if kind is Fold else TurnView(turn)
        await here.app.chat.transcript.mount(widget)
        await here.settle()
        assert here.app.is_running


async def test_what_is_said_and_written_while_the_screens_go_is_no_error() -> None:
    left: list[int] = []
    gone = asyncio.Event()

    async def tell(here: Stage) -> None:
        editor = here.app.chat.editor
        while not gone.is_set():
            here.engine.feed(Notice("one more word"))
            here.app.post_message(TextArea.Changed(editor))
            here.app.post_message(Editor.DraftChanged())
            left.append(len(here.app.screen_stack))
            await asyncio.sleep(0)

    async with stage() as here:
        telling = asyncio.create_task(tell(here))
    gone.set()
    await telling
    assert 0 in left, "nothing was said when no screen was left"
