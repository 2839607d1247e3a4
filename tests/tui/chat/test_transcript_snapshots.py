"""Long conversations as committed text and styles, at four sizes. `pytest --snapshot-update` writes them anew."""

import re
from collections.abc import Awaitable, Callable

import pytest
from syrupy.assertion import SnapshotAssertion

from qwen_core.protocol.events import TurnStarted
from qwen_tui.chat.find_bar import FindInput
from support.app_stage import Stage, stage
from support.fake_engine import delta, loads_only
from support.transcripts import put, rest, tell

SIZES = [(40, 15), (60, 20), (100, 30), (160, 45)]
Scene = Callable[[Stage], Awaitable[None]]
CODE = """Like *this*, in `python`:

```python
# the scale of a group
scale = max(abs(x) for x in group) / 6.0
```

1. first
   - inner
2. second

> A quote, and [a link](https://example.org).
"""


async def turn_focused(here: Stage) -> None:
    """The last of many turns has the focus; its answer is one of three."""
    turns = await tell(here, 70)
    turns[-1].place, turns[-1].reasoning_tokens = (2, 3), 12
    put(turns[-1], "answer", CODE)
    put(turns[-1], "reasoning", "thoughts")
    await rest(here)
    await here.pilot.press("ctrl+up")


async def turns_between(here: Stage) -> None:
    """In the middle, with more before and after, while an answer streams at the end."""
    turns = await tell(here, 200)
    turns[99].shown = "\n".join(f"row {number} of a long question" for number in range(60))
    await here.ask("and now?")
    await here.feed(TurnStarted(201, 10, 0), delta(201, ("answer", "Now"), count=3))
    here.app.chat.focus_turn(turns[99])
    await rest(here)
    await here.pilot.press("escape")


async def turns_home(here: Stage) -> None:
    await tell(here, 5)
    here.app.conversation.note("A notice of the program.")
    await here.pilot.press("ctrl+home")


async def found(here: Stage) -> None:
    turns = await tell(here, 60)
    put(turns[30], "answer", CODE)
    await rest(here)
    here.app.chat.query_one(FindInput).cursor_blink = False
    here.app.chat.find("a link")
    await rest(here)


async def banner(here: Stage) -> None:
    turns = await tell(here, 2)
    here.app.drafts.edit(turns[-1])


SCENES: list[Scene] = [turn_focused, turns_between, turns_home, found, banner]


def name(scene: Scene) -> str:
    return getattr(scene, "__name__", "scene")


async def drawn(scene: Scene, size: tuple[int, int]) -> str:
    async with stage(loads_only, size) as here:
        await scene(here)
        await rest(here)
        return here.snapshot()


@pytest.mark.parametrize("scene", SCENES, ids=name)
@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
async def test_screen(scene: Scene, size: tuple[int, int], snapshot: SnapshotAssertion) -> None:
    text = await drawn(scene, size)
    assert text == snapshot


@pytest.mark.parametrize("scene", [turn_focused, found], ids=name)
async def test_without_colour_the_focus_and_what_was_found_still_show(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    text = await drawn(scene, (100, 30))
    assert ("┃" if scene is turn_focused else "▌▌") in text
    assert scene is turn_focused or re.search("bold.* reverse", text)


@pytest.mark.usefixtures("few_widgets")
@pytest.mark.parametrize("scene", SCENES, ids=name)
@pytest.mark.parametrize("size", [(40, 12), (12, 5), (3, 2)], ids=lambda size: f"{size[0]}x{size[1]}")
async def test_no_size_is_too_small_to_live(scene: Scene, size: tuple[int, int]) -> None:
    assert await drawn(scene, size)
