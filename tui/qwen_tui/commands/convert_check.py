"""`qwen-tui convert --check`: how far a model's predictions are from those of its reference, as a table or JSON."""

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from qwen_core.errors import printable
from qwen_tui.commands.options import WholeNumber
from qwen_tui.text.formatting import size

if TYPE_CHECKING:
    from qwen_core.convert.quality import Quality, RoleQuality

Function = TypeVar("Function", bound=Callable[..., Any])


def quality_options(function: Function) -> Function:
    """The options of --check."""
    options = [
        click.option("--check", "is_check", is_flag=True, help="Compare DST's predictions of --text with SRC's."),
        click.option("--text", metavar="FILE", help="The text to predict, UTF-8."),
        click.option("--tokens", type=WholeNumber(2), metavar="N", help="So many of its tokens; 2048 by default."),
        click.option("--per-tensor", is_flag=True, help="Also the harm of each role, quantised alone as in DST."),
        click.option("--json", "as_json", is_flag=True, help="Print the figures as one JSON object on one line."),
    ]
    for option in reversed(options):
        function = option(function)
    return function


def check(
    reference: Path,
    model: Path,
    text: str,
    *,
    dtype: str | None,
    tokens: int | None,
    per_tensor: bool,
    as_json: bool,
) -> int:
    """Measure and print."""
    from qwen_core.checkpoint.directory import open_checkpoint
    from qwen_core.convert.quality import compare, compare_roles, read_ids

    def say(line: str) -> None:
        click.echo(printable(line), err=True)

    ids = read_ids(Path(text), open_checkpoint(reference), tokens or 2048)
    roles: list[RoleQuality] = []
    if per_tensor:
        whole, roles = compare_roles(reference, model, ids, dtype=dtype, say=say)
    else:
        whole = compare(reference, model, ids, dtype=dtype, say=say)
    sizes = [open_checkpoint(path).text_bytes for path in (reference, model)]
    if as_json:
        report = asdict(whole) | {"reference_bytes": sizes[0], "bytes": sizes[1]}
        if per_tensor:
            report["roles"] = [{**asdict(entry), "quality": asdict(entry.quality)} for entry in roles]
        click.echo(json.dumps(report, allow_nan=False))
        return 0
    for line in (*summary(whole, sizes), *(role_lines(roles) if roles else ())):
        click.echo(printable(line))
    return 0


def summary(found: "Quality", sizes: list[int]) -> Iterator[str]:
    yield f"positions           {found.positions:,}"
    yield f"weights             {size(sizes[1])} against {size(sizes[0])}"
    yield f"perplexity          {found.perplexity:.4f} against {found.reference_perplexity:.4f}"
    yield f"KL mean             {found.kl_mean:.6f} nats"
    yield f"KL 99.9 percentile  {found.kl_p999:.6f} nats"
    yield f"same likeliest      {found.top1:.2%}"


def role_lines(roles: "list[RoleQuality]") -> Iterator[str]:
    """What quantising one role alone does, the most harmful first."""
    rows = [("quantised alone", "modules", "KL mean", "KL 99.9 %", "same likeliest", "format")]
    for entry in roles:
        found = entry.quality
        figures = (f"{found.kl_mean:.6f}", f"{found.kl_p999:.6f}", f"{found.top1:.2%}")
        rows.append((entry.role, str(entry.modules), *figures, ", ".join(entry.formats)))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    yield ""
    for row in rows:
        cells = enumerate(zip(row, widths, strict=True))
        yield "  ".join(cell.rjust(width) if 0 < i < 5 else cell.ljust(width) for i, (cell, width) in cells).rstrip()
