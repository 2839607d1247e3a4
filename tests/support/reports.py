"""A report of the command line as a pipe gets it."""

import io
from collections.abc import Iterable

from rich.console import Console, RenderableType

from qwen_tui.commands.report import rendered


def report_text(parts: Iterable[RenderableType], width: int = 80) -> str:
    """Its lines at `width` columns."""
    console = Console(file=io.StringIO(), width=width, color_system=None, markup=False, highlight=False, emoji=False)
    return "\n".join(rendered(console, parts))
