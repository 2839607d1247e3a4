"""Draw the README's picture of the layer map: the full 27B, of which this machine needs to hold nothing.

    python tests/tools/make_layer_picture.py          writes tests/pictures/layers.svg

The checkpoint is written by the project's own tests: the true shapes and formats as holes in sparse files, and random
weights in the one tensor that the picture looks into. No engine could load it, and none has to.
"""

import asyncio
import os
import sys
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import mlx.core as mx
import numpy as np

from make_picture import place_words
from qwen_core.checkpoint.directory import open_checkpoint
from qwen_core.protocol.events import Command, Event, Load, LoadFailed
from qwen_tui.app.app import QwenApp
from qwen_tui.layers.screen import InspectorScreen
from support.app_stage import Stage
from support.checkpoints import write_checkpoint
from support.fake_engine import FakeEngine, Step

PICTURE = Path(__file__).resolve().parent.parent / "pictures" / "layers.svg"
SIZE = (100, 30)
LAYER = 8
MODULE = f"layers.{LAYER}.mlp.gate_proj"
ROWS_AT_ONCE = 1024


def write_weights(path: Path) -> None:
    """Random weights into the one tensor that is looked into, quantised as its format asks."""
    checkpoint = open_checkpoint(path)
    weight, scales = checkpoint.text[f"{MODULE}.weight"], checkpoint.text[f"{MODULE}.scales"]
    spec, (rows, words) = checkpoint.specs[MODULE], weight.shape
    columns = words * 32 // spec.bits
    with weight.file.open("r+b") as into_weight, scales.file.open("r+b") as into_scales:
        into_weight.seek(weight.offset)
        into_scales.seek(scales.offset)
        for row in range(0, rows, ROWS_AT_ONCE):
            shape = (min(ROWS_AT_ONCE, rows - row), columns)
            values = mx.random.normal(shape, scale=columns**-0.5, key=mx.random.key(row))
            packed = mx.quantize(values, group_size=spec.group_size, bits=spec.bits, mode=spec.mode)
            into_weight.write(np.array(packed[0]).tobytes())
            into_scales.write(np.array(packed[1]).tobytes())


def loads_nothing(command: Command) -> Iterable[Step]:
    return [(0.0, LoadFailed("only shapes, no model"))] if isinstance(command, Load) else []


async def draw(path: Path) -> str:
    """The map with the cursor on one tensor and its values read, as SVG."""

    def engine(on_event: Callable[[Event], None]) -> FakeEngine:
        return FakeEngine(on_event, loads_nothing)

    app = QwenApp(str(path), engine_factory=engine)
    try:
        async with app.run_test(size=SIZE) as pilot:
            here = Stage(app, pilot, [])
            await here.wait(lambda: app.conversation.engine == "no model")
            await here.press("f2")
            await here.wait(lambda: app.context.inspection.opened is not None)
            screen = app.screen
            assert isinstance(screen, InspectorScreen)
            await here.press(*["right"] * LAYER)
            assert screen.reader.values is not None and screen.reader.values.module == MODULE
            return place_words(app.export_screenshot(title="qwen-tui"))
    finally:
        app.close_engine()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        os.environ["QWEN_TUI_HOME"] = folder
        place = Path(folder) / "Qwen3.6-27B-UD-NVFP4_K_XL-mlx"
        write_checkpoint(place, full=True)
        write_weights(place)
        PICTURE.write_text(asyncio.run(draw(place)), encoding="utf-8")
    print(PICTURE)
