"""Reads the values of the tensor under the cursor without holding up the screen: in a thread, and given up early.

One at a time for one screen: wanting another tensor, or none, stops what is being read.
"""

import asyncio
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from textual.dom import DOMNode

from qwen_core.checkpoint.layout import ModuleLayout
from qwen_core.errors import QwenError
from qwen_tui.layers.inspection import Inspection

if TYPE_CHECKING:
    from qwen_core.tensors.values import TensorValues

DEBOUNCE = 0.12  # seconds that the cursor rests before anything is read: a held arrow key reads nothing


class ValuesReader:
    """`changed` is called on the screen's loop whenever `values`, `error` or `busy` are others than before."""

    def __init__(self, owner: DOMNode, inspection: Inspection, changed: Callable[[], None]) -> None:
        self._owner = owner
        self._inspection = inspection
        self._changed = changed
        self._stop = threading.Event()
        self._module: ModuleLayout | None = None
        self._expert: int | None = None
        self.values: TensorValues | None = None
        self.error = ""

    @property
    def busy(self) -> bool:
        """Whether values are wanted that are not there yet."""
        return self._module is not None and self.values is None and not self.error

    def want(self, module: ModuleLayout | None) -> None:
        """The cursor is on `module`: show what is known of it, and read it if that is nothing.

        Of a stack of experts it is the one that the inspection has picked.
        """
        expert = self._inspection.expert_of(module) if module is not None else None
        if module == self._module and expert == self._expert:
            return
        self._stop.set()
        self._module, self._expert, self.error = module, expert, ""
        self.values = self._inspection.values(module) if module is not None else None
        if module is not None and self.values is None:
            self._stop = threading.Event()
            self._owner.run_worker(self._read(module, expert, self._stop), group="values", exclusive=True)
        self._changed()

    def close(self) -> None:
        """The screen goes: whatever is being read may end."""
        self._stop.set()

    async def _read(self, module: ModuleLayout, expert: int | None, stop: threading.Event) -> None:
        await asyncio.sleep(DEBOUNCE)  # wanting another tensor meanwhile cancels this
        opened = self._inspection.opened
        if opened is None or stop.is_set():
            return
        try:
            values = await asyncio.to_thread(self._inspection.read, opened.checkpoint, module, stop.is_set, expert)
        except (QwenError, OSError, ValueError, MemoryError) as error:
            if not stop.is_set():
                self.error = str(error) or type(error).__name__
                self._changed()
            return
        self._inspection.keep(module, expert, values)
        if (module, expert) == (self._module, self._expert):
            self.values = values
            self._changed()
