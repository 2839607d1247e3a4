"""Draw the README's pictures of the lens and of /compare: the demo model, and the same one in three bits.

    python tests/tools/make_lens_pictures.py          writes tests/pictures/lens.svg and compare.svg

The answers are the model's own at temperature 0; only the milliseconds of a token differ from run to run.
"""

import asyncio
import os
import sys
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from make_picture import PICTURE, place_words
from qwen_core import demo_model_path
from qwen_core.protocol.events import GenerationSettings
from qwen_tui.app.app import QwenApp
from qwen_tui.app.first_start import first_start
from qwen_tui.lens.compare_screen import CompareScreen
from qwen_tui.lens.screen import LensScreen
from support.app_stage import Stage, loaded_with
from support.demo_variant import write_demo_variant

SIZE = (110, 20)
BITS = 3
QUESTION = "Is Paris larger than Berlin?"


async def drawn(model: Path, open_it: Callable[[Stage], Awaitable[None]]) -> str:
    """The screen that `open_it` opens on an answer of this model, as SVG."""
    app = QwenApp(str(model), loaded_with(GenerationSettings(temperature=0, effort="none")))
    try:
        async with app.run_test(size=SIZE) as pilot:
            here = Stage(app, pilot, [])
            await here.wait(lambda: app.conversation.engine == "ready")
            await here.enter(QUESTION)
            await here.wait(lambda: app.conversation.current is None)
            await open_it(here)
            await here.settle()
            return place_words(app.export_screenshot(title="qwen-tui"))
    finally:
        app.close_engine()


async def lens(here: Stage) -> None:
    await here.enter("/lens")
    await here.wait(lambda: isinstance(here.app.screen, LensScreen))
    await here.press("s")
    await here.wait(lambda: "entropy" in here.text())
    await here.press("n", "n")


async def compare(here: Stage, other: Path) -> None:
    await here.enter(f"/compare {other}")
    await here.wait(lambda: isinstance(here.app.screen, CompareScreen))


async def draw(folder: Path) -> None:
    other = write_demo_variant(folder / "demo in three bits", BITS)
    demo = demo_model_path()
    for name, drawing in (("lens", drawn(other, lens)), ("compare", drawn(demo, lambda here: compare(here, other)))):
        path = PICTURE.with_name(f"{name}.svg")
        path.write_text(await drawing, encoding="utf-8")
        print(path)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as home:
        os.environ["QWEN_TUI_HOME"] = home
        first_start()
        asyncio.run(draw(Path(home)))
