"""Leaving while widgets are being made: what was never composed is mounted all the same, and that is no error."""

import pytest
from textual.app import ComposeResult

from qwen_tui.turns import Turn
from qwen_tui.widgets.fold import Fold
from qwen_tui.widgets.turn import TurnView
from support.app_stage import play, stage


@pytest.mark.parametrize("kind", [Fold, TurnView])
def test_a_widget_that_was_never_composed_is_mounted_in_peace(
    kind: type[Fold] | type[TurnView], monkeypatch: pytest.MonkeyPatch
) -> None:
    def nothing(_: object) -> ComposeResult:
        yield from ()

    async def scene() -> None:
        async with stage() as here:
            monkeypatch.setattr(kind, "compose", nothing)
            turn = Turn(1, "why?", state="reasoning")
            widget = Fold("Reasoning", classes="reasoning") if kind is Fold else TurnView(turn)
            await here.app.chat.transcript.mount(widget)
            await here.settle()
            assert here.app.is_running

    play(scene())
