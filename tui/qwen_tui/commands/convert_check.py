"""`qwen-tui convert --check`: how far a model's predictions are from those of its reference, as a table or JSON."""

from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from qwen_core.errors import printable
from qwen_core.figures import decimal_size, percent
from qwen_tui.commands.options import WholeNumber
from qwen_tui.commands.output import NO_LIMIT, output_width, print_json

if TYPE_CHECKING:
    from rich.table import Table

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
        print_json(report)
        return 0
    from qwen_tui.commands.report import facts, print_report

    width = output_width(in_pipe=NO_LIMIT)
    print_report([facts(summary(whole, sizes), width), *(["", role_table(roles, width)] if roles else [])], width)
    return 0


def summary(found: "Quality", sizes: list[int]) -> Iterator[tuple[str, str]]:
    yield "positions", f"{found.positions:,}"
    yield "weights", f"{decimal_size(sizes[1])} against {decimal_size(sizes[0])}"
    yield "perplexity", f"{found.perplexity:.4f} against {found.reference_perplexity:.4f}"
    yield "KL mean", f"{found.kl_mean:.6f} nats"
    yield "KL 99.9 percentile", f"{found.kl_p999:.6f} nats"
    yield "same likeliest", percent(found.top1)


def role_table(roles: "list[RoleQuality]", width: int) -> "Table":
    """What quantising one role alone does, the most harmful first."""
    from qwen_tui.commands.report import figures, folding, table, words

    rows = []
    for entry in roles:
        found = entry.quality
        harm = (f"{found.kl_mean:.6f}", f"{found.kl_p999:.6f}", percent(found.top1))
        rows.append([entry.role, str(entry.modules), *harm, ", ".join(entry.formats)])
    columns = map(figures, ("modules", "KL mean", "KL 99.9 %", "same likeliest"))
    return table((words("quantised alone"), *columns, folding("format")), rows, width)
