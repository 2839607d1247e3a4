"""`qwen-tui inspect`: how every layer is stored and what it costs, from headers alone; the values of one tensor.

inspect_report/ makes the lines; this file only says what the words of the command line mean.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from qwen_tui.commands.inspect_report.selection import FilterError, Filters, select
from qwen_tui.commands.options import json_option, model_argument

if TYPE_CHECKING:
    from rich.text import Text

    from qwen_tui.commands.inspect_report.subject import Subject


@click.command()
@model_argument
@click.option("--layers", "by_layer", is_flag=True, help="A line for each layer.")
@click.option("--tensors", "by_tensor", is_flag=True, help="A line for each module, with all that is known of it.")
@click.option("--role", "roles", multiple=True, metavar="ROLE", help="Only this role, such as down_proj; repeatable.")
@click.option(
    "--mode", "modes", multiple=True, metavar="MODE", help="Only this mode, such as nvfp4 or bf16; repeatable."
)
@click.option("--layer", "layers", multiple=True, metavar="N", help="Only these layers: 0-3,7 or outside; repeatable.")
@click.option("--compare", metavar="DIR", help="Show what differs in another checkpoint.")
@click.option("--tensor", metavar="NAME", help="Read one tensor and show its values.")
@click.option("--reference", metavar="DIR", help="With --tensor: its error against this unquantised original.")
@json_option
def inspect(
    model_dir: str | None,
    by_layer: bool,
    by_tensor: bool,
    roles: tuple[str, ...],
    modes: tuple[str, ...],
    layers: tuple[str, ...],
    compare: str | None,
    tensor: str | None,
    reference: str | None,
    as_json: bool,
) -> None:
    """Show how every layer is quantised, and what a token reads of it.

    Reads headers only, so it works for a model that this machine could never load. Without MODEL_DIR it shows the demo
    model.
    """
    filters = Filters(roles, modes, layers)
    _check_words(filters, tables=by_layer or by_tensor, compare=compare, tensor=tensor, reference=reference)
    # Only now: the help needs neither numpy nor rich.
    from qwen_tui.commands.inspect_report.output import output_width, print_lines
    from qwen_tui.commands.inspect_report.subject import open_subject

    subject = open_subject(_directory(model_dir))
    width = output_width()
    try:
        if tensor is not None:
            print_lines(_values(subject, tensor, reference, as_json, width))
        elif compare is not None:
            print_lines(_comparison(subject, open_subject(_directory(compare)), filters, as_json, width))
        else:
            print_lines(_layout(subject, filters, by_layer, by_tensor, as_json, width))
    except FilterError as error:
        raise click.UsageError(str(error)) from None


def _check_words(
    filters: Filters, *, tables: bool, compare: str | None, tensor: str | None, reference: str | None
) -> None:
    if reference is not None and tensor is None:
        raise click.UsageError("--reference belongs to --tensor.")
    if tensor is not None and (filters or tables or compare is not None):
        raise click.UsageError("--tensor shows one tensor: it goes with --reference and --json only.")
    if compare is not None and tables:
        raise click.UsageError("--compare has tables of its own: it goes with filters and --json only.")


def _directory(model_dir: str | None) -> Path:
    from qwen_core import demo_model_path
    from qwen_core.checkpoint.locate import resolve_model_path

    return demo_model_path() if model_dir is None else resolve_model_path(model_dir)


def _layout(
    subject: "Subject", filters: Filters, by_layer: bool, by_tensor: bool, as_json: bool, width: int
) -> "Iterable[Text | str]":
    from qwen_tui.commands.inspect_report import as_json as json_report
    from qwen_tui.commands.inspect_report.listing import layer_table, tensor_table
    from qwen_tui.commands.inspect_report.summary import report, selection_lines, title

    modules = select(subject.layout, filters)
    if as_json:
        yield json_report.one_line_of_json(json_report.report_fields(subject, modules, filters))
        return
    if not by_layer and not by_tensor:
        yield from report(subject, modules, filters, width)
        return
    yield title(subject, width)
    if filters:
        yield from selection_lines(subject, modules, width)
    for wanted, table in ((by_layer, layer_table), (by_tensor, tensor_table)):
        if wanted:
            yield ""
            yield from table(subject, modules, width)


def _comparison(
    left: "Subject", right: "Subject", filters: Filters, as_json: bool, width: int
) -> "Iterable[Text | str]":
    from qwen_tui.commands.inspect_report.as_json import one_line_of_json
    from qwen_tui.commands.inspect_report.comparison import compare
    from qwen_tui.commands.inspect_report.comparison_lines import comparison_fields, comparison_lines

    found = compare(left, right, filters)
    if as_json:
        yield one_line_of_json(comparison_fields(found))
    else:
        yield from comparison_lines(found, width)


def _values(
    subject: "Subject", tensor: str, reference: str | None, as_json: bool, width: int
) -> "Iterable[Text | str]":
    from qwen_core.checkpoint.directory import open_checkpoint
    from qwen_core.tensors.error import compare_with_reference
    from qwen_core.tensors.values import read_values
    from qwen_tui.commands.inspect_report.as_json import one_line_of_json
    from qwen_tui.commands.inspect_report.value_fields import value_fields
    from qwen_tui.commands.inspect_report.values import value_lines

    values = read_values(subject.checkpoint, tensor)
    error = None
    if reference is not None:
        error = compare_with_reference(subject.checkpoint, open_checkpoint(_directory(reference)), tensor)
    if as_json:
        yield one_line_of_json(value_fields(subject, values, error))
    else:
        yield from value_lines(subject, values, error, width)
