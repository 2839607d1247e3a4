"""The screen as committed text and styles, at four sizes. `pytest --snapshot-update` writes them anew."""

from collections.abc import Awaitable, Callable

import pytest
from syrupy.assertion import SnapshotAssertion

from qwen_core.protocol.events import LoadProgress, PrefillProgress, TurnStarted
from qwen_core.protocol.weight_tiers import WeightTiers
from support.app_stage import Stage, stage
from support.fake_engine import answered, delta, loads_only

Scene = Callable[[Stage], Awaitable[None]]
SIZES = [(40, 15), (60, 20), (100, 30), (160, 45)]
MARKDOWN = """NVFP4 stores each group of **16** weights with one `E4M3` scale, so a weight costs *4.5 bits* in all.

| format | group | bits |
|---|---|---|
| nvfp4 | 16 | 4.5 |
| mxfp4 | 32 | 4.25 |

```python
scale = max(abs(x) for x in group) / 6.0
```

- 東京 and 🎉
"""


async def welcome(here: Stage) -> None:
    await here.settle()


async def answer(here: Stage) -> None:
    await here.ask("Explain NVFP4 vs MXFP4.")
    await here.feed(*answered(1, MARKDOWN, "The person asks about formats."))
    await here.write("And affine?\nIn short.")


async def prefill(here: Stage) -> None:
    await here.ask("A long question")
    await here.feed(TurnStarted(1, 9000, 100))
    here.clock(45.0)
    await here.feed(PrefillProgress(1, 4096, 8900, 100))


async def decoding(here: Stage) -> None:
    await here.ask("Explain NVFP4 vs MXFP4.")
    await here.feed(TurnStarted(1, 1242, 1204), delta(1, ("answer", MARKDOWN[:150]), count=40))


async def death(here: Stage) -> None:
    await here.ask("Explain NVFP4 vs MXFP4.")
    await here.feed(delta(1, ("answer", "NVFP4 stores"), count=4))
    here.engine.die("the engine process was ended by SIGKILL (killed from outside, by the system if memory ran out)")


async def loading(here: Stage) -> None:
    await here.feed(LoadProgress("weights", 8_200_000_000, 21_900_000_000, WeightTiers(mapped=8_200_000_000)))


async def help_screen(here: Stage) -> None:
    await here.pilot.press("f1")


SCENES: list[Scene] = [welcome, answer, prefill, decoding, death, loading, help_screen]


def name(scene: Scene) -> str:
    return getattr(scene, "__name__", "scene")


@pytest.mark.parametrize("scene", SCENES, ids=name)
@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
async def test_screen(scene: Scene, size: tuple[int, int], snapshot: SnapshotAssertion) -> None:
    async with stage(loads_only, size) as here:
        here.clock(1.0)
        await scene(here)
        await here.settle()
        drawn = here.snapshot()
    assert drawn == snapshot


@pytest.mark.parametrize("size", [(40, 12), (20, 6), (10, 3), (3, 2)], ids=lambda size: f"{size[0]}x{size[1]}")
async def test_no_size_is_too_small_to_live(size: tuple[int, int]) -> None:
    async with stage(loads_only, size) as here:
        await answer(here)
        await here.settle()
        await here.pilot.press("f1")
        await here.pilot.pause()
        await here.pilot.press("escape", "ctrl+p")
        await here.pilot.pause()
        await here.pilot.press("escape")
        await here.pilot.resize_terminal(100, 30)
        await here.settle()
        assert "17.3 tok/s" in here.text()
