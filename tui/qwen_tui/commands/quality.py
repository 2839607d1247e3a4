"""`qwen-tui convert --check`: how far a model's predictions are from those of its reference, as a table or JSON."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from qwen_tui.commands.options import WholeNumber

Function = TypeVar("Function", bound=Callable[..., Any])


def quality_options(function: Function) -> Function:
    """The options of --check."""
    options = [
        click.option(
            "--check", "is_check", is_flag=True, help="Compare DST's predictions with those of SRC on --text."
        ),
        click.option("--text", metavar="FILE", help="The text to predict, UTF-8."),
        click.option(
            "--tokens", type=WholeNumber(2), default=2048, metavar="N", help="Of it at most; 2048 by default."
        ),
        click.option("--per-tensor", is_flag=True, help="Also the harm of each role, quantised alone as in DST."),
        click.option("--json", "as_json", is_flag=True, help="Print the figures as one JSON object on one line."),
    ]
    for option in reversed(options):
        function = option(function)
    return function


def check(
    reference: Path,
    model: Path,
    *,
    dtype: str | None,
    is_check: bool,
    text: str | None,
    tokens: int,
    per_tensor: bool,
    as_json: bool,
) -> int:
    raise click.UsageError("--check is not there yet.")
