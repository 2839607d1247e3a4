"""Opening another model: the recent ones with size, variant and whether they fit, and a field for any directory."""

import asyncio
from collections.abc import Callable, Sequence
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option

from qwen_core.figures import decimal_size
from qwen_tui.app.model_lines import ModelLine, fit, read_model
from qwen_tui.text.safe import one_line
from qwen_tui.widgets.key_order import OneLine

Read = Callable[[str, str], ModelLine]


def line_shown(line: ModelLine, present: bool, recommended: int | None, memory: int) -> Content:
    """Two lines for one model: what it is called, and what is known of it."""
    if line.problem:
        facts, style = one_line(line.problem, 200), "$error"
    elif not line.variant:
        facts, style = "reading its headers …", "$muted"
    else:
        size = decimal_size(line.weight_bytes)
        pieces = [line.variant, size, fit(line.weight_bytes, recommended, memory), one_line(line.path, 200)]
        facts, style = " · ".join(piece for piece in pieces if piece), "$muted"
    mark = " (open)" if present else ""
    return Content.assemble((one_line(line.name, 80), "bold"), (mark, "$success"), "\n  ", (facts, style))


class ModelsScreen(ModalScreen[str | None]):
    """Dismissed with the directory to open, or None."""

    CSS_PATH = "models_screen.tcss"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "dismiss(None)", "Leave it as it is", show=False),
        Binding("f1,ctrl+g", "app.help", "Help", show=False),
    ]

    def __init__(
        self,
        models: Sequence[tuple[str, str]],
        present: str,
        recommended: int | None,
        memory: int,
        read: Read = read_model,
    ) -> None:
        """`models`: (directory, name) of each; `present`: the directory that is open; the rest: see `fit`."""
        super().__init__()
        self.lines = [ModelLine(path, name) for path, name in models]
        self._present = present
        self._memory = (recommended, memory)
        self._read = read

    def compose(self) -> ComposeResult:
        with Vertical(id="models"):
            yield OptionList(*(Option(self._shown(line)) for line in self.lines), markup=False)
            if not self.lines:
                yield Static("No models were opened before.", classes="line", markup=False)
            yield OneLine(placeholder="a directory, or owner/name from the cache")

    def on_mount(self) -> None:
        box = self.query_one("#models")
        box.border_title, box.border_subtitle = "Open a model", "Enter opens · Tab to the field · Esc leaves"
        self.query_one(OptionList).display = bool(self.lines)
        (self.query_one(OptionList) if self.lines else self.query_one(Input)).focus()
        self.run_worker(self._read_all())

    async def _read_all(self) -> None:
        listed = self.query_one(OptionList)
        for place, line in enumerate(self.lines):
            self.lines[place] = await asyncio.to_thread(self._read, line.path, line.name)
            listed.replace_option_prompt_at_index(place, self._shown(self.lines[place]))
            listed.refresh(layout=True)  # it may have more lines now

    def _shown(self, line: ModelLine) -> Content:
        return line_shown(line, line.path == self._present, *self._memory)

    @on(OptionList.OptionSelected)
    def _chosen(self, event: OptionList.OptionSelected) -> None:
        line = self.lines[event.option_index]
        if not line.problem and self.is_current:  # a second Enter comes when this screen is gone
            self.dismiss(line.path)

    @on(Input.Submitted)
    def _typed(self, event: Input.Submitted) -> None:
        if event.value.strip() and self.is_current:
            self.dismiss(event.value.strip())
