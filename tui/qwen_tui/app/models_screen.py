"""Opening another model: the recent ones with size, variant and whether they fit, or any directory that is typed."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from textual.content import Content

from qwen_core.demo import demo_model_path
from qwen_core.errors import QwenError, quote
from qwen_core.figures import decimal_size
from qwen_tui.app.context import AppContext
from qwen_tui.app.model_lines import ModelLine, fit, read_model
from qwen_tui.text import formatting
from qwen_tui.text.safe import cells, one_line
from qwen_tui.widgets.cursor_list import MARK, Heading, selected
from qwen_tui.widgets.picker import Picker, PickList, holds

Read = Callable[[str, str], ModelLine]


@dataclass(frozen=True)
class TypedPath:
    """What was typed, as a directory to open."""

    path: str


Row = ModelLine | TypedPath


class ModelList(PickList[Row]):
    """Two lines for one model: what it is called, and what is known of it."""

    def __init__(self, present: str, recommended: int | None, memory: int) -> None:
        """`present`: the directory that is open; the rest: see `fit`."""
        super().__init__()
        self.present = present
        self._memory = (recommended, memory)

    def height_of(self, row: Row | Heading) -> int:
        return 2

    def row_line(self, number: int, part: int, width: int, *, cursor: bool) -> Content:
        row = self._rows[number]
        assert not isinstance(row, Heading)
        line = self._name_line(row, cursor) if part == 0 else self._facts_line(row, width - 3)
        line = line.truncate(width, ellipsis=True)
        return selected(line, width) if cursor else line

    def _name_line(self, row: Row, cursor: bool) -> Content:
        name = f"Open {one_line(row.path, 80)}" if isinstance(row, TypedPath) else one_line(row.name, 80)
        mark = "  open now" if row.path == self.present else ""
        return Content.assemble(f"{MARK if cursor else ' '} ", (name, "bold $foreground"), (mark, "$success"))

    def _facts_line(self, row: Row, width: int) -> Content:
        if isinstance(row, TypedPath):
            pieces = ["a directory, or owner/name from the cache"]
        elif row.problem:
            told = one_line(row.problem, 200)  # it names the path; its end says what is wrong
            return Content.assemble("  ", (told if cells(told) <= width else _without(row), "$error"))
        elif not row.variant:
            pieces = ["reading its headers …"]
        else:
            size = decimal_size(row.weight_bytes)
            pieces = [row.variant, size, fit(row.weight_bytes, *self._memory)]
        text = formatting.fit([piece for piece in pieces if piece], width)
        where = "" if isinstance(row, TypedPath) else path_shown(row.path, width - cells(text) - 3)
        return Content.styled(f"  {text}{f' · {where}' if where else ''}", "$muted")


def _without(row: ModelLine) -> str:
    return one_line(row.problem.replace(quote(row.path), "", 1), 200)


def path_shown(path: str, width: int) -> str:
    """The last folders of a path that fit into `width` cells, the home as ~; "" where not even the last one does."""
    home = str(Path.home())
    path = one_line(f"~{path.removeprefix(home)}" if path.startswith(f"{home}/") else path, 400)
    if cells(path) <= width:
        return path
    ends = (f"…{path[place:]}" for place, sign in enumerate(path) if sign == "/" and place)
    return next((end for end in ends if cells(end) <= width), "")


class ModelsScreen(Picker[Row, str]):
    """Dismissed with the directory to open, or None."""

    def __init__(
        self,
        models: Sequence[tuple[str, str]],
        present: str,
        recommended: int | None,
        memory: int,
        read: Read = read_model,
    ) -> None:
        """`models`: (directory, name) of each; `present`: the directory that is open; the rest: see `fit`."""
        super().__init__(
            ModelList(present, recommended, memory),
            "Open a model · sizes on disk",  # the header says what is in memory
            "Enter opens · Esc leaves",
            "type to search, or any directory, or owner/name",
        )
        self.lines = [ModelLine(path, name) for path, name in models]
        self._present = present
        self._read = read

    def found(self, text: str) -> list[Row]:
        typed = text.strip()
        rows: list[Row] = [line for line in self.lines if holds(typed, line.name, line.variant, line.path)]
        if typed and not any(line.path == typed for line in self.lines):
            rows.insert(0 if typed[0] in "/~." else len(rows), TypedPath(typed))
        return rows

    def first(self, rows: Sequence[Row | Heading]) -> int:
        """On the one that is open."""
        return next((n for n, row in enumerate(rows) if isinstance(row, ModelLine) and row.path == self._present), 0)

    def result_of(self, row: Row) -> str | None:
        return None if isinstance(row, ModelLine) and row.problem else row.path

    def on_mount(self) -> None:
        self.run_worker(self._read_all())

    async def _read_all(self) -> None:
        for place, line in enumerate(self.lines):
            self.lines[place] = await asyncio.to_thread(self._read, line.path, line.name)
            self.fill()


async def models_screen(context: AppContext) -> ModelsScreen:
    """The bundled model, and those that were open lately."""
    recent = []
    with suppress(QwenError):
        recent = await context.store.use(lambda store: store.models.recent())
    listed = {str(demo_model_path()): "demo model", **{model.path: model.name for model in recent}}
    model = context.conversation.model
    memory = (model.recommended_bytes, model.memory_bytes) if model is not None else (None, 0)
    return ModelsScreen(list(listed.items()), context.load.path, *memory)
