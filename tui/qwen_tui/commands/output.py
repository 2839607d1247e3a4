"""What leaves the program on standard output: lines for whoever reads them, a terminal or a pipe."""

import os
import shutil
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from qwen_core.errors import QwenError
from qwen_core.files import json_text

PIPE_WIDTH = 80
NO_LIMIT = 10_000  # for a pipe whose lines are not to be broken
LEAST_WIDTH, MOST_WIDTH = 20, 160


def output_width(in_pipe: int = PIPE_WIDTH) -> int:
    """Cells of a line on standard output: of a terminal its own width, within reason."""
    if not sys.stdout.isatty():
        return in_pipe
    return min(max(shutil.get_terminal_size().columns, LEAST_WIDTH), MOST_WIDTH)


def fields_of(value: object, *names: str) -> dict[str, Any]:
    """The attributes that are fields of JSON under their own names."""
    return {name: getattr(value, name) for name in names}


def json_line(fields: Any) -> str:
    """Strict JSON in printable ASCII on one line: no terminal acts on a name that a file brought."""
    return json_text(fields, ascii_only=True)


def print_json(fields: Any) -> None:
    """The one line of --json."""
    print_lines([json_line(fields)])


def print_lines(lines: Iterable[str]) -> None:
    """Write lines to standard output. Whoever reads a pipe may have enough of it at any line."""
    with suppress(BrokenPipeError), writing():
        for line in lines:
            sys.stdout.write(f"{line}\n")
        sys.stdout.flush()


@contextmanager
def writing() -> Iterator[None]:
    """For what is written to standard output: a full disk is one line, a pipe that nobody reads BrokenPipeError."""
    try:
        yield
    except OSError as error:
        write_no_more()
        if isinstance(error, BrokenPipeError):
            raise
        raise QwenError(f"standard output cannot be written: {error.strerror or error}") from None


def write_no_more() -> None:
    """What is still buffered must not be flushed at exit, which would fail again."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
