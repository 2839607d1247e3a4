"""Many rows of text in one widget: blocks laid out once for a width, of which only the rows in view are drawn."""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from rich.segment import Segment
from textual.content import Content
from textual.events import Click
from textual.geometry import Region, Size
from textual.message import Message
from textual.selection import Selection
from textual.strip import Strip
from textual.style import Style

from qwen_tui.text.block_layout import NOTHING, Block, Laid, Row, finder, holds, lay_out
from qwen_tui.text.markdown import ADDRESS, COPY
from qwen_tui.widgets.colour_process import COLOUR_PROCESS, Colours
from qwen_tui.widgets.line_strips import LineStrips


@dataclass
class _Placed:
    """A block, how it was laid out, and the row and line it begins at, its empty row before it included.

    `strips`: its rows as drawn last on `ground`, nothing selected. A row that scrolls is not composed again.
    `stale`: other matches are to be marked in it than are, which waits until it is looked at.
    """

    block: Block
    laid: Laid
    gap: bool
    colours: Colours = field(default_factory=list)
    row: int = 0
    line: int = 0
    ground: Style | None = None
    strips: dict[int, Strip] = field(default_factory=dict)
    stale: bool = False

    def take_strips(self, other: "_Placed") -> int:
        """Keep what was drawn of `other`, a shorter state of this text, as far as it reads the same: how many rows."""
        one, two = ((at.gap, at.row, at.line, at.block.gap, at.colours) for at in (self, other))
        if one != two:
            return 0
        same = 0
        for row, before in zip(self.laid.rows, other.laid.rows, strict=False):
            if not row.is_same(before):
                break
            same += 1
        self.ground = other.ground
        self.strips = {row: strip for row, strip in other.strips.items() if row < same}
        return same + self.gap if same else 0


