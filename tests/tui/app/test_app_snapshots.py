"""What the app says and shows beside plain answers, as committed text and styles, at four sizes.

`pytest --snapshot-update` writes them anew.
"""

from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import replace

import pytest
from syrupy.assertion import SnapshotAssertion

from qwen_core.protocol.counting import Count, Counted, PromptCount
from qwen_core.protocol.events import Command, Load, Loaded, LoadFailed, Send, TurnStarted
from support.app_stage import Stage, stage
from support.fake_engine import MODEL, Script, Step, answered, delta, done, loads_only, stats

SIZES = pytest.mark.parametrize(
    "size", [(40, 15), (60, 20), (100, 30), (160, 45)], ids=lambda size: f"{size[0]}x{size[1]}"
)
TOO_LARGE = LoadFailed(
    "the weights need 54.00 GB of memory as float32 (27.00 GB on disk), but this machine has 48.00 GB",
    ("bfloat16", "float16"),
)
MATHEMATICS = r"""The roots of $ax^2 + bx + c = 0$ are

\[x = \frac{-b \pm \sqrt{b^2 - 4ac}}{2a}\]

and the area below a curve is

$$\int_0^1 f(x)\,dx = \lim_{n \to \infty} \frac{1}{n} \sum_{i=1}^{n} f(x_i).$$
"""
CODE = """Read [the notes](https://example.org/notes) first, then:

```python
def scale(group: list[float]) -> float:
    return max(abs(x) for x in group) / 6.0  # the largest value of E2M1, so that nothing is cut off
```

```
plain
```
"""
Scene = Callable[[Stage], Awaitable[None]]
LIMIT = 4096


def nearly_full(command: Command) -> Iterable[Step]:
    """A context of 4,096 tokens, of which the first answer leaves 546."""
    match command:
        case Load():
            return [(0.0, Loaded(replace(MODEL, context_limit=LIMIT)))]
        case Count(number):
            return [(0.0, Counted(number, PromptCount(3562, 3550, 12)))]
        case Send(turn):
            ended = replace(done(turn, "As far as it goes."), stats=replace(stats(), context_tokens=3550))
            return [(0.0, event) for event in (TurnStarted(turn, 1242, 1204), ended)]
        case _:
            return []


def cannot_load(command: Command) -> Iterator[Step]:
    if isinstance(command, Load):
        yield 0.0, TOO_LARGE


async def no_model(here: Stage) -> None:
    await here.wait(lambda: here.app.conversation.engine == "no model", "the failure")


async def stopped(here: Stage) -> None:
    """An answer that was stopped: its figures, and what can be done with it."""
    await here.ask("Explain NVFP4 vs MXFP4.")
    await here.feed(TurnStarted(1, 1242, 1204), delta(1, ("answer", "NVFP4 stores each group"), count=40))
    await here.feed(done(1, "NVFP4 stores each group", reason="cancelled"))


async def queued(here: Stage) -> None:
    await here.ask("Explain NVFP4 vs MXFP4.")
    await here.feed(TurnStarted(1, 1242, 1204), delta(1, ("answer", "NVFP4 stores each group"), count=40))
    await here.enter("And which of the two keeps more of the quality?")
    await here.enter("Why?")
    await here.write("In one word")


async def full_context(here: Stage) -> None:
    await here.ask("Explain NVFP4 vs MXFP4.")
    await here.wait(lambda: here.app.conversation.warned_full, "the warning")
    await here.write("And affine?")
    await here.wait(lambda: "left ─" in here.text(), "the count")


async def values(here: Stage) -> None:
    await here.enter("/set temperature 0.3")
    await here.enter("/set")


async def figures(here: Stage) -> None:
    await here.ask("Explain NVFP4 vs MXFP4.")
    await here.feed(*answered(1, "In short."))
    await here.enter("/stats")


async def mathematics(here: Stage) -> None:
    await here.ask("How are the roots found?")
    await here.feed(*answered(1, MATHEMATICS))


async def code(here: Stage) -> None:
    await here.ask("How is a group scaled?")
    await here.feed(*answered(1, CODE))


SCENES: list[Scene] = [no_model, stopped, queued, full_context, values, figures, mathematics, code]
SCRIPTS: dict[Scene, Script] = {no_model: cannot_load, full_context: nearly_full}


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: getattr(scene, "__name__", ""))
@SIZES
async def test_screen(scene: Scene, size: tuple[int, int], snapshot: SnapshotAssertion) -> None:
    async with stage(SCRIPTS.get(scene, loads_only), size, ready=scene is not no_model) as here:
        here.clock(1.0)
        await scene(here)
        await here.settle()
        drawn = here.snapshot()
    assert drawn == snapshot
