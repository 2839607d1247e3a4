"""The details of the place under the cursor: headers at once, the values inside the tensor once they are read."""

from textual.content import Content
from textual.message import Message

from qwen_core.protocol.expert_use import ExpertUse
from qwen_tui.layers.detail import expert_line, header_lines
from qwen_tui.layers.expert_use import use_lines
from qwen_tui.layers.inspection import Opened
from qwen_tui.layers.map import Place
from qwen_tui.layers.map_text import BAD, MUTED, Lines
from qwen_tui.layers.painter import CellRows
from qwen_tui.layers.values_reader import ValuesReader
from qwen_tui.text.safe import one_line


class LayerDetail(CellRows):
    """As many lines as the map leaves."""

    class Resized(Message):
        """There is another number of lines, or of cells in them."""

    def on_resize(self) -> None:
        self.post_message(self.Resized())

    def show_place(
        self, opened: Opened, place: Place, reader: ValuesReader, expert: int | None, use: ExpertUse | None
    ) -> None:
        """What is known of `place`, of a stack of experts the values of `expert` (None: of all) and its `use`.

        Where there is no room for all, figures go before where a tensor is stored.
        """
        width, height = max(1, self.size.width - 2), max(1, self.size.height)
        head = header_lines(opened.layer_map, opened.checkpoint, place, width)
        module = opened.layer_map.module_at(place)
        picker = [expert_line(module, expert).truncate(width)] if module is not None and module.experts else []
        if use is not None and module is not None and (module.experts or module.role == "gate"):
            picker = [*use_lines(use, module.layer or 0, width), *picker]
        values = [*picker, *self._values(reader, width, height - len(head) - len(picker))]
        lines = [*head[: max(2, height - len(values))], *values][:height]
        # Always as many: another number of rows would be another layout of the screen.
        self.show([*(line.pad_left(1) for line in lines), *[Content("")] * (height - len(lines))])

    def _values(self, reader: ValuesReader, width: int, height: int) -> Lines:
        if reader.values is not None:
            # NumPy behind it: imported by now, in the reader's thread.
            from qwen_tui.layers.values_text import value_lines

            return value_lines(reader.values, width, height)
        if reader.error:
            return [Content.styled(one_line(reader.error, width), BAD)]
        return [Content.styled("reading the values …", MUTED)] if reader.busy else []
