"""The inspector on the stage: opened on a directory, waited for, read back."""

from pathlib import Path

from qwen_core.checkpoint.directory import Checkpoint
from qwen_core.checkpoint.layout import ModuleLayout
from qwen_core.demo import demo_model_path
from qwen_core.tensors.values import TensorValues, read_values
from qwen_tui.layers.inspection import Stop
from qwen_tui.layers.map import Place
from qwen_tui.layers.map_view import LayerMapView
from qwen_tui.layers.screen import InspectorScreen
from support.app_stage import Stage


def read_little(checkpoint: Checkpoint, module: ModuleLayout, stop: Stop, expert: int | None) -> TensorValues:
    """A small sample in place of up to 64 MB: for scenes that are not about values."""
    return read_values(checkpoint, module.canonical, expert=expert, stop=stop, limit_bytes=1 << 12)


async def inspect(here: Stage, path: Path | None = None) -> InspectorScreen:
    """Open the inspector on `path` (None: the demo model, with its values); returns with the map on screen."""
    here.app.context.inspection.path = str(path or demo_model_path())
    if path is not None:
        here.app.context.inspection.read = read_little
    await here.pilot.press("f2")
    await here.wait(lambda: isinstance(here.app.screen, InspectorScreen), "the inspector")
    screen = here.app.screen
    assert isinstance(screen, InspectorScreen)
    await here.wait(lambda: screen.query(LayerMapView), "the map")
    await here.settle()
    return screen


def place(here: Stage) -> tuple[str, int]:
    """Where the cursor is."""
    found: Place = here.app.context.inspection.view.place
    return found.row, found.column


def below_rule(here: Stage) -> str:
    """The detail pane as text."""
    lines = here.lines()
    rule = max(number for number, line in enumerate(lines) if line.startswith("───"))
    return "\n".join(lines[rule + 1 : -1])