class TextLines(LineStrips):
    """Untrusted text without markup. `set_blocks` may keep a common beginning, which is not laid out again.

    With `cut`, no more than that many rows are shown, and in the last of them how many are left out.
    """

    DEFAULT_CSS = """
    TextLines { height: auto; width: 1fr; }
    """

    class LinkChosen(Message):
        """A link was clicked. Nothing is opened: the address came from a model."""

        def __init__(self, address: str) -> None:
            super().__init__()
            self.address = address

    class CodeChosen(Message):
        """The word that copies a block of code was clicked."""

        def __init__(self, code: str) -> None:
            super().__init__()
            self.code = code

    def __init__(self, *, classes: str | None = None) -> None:
        super().__init__(classes=classes)
        self.cut: int | None = None
        self._blocks: list[Block] = []
        self._placed: list[_Placed] = []
        self._starts: list[int] = []  # the first row of each placed block
        self._width = 0
        self._height: int | None = None  # rows as last asked for by the layout
        self._needle = ""

    # What is shown.

    def set_blocks(self, blocks: Sequence[Block], *, keep: int = 0) -> None:
        """Show the first `keep` of the blocks shown so far and then `blocks`."""
        height = self._height
        replaced = self._placed[keep] if keep < len(self._placed) else None
        del self._blocks[keep:], self._placed[keep:], self._starts[keep:]
        self._blocks.extend(blocks)
        if height is None or not self.is_laid_out:
            self.refresh(layout=True)
            return
        rows = self._shown(self._lay_out(self._width))
        first = self._starts[keep] if keep < len(self._starts) else rows
        if replaced is not None and keep < len(self._placed):
            first += self._placed[keep].take_strips(replaced)
        if self.cut is not None:
            first = min(first, self.cut - 1)  # which may say how many more there are
        if rows != height:
            self.refresh(layout=True)
        elif first < height:  # as high as before: nothing on the screen moves, and what was kept stays as it is drawn
            self.refresh(Region(0, first, self._width, height - first))

    def set_cut(self, rows: int | None) -> None:
        if rows != self.cut:
            self.cut = rows
            self.refresh(layout=True)

    def mark(self, needle: str) -> None:
        """Mark what reads like `needle`, in any case; nothing for an empty one. Rows stay where they are."""
        if needle == self._needle:
            return
        self._needle = needle
        find = finder(needle)
        for placed in self._placed:
            if placed.stale or placed.laid.hits or (find is not None and holds(placed.block, find)):
                placed.stale = True
                placed.strips.clear()
        self.refresh()

    def _marked(self, placed: _Placed) -> Laid:
        """How a block is laid out, with what is searched for marked in it."""
        if placed.stale:
            placed.laid = lay_out(placed.block, self._width, finder(self._needle))
            placed.stale = False
        return placed.laid

    @property
    def is_laid_out(self) -> bool:
        """Whether rows are where they are on the screen."""
        return 0 < self._width == self.content_size.width

    @property
    def hits(self) -> list[int]:
        """The rows in which marked text begins, one for each place, in order."""
        self._lay_out(self._width)
        return [placed.row + placed.gap + row for placed in self._placed for row in self._marked(placed).hits]

    @property
    def plain(self) -> str:
        """All of the text, its lines unbroken."""
        self._lay_out(self._width or 80)
        return "\n".join(line for placed in self._placed for line in ([""] if placed.gap else []) + placed.laid.texts)

    # Laying out.

    def get_content_width(self, container: Size, viewport: Size) -> int:
        return container.width

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        self._height = self._shown(self._lay_out(width))
        return self._height

    def _shown(self, rows: int) -> int:
        return rows if self.cut is None else min(rows, self.cut)

    def _lay_out(self, width: int) -> int:
        """Lay out what is not yet, at this width; how many rows there are."""
        if width != self._width:
            self._width = width
            self._placed.clear()
            self._starts.clear()
        find = finder(self._needle)
        for block in self._blocks[len(self._placed) :]:
            gap = bool(self._placed) and block.gap is not None
            placed = _Placed(block, lay_out(block, width, find), gap)
            if self._placed:
                last = self._placed[-1]
                placed.row = last.row + last.gap + len(last.laid.rows)
                placed.line = last.line + last.gap + len(last.laid.texts)
            if block.kind == "code":
                take = partial(self._take_colours, placed)
                placed.colours = COLOUR_PROCESS.colours(block.content.plain, block.language, take)
            self._placed.append(placed)
            self._starts.append(placed.row)
        if not self._placed:
            return 0
        last = self._placed[-1]
        return last.row + last.gap + len(last.laid.rows)

    def _take_colours(self, placed: _Placed, colours: Colours) -> None:
        placed.colours = colours
        placed.strips.clear()
        self.refresh(Region(0, placed.row + placed.gap, self._width, len(placed.laid.rows)))

    def _place(self, y: int) -> tuple[_Placed, int]:
        """The block that row `y` belongs to, and which of its rows that is: -1 for the empty one before it."""
        placed = self._placed[bisect_right(self._starts, y) - 1]
        return placed, y - placed.row - placed.gap

    def _row(self, placed: _Placed, inside: int) -> Row:
        """A row of a block, its line counted from the beginning of all the text."""
        if inside < 0:
            return Row(Content(""), placed.line, 0, placed.block.gap or NOTHING)
        row = self._marked(placed).rows[inside]
        if placed.colours:
            row = row.coloured(placed.colours[row.line])
        return replace(row, line=placed.line + placed.gap + row.line)

    # Drawing.

    def line_strip(self, y: int, width: int, base: Style) -> Strip:
        rows = self._lay_out(width)
        if y >= rows or not width:
            return super().line_strip(y, width, base)
        if self.cut is not None and rows > self.cut and y >= self.cut - 1:
            return self._strip(Row(Content.styled(f"… {rows - y:,} more lines", "$muted"), 0, 0), width, base, None)
        placed, inside = self._place(y)
        selection = self.text_selection
        if selection is not None:
            row = self._row(placed, inside)
            return self._strip(row, width, base, selection.get_span(row.line))
        if placed.ground != base:
            placed.ground = base
            placed.strips.clear()
        strip = placed.strips.get(inside)
        if strip is None:
            strip = placed.strips[inside] = self._strip(self._row(placed, inside), width, base, None)
        return strip

    def _strip(self, row: Row, width: int, base: Style, selected: tuple[int, int] | None) -> Strip:
        content = row.content
        ground = base + self.parse_style(row.fill) if row.fill else base
        segments: list[Segment] = []
        column = row.column
        for text, style in row.signs.render(base, "", self.parse_style):
            segments.append(Segment(text, style.rich_style_with_offset(column, row.line)))
            if row.signs_are_text:
                column += len(text)
        if selected is not None:
            start, end = (max(0, place - column) if place >= 0 else len(content.plain) for place in selected)
            if start < end:
                content = content.stylize(self.screen.get_visual_style("screen--selection"), start, end)
        for text, style in content.render(ground, "", self.parse_style):
            segments.append(Segment(text, style.rich_style_with_offset(column, row.line)))
            column += len(text)
        used = content.cell_length + row.signs.cell_length
        if used > width:
            return Strip(segments).crop(0, width)
        segments.append(Segment(" " * (width - used), ground.rich_style))
        return Strip(segments, width)

    def notify_style_update(self) -> None:
        super().notify_style_update()
        for placed in self._placed:  # their colours are names that another theme reads otherwise
            placed.strips.clear()

    # The mouse.

    def get_selection(self, selection: Selection) -> tuple[str, str] | None:
        return selection.extract(self.plain), "\n"

    def on_click(self, event: Click) -> None:
        address = event.style.meta.get(ADDRESS)
        if isinstance(address, str) and address:
            event.stop()
            self.post_message(self.LinkChosen(address))
        elif event.style.meta.get(COPY):
            event.stop()
            self.post_message(self.CodeChosen(self._place(event.y)[0].block.source))
