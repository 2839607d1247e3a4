"""The bar of work that takes its time: on standard error where that is a terminal, and gone when the work is done."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Show = Callable[[str, int, int], None]
"""Takes a few words, how much is done, and of how much."""


@contextmanager
def progress_bar() -> Iterator[Show]:
    """While this is open, what is shown replaces what was."""
    if not sys.stderr.isatty():
        yield lambda words, done, total: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (BarColumn(), TimeElapsedColumn(), TextColumn("{task.description}", markup=False))
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task("", total=None)

        def show(words: str, done: int, total: int) -> None:
            bars.update(task, description=words, completed=done, total=max(total, 1))

        yield show
