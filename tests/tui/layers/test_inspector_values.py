"""The values in the inspector: filled in when they are ready, given up when nobody waits for them any more."""

import threading

from qwen_core.checkpoint.directory import Checkpoint
from qwen_core.checkpoint.layout import ModuleLayout
from qwen_core.demo import demo_model_path
from qwen_core.errors import CheckpointError
from qwen_core.tensors.stored_tensor import Cancelled
from qwen_core.tensors.values import TensorValues
from qwen_tui.layers.inspection import Stop, read_module
from support.app_stage import Stage, stage
from support.inspector_stage import below_rule, inspect
from support.pilot_stage import DEADLINE_S


class SlowReader:
    """Reads nothing until it is let (or nobody comes for it), and notes what was begun and what was given up."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.given_up: list[str] = []
        self.let = threading.Event()

    def __call__(self, checkpoint: Checkpoint, module: ModuleLayout, stop: Stop, expert: int | None) -> TensorValues:
        self.begun.append(module.canonical)
        for _ in range(int(DEADLINE_S / 0.005)):
            if self.let.wait(0.005):
                break
            if stop():
                self.given_up.append(module.canonical)
                raise Cancelled
        return read_module(checkpoint, module, stop, expert)


async def test_values_fill_in_later_and_are_given_up_when_the_cursor_moves_on() -> None:
    async with stage() as here:
        reader = SlowReader()
        here.app.context.inspection.read = reader
        await open_without_values(here)
        await here.wait(lambda: reader.begun == ["layers.0.mlp.gate_proj"], "the first reading")
        assert "layer 0 · mlp.gate_proj" in below_rule(here)  # from the headers, at once
        assert "reading the values …" in below_rule(here)
        await here.pilot.press("right")
        await here.wait(lambda: reader.given_up == ["layers.0.mlp.gate_proj"], "the first to be given up")
        await here.wait(lambda: reader.begun[1:] == ["layers.1.mlp.gate_proj"], "the second reading")
        assert "layer 1 · mlp.gate_proj" in below_rule(here)
        reader.let.set()
        await here.wait(lambda: "codes" in below_rule(here), "the values")
        assert "reading" not in below_rule(here)
        # What was read is kept: going back to it reads nothing.
        await here.press("up", "down")
        assert reader.begun.count("layers.1.mlp.gate_proj") == 1
        assert "codes" in below_rule(here)


async def test_leaving_gives_up_what_is_being_read() -> None:
    async with stage() as here:
        reader = SlowReader()
        here.app.context.inspection.read = reader
        await open_without_values(here)
        await here.wait(lambda: reader.begun, "the reading")
        await here.pilot.press("f2")
        await here.wait(lambda: reader.given_up, "the reading to be given up")
        assert here.app.screen is here.app.chat


async def open_without_values(here: Stage) -> None:
    here.app.context.inspection.path = str(demo_model_path())
    await here.pilot.press("f2")
    await here.wait(lambda: "ffn gate" in here.text(), "the map")


async def test_values_that_cannot_be_read_are_one_line() -> None:
    def fail(checkpoint: Checkpoint, module: ModuleLayout, stop: Stop, expert: int | None) -> TensorValues:
        raise CheckpointError("model.safetensors became shorter \x1b[2J")

    async with stage() as here:
        here.app.context.inspection.read = fail
        await inspect(here)
        assert "became shorter \\x1b[2J" in below_rule(here)
        await here.press("enter")
        assert "became shorter" in here.text()
        await here.press("escape", "escape")
        assert here.app.screen is here.app.chat
