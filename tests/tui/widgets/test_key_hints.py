"""Hints at keys can be clicked."""

import pytest

from qwen_tui.widgets.key_hints import key_line, key_of
from support.app_stage import stage


@pytest.mark.parametrize(
    ("hint", "key"),
    [
        ("⏎ send", "enter"), ("Esc back", "escape"), ("^P commands", "ctrl+p"), ("F2 layers", "f2"), ("e edit", "e"),
        ("Del default", "delete"), ("←→ others", ""), ("/model opens another", ""), ("type to filter", ""), ("", ""),
    ],
)  # fmt: skip
def test_a_hint_knows_its_key(hint: str, key: str) -> None:
    assert key_of(hint) == key
    assert key_line([hint, "F1 help"]).plain == f"{hint}  F1 help"


@pytest.mark.parametrize(("hint", "seen"), [("F1 help", "Keys in the chat"), ("^P commands", "Commands")])
async def test_a_click_on_a_hint_presses_its_key(hint: str, seen: str) -> None:
    async with stage() as here:
        await here.wait(lambda: hint in here.lines()[-1])
        column, row = here.lines()[-1].index(hint), len(here.lines()) - 1
        await here.pilot.click(offset=(column + len(hint) - 1, row))
        await here.wait(lambda: seen in here.text())
