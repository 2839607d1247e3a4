"""What the inspector knows of a model directory, kept while the app runs: the headers, the map, values already read.

No widgets. Opening and reading values block; the screen calls them in threads.
"""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from qwen_core.checkpoint.directory import Checkpoint, open_checkpoint
from qwen_core.checkpoint.layout import ModuleLayout
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
    from qwen_core.tensors.rounding_error import measured_layout

    layout = measured_layout(checkpoint)
    return Opened(checkpoint, make_map(layout, identify(layout)))


def read_module(checkpoint: Checkpoint, module: ModuleLayout, stop: Stop, expert: int | None) -> "TensorValues":
    """The values of one module, or of one of its experts. Raises CheckpointError, or Cancelled once `stop` says so."""
    from qwen_core.tensors.values import read_values

    return read_values(checkpoint, module.canonical, expert=expert, stop=stop, limit_bytes=VALUES_LIMIT)


class Inspection:
    """`view`, `filter` and `small` are how the person left the map, so that coming back finds it so.

    `expert` is the one whose values are shown of a stack of experts; None: of all of them.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.opened: Opened | None = None
        self.view = View(Place("ffn gate", 0))
        self.filter = ""
        self.small: bool | None = None
        self.expert: int | None = None
        self.read: Callable[[Checkpoint, ModuleLayout, Stop, int | None], TensorValues] = read_module
        self._values: OrderedDict[tuple[str, int | None], TensorValues] = OrderedDict()

    def forget(self) -> None:
        """Before the directory is read anew."""
        self.opened = None
        self._values.clear()

    def expert_of(self, module: ModuleLayout) -> int | None:
        """The expert that is picked, where `module` is a stack that has it."""
        return self.expert if self.expert is not None and self.expert < module.experts else None

    def pick(self, module: ModuleLayout, step: int) -> None:
        """Another expert of a stack, so many on from the one picked; all of them stand before the first."""
        here = self.expert_of(module)
        place = ((0 if here is None else here + 1) + step) % (module.experts + 1)
        self.expert = place - 1 if place else None

    def values(self, module: ModuleLayout) -> "TensorValues | None":
        """Values that were read before, of the expert that is picked."""
        return self._values.get((module.canonical, self.expert_of(module)))

    def keep(self, module: ModuleLayout, expert: int | None, values: "TensorValues") -> None:
        self._values[module.canonical, expert] = values
        while len(self._values) > KEPT:
            self._values.popitem(last=False)
