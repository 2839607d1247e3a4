"""`qwen-tui inspect`: how every layer is stored and what it costs, from headers alone; the values of one tensor.

inspect_report/ makes the lines; this file only says what the words of the command line mean.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from qwen_tui.commands.inspect_report.selection import FilterError, Filters, select
from qwen_tui.commands.options import json_option, model_argument

if TYPE_CHECKING:
    from rich.console import RenderableType

    from qwen_tui.commands.inspect_report.subject import Subject

    Found = dict[str, Any] | Iterable[RenderableType]
    """What --json prints, or what people read."""


@click.command()
@model_argument
@click.option("--layers", "by_layer", is_flag=True, help="A line for each layer.")
@click.option("--tensors", "by_tensor", is_flag=True, help="A line for each module, with all that is known of it.")
@click.option("--role", "roles", multiple=True, metavar="ROLE", help="Only this role, such as down_proj; repeatable.")
@click.option(
    "--mode", "modes", multiple=True, metavar="MODE", help="Only this mode, such as nvfp4 or bf16; repeatable."
)
@click.option("--layer", "layers", multiple=True, metavar="N", help="Only these layers: 0-3,7 or outside; repeatable.")
@click.option("--errors", is_flag=True, help="What quantisation cost each weight, the worst first.")
@click.option("--compare", metavar="DIR", help="Show what differs in another checkpoint.")
@click.option("--tensor", metavar="NAME", help="Read one tensor and show its values.")
@click.option(
    "--expert", type=click.IntRange(min=0), metavar="N", help="With --tensor: one expert of a stack of them, from 0."
)
@click.option("--reference", metavar="DIR", help="The unquantised original that --tensor and --errors compare with.")
@json_option
def inspect(
    model_dir: str | None,
    by_layer: bool,
    by_tensor: bool,
    roles: tuple[str, ...],
    modes: tuple[str, ...],
    layers: tuple[str, ...],
    errors: bool,
    compare: str | None,
    tensor: str | None,
    expert: int | None,
    reference: str | None,
    as_json: bool,
) -> None:
    """Show how every layer is quantised, and what a token reads of it.

    Reads headers only, so it works for a model that this machine could never load. Without MODEL_DIR it shows the demo
    model.
    """
    filters = Filters(roles, modes, layers)
    if expert is not None and tensor is None:
        raise click.UsageError("--expert belongs to --tensor.")
    _check_words(
        filters, tables=by_layer or by_tensor, errors=errors, compare=compare, tensor=tensor, reference=reference
    )
    # Only now: the help needs neither numpy nor rich.
    from qwen_tui.commands.inspect_report.subject import open_subject
    from qwen_tui.commands.output import output_width, print_json
    from qwen_tui.commands.report import print_report

    subject = open_subject(_directory(model_dir))
    width = output_width()
    try:
        if tensor is not None:
            found = _values(subject, tensor, expert, reference, as_json, width)
        elif errors:
            found = _errors(subject, filters, reference, as_json, width)
        elif compare is not None:
            found = _comparison(subject, open_subject(_directory(compare)), filters, as_json, width)
        else:
            found = _layout(subject, filters, by_layer, by_tensor, as_json, width)
    except FilterError as error:
        raise click.UsageError(str(error)) from None
    print_json(found) if isinstance(found, dict) else print_report(found)


def _check_words(
    filters: Filters, *, tables: bool, errors: bool, compare: str | None, tensor: str | None, reference: str | None
) -> None:
    if reference is not None and tensor is None and not errors:
        raise click.UsageError("--reference belongs to --tensor and --errors.")
    if errors and (tables or tensor is not None or compare is not None):
        raise click.UsageError("--errors has a table of its own: it goes with filters, --reference and --json only.")
    if tensor is not None and (filters or tables or compare is not None):
        raise click.UsageError("--tensor shows one tensor: it goes with --expert, --reference and --json only.")
    if compare is not None and tables:
        raise click.UsageError("--compare has tables of its own: it goes with filters and --json only.")


def _directory(model_dir: str | None) -> Path:
    from qwen_core import demo_model_path
    from qwen_core.checkpoint.locate import resolve_model_path

    return demo_model_path() if model_dir is None else resolve_model_path(model_dir)


def _layout(
    subject: "Subject", filters: Filters, by_layer: bool, by_tensor: bool, as_json: bool, width: int
) -> "Found":
    from qwen_tui.commands.inspect_report.as_json import report_fields
    from qwen_tui.commands.inspect_report.listing import layer_table, tensor_table
    from qwen_tui.commands.inspect_report.summary import report, selection, title

    modules = select(subject.layout, filters)
    if as_json:
        return report_fields(subject, modules, filters)
    if not by_layer and not by_tensor:
        return report(subject, modules, filters, width)
    parts = [title(subject), *([selection(subject, modules)] if filters else [])]
    listed = modules if filters else subject.layout.everything
    for wanted, table in ((by_layer, layer_table), (by_tensor, tensor_table)):
        if wanted:
            parts += ["", *table(subject, listed, width)]
    return parts


def _errors(subject: "Subject", filters: Filters, reference: str | None, as_json: bool, width: int) -> "Found":
    from qwen_tui.commands.inspect_report.errors import error_fields, error_lines, find_errors

    modules = select(subject.layout, filters) if filters else subject.layout.modules
    found = find_errors(subject, None if reference is None else _directory(reference))
    return error_fields(modules, found) if as_json else error_lines(modules, found, width)


def _comparison(left: "Subject", right: "Subject", filters: Filters, as_json: bool, width: int) -> "Found":
    from qwen_tui.commands.inspect_report.comparison import compare
    from qwen_tui.commands.inspect_report.comparison_lines import comparison_fields, comparison_lines

    found = compare(left, right, filters)
    return comparison_fields(found) if as_json else comparison_lines(found, width)


def _values(
    subject: "Subject", tensor: str, expert: int | None, reference: str | None, as_json: bool, width: int
) -> "Found":
    from qwen_core.checkpoint.directory import open_checkpoint
    from qwen_core.tensors.error import compare_with_reference
    from qwen_core.tensors.values import read_values
    from qwen_tui.commands.inspect_report.value_fields import value_fields
    from qwen_tui.commands.inspect_report.values import value_lines

    values = read_values(subject.checkpoint, tensor, expert=expert)
    error = None
    if reference is not None:
        original = open_checkpoint(_directory(reference))
        error = compare_with_reference(subject.checkpoint, original, tensor, expert=expert)
    return value_fields(subject, values, error) if as_json else value_lines(subject, values, error, width)
