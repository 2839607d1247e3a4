"""Where lines go: a terminal gets colours and its own width, a pipe gets plain text at 80 columns."""

import io
import os
import shutil
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING

from qwen_core.errors import QwenError

if TYPE_CHECKING:
    from rich.text import Text

PIPE_WIDTH = 80
LEAST_WIDTH, MOST_WIDTH = 20, 160


def output_width() -> int:
    """Cells of a line on standard output."""
    if not sys.stdout.isatty():
        return PIPE_WIDTH
    return min(max(shutil.get_terminal_size().columns, LEAST_WIDTH), MOST_WIDTH)


def print_lines(lines: "Iterable[Text | str]") -> None:
    """Write lines to standard output. Whoever reads a pipe may have enough of it at any line."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal without bars and dashes gets question marks
    try:
        if sys.stdout.isatty():
            _print_styled(lines)
        else:
            for line in lines:
                sys.stdout.write(f"{line if isinstance(line, str) else line.plain}\n")
        sys.stdout.flush()
    except BrokenPipeError:
        _send_nothing_more()
    except OSError as error:
        _send_nothing_more()
        raise QwenError(f"standard output cannot be written: {error.strerror or error}") from None


def _send_nothing_more() -> None:
    """What is still buffered must not be flushed at exit, which would fail again."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _print_styled(lines: "Iterable[Text | str]") -> None:
    from rich.console import Console

    console = Console(markup=False, highlight=False, emoji=False, soft_wrap=True)
    for line in lines:
        console.print(line)
