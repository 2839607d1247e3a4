"""What the inspector knows of a model directory, kept while the app runs: the headers, the map, values already read.

No widgets. Opening and reading values block; the screen calls them in threads.
"""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from qwen_core.checkpoint.directory import Checkpoint, open_checkpoint
from qwen_core.checkpoint.layout import ModuleLayout, make_layout
from qwen_core.checkpoint.variants import identify
from qwen_tui.layers.map import LayerMap, Place, make_map
from qwen_tui.layers.map_text import View

if TYPE_CHECKING:  # NumPy behind it: too slow an import for the first screen
    from qwen_core.tensors.values import TensorValues

VALUES_LIMIT = 64 << 20  # bytes of one tensor that are read; of a larger one whole groups are sampled
KEPT = 64
Stop = Callable[[], bool]


@dataclass(frozen=True)
class Opened:
    """A directory whose headers were read."""

    checkpoint: Checkpoint
    layer_map: LayerMap


def open_model(path: str) -> Opened:
    """Read the headers of a model directory. Raises CheckpointError."""
    checkpoint = open_checkpoint(path)
    layout = make_layout(checkpoint)
    return Opened(checkpoint, make_map(layout, identify(layout)))


def read_module(checkpoint: Checkpoint, module: ModuleLayout, stop: Stop) -> "TensorValues":
    """The values of one module. Raises CheckpointError, or Cancelled once `stop` says so."""
    from qwen_core.tensors.values import read_values

    return read_values(checkpoint, module.canonical, stop=stop, limit_bytes=VALUES_LIMIT)


class Inspection:
    """`view`, `filter` and `small` are how the person left the map, so that coming back finds it so."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.opened: Opened | None = None
        self.view = View(Place("ffn gate", 0))
        self.filter = ""
        self.small: bool | None = None
        self.read: Callable[[Checkpoint, ModuleLayout, Stop], TensorValues] = read_module
        self._values: OrderedDict[str, TensorValues] = OrderedDict()

    def forget(self) -> None:
        """Before the directory is read anew."""
        self.opened = None
        self._values.clear()

    def values(self, module: ModuleLayout) -> "TensorValues | None":
        """Values that were read before."""
        return self._values.get(module.canonical)

    def keep(self, module: ModuleLayout, values: "TensorValues") -> None:
        self._values[module.canonical] = values
        while len(self._values) > KEPT:
            self._values.popitem(last=False)
