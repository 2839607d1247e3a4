"""`qwen-tui convert --imatrix-path, --awq, --search`: what is folded in, by which measure weights are rounded, and the
report of it."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from qwen_tui.commands.progress import progress_bar
from qwen_tui.text.formatting import counted

if TYPE_CHECKING:
    from rich.console import RenderableType

    from qwen_core.convert.awq import Fold, Vector
    from qwen_core.convert.fold_search import FoldChoice
    from qwen_core.convert.measure import Measure
    from qwen_core.convert.plan import ConversionPlan

Function = TypeVar("Function", bound=Callable[..., Any])
WAYS = ("search", "fixed")


@dataclass(frozen=True)
class Measuring:
    """What the options ask for."""

    imatrix_path: str | None = None
    awq: str | None = None
    search: bool = False

    def __post_init__(self) -> None:
        if self.awq is not None and self.imatrix_path is None:
            raise click.UsageError("--awq says how --imatrix-path is folded in: give both.")

    def __bool__(self) -> bool:
        return self.imatrix_path is not None or self.search

    def importance(self, plan: "ConversionPlan") -> "dict[str, Vector]":
        """What the importance matrix says, checked against the model; {} without one."""
        if self.imatrix_path is None:
            return {}
        from qwen_core.convert.imatrix import has_mtp, read_imatrix

        return read_imatrix(Path(self.imatrix_path), plan.checkpoint.config, mtp=has_mtp(plan.checkpoint))


@dataclass(frozen=True)
class Measured:
    """Factors to fold in, what was chosen where it was searched, and what measures while the result is written."""

    folds: "dict[str, Fold]"
    choices: "tuple[FoldChoice, ...] | None"
    measure: "Measure | None"


def measuring_options(function: Function) -> Function:
    """The options that let what is measured decide."""
    options = [
        click.option(
            "--imatrix-path", metavar="FILE", type=click.Path(path_type=str),
            help="An importance matrix of llama.cpp (.gguf or .dat), folded in where that lessens the error (AWQ).",
        ),
        click.option(
            "--awq", type=click.Choice(WAYS),
            help="How much of it: by search (default), or fixed as the published recipe's tool does.",
        ),
        click.option(
            "--search", is_flag=True, help="Also choose ranges and scales by the error they leave; slower."
        ),
    ]  # fmt: skip
    for option in reversed(options):
        function = option(function)
    return function


def measured(
    plan: "ConversionPlan", wish: Measuring, importance: "dict[str, Vector]", *, always: bool = False
) -> Measured:
    """Everything that is decided before a byte is written. `always`: errors are measured though nothing goes by them.
    With `--awq fixed` and nothing quantised all of the matrix is folded in, for a model to quantise later."""
    if not importance and not wish.search and not always:
        return Measured({}, None, None)
    from qwen_core.convert.fold_search import quantised_groups, search_folds
    from qwen_core.convert.measure import Measure

    measure = Measure(importance, search=wish.search) if plan.specs else None
    # Formats or scales have gone by the matrix: it had an effect though nothing can be folded in.
    if (always or (wish.search and plan.specs)) and not quantised_groups(plan):
        return Measured({}, () if importance else None, measure)
    if not importance and not (wish.search and any(spec.mode == "nvfp4" for spec in plan.specs.values())):
        return Measured({}, None, measure)
    if wish.awq == "fixed":
        from qwen_core.convert.awq import folds

        return Measured(folds(plan.checkpoint.config, importance, set(plan.specs) or None), None, measure)
    from qwen_tui.commands.convert import ended_cleanly, show_step

    with ended_cleanly(), progress_bar() as show:
        found, choices = search_folds(plan, importance, gains=wish.search, progress=lambda step: show_step(step, show))
    return Measured(found, choices or None, measure)


def fold_lines(choices: "Iterable[FoldChoice]", width: int, *, is_folding: bool = True) -> "Iterator[RenderableType]":
    """A line for each group of weights with one input: its exponent, what all its channels are multiplied by, and its
    error without and with both. `is_folding`: there is an importance matrix."""
    from qwen_tui.commands.report import figures, folding, table, words

    choices = list(choices)
    if not choices:
        yield "nothing is folded in: no weight that the importance matrix could scale is quantised"
        return
    columns = folding("scaled in", 20), words("exponent"), words("gain"), figures("error before"), figures("after")
    rows = [
        (
            choice.group.producer,
            f"{choice.exponent:.3f}" if choice.exponent else "none",
            f"{choice.gain:g}" if choice.gain != 1 else "",
            f"{choice.before:.5f}",
            "same" if choice.after == choice.before else f"{choice.after:.5f}",
        )
        for choice in choices
    ]
    yield table(columns, rows, width)
    yield ""
    if is_folding:
        yield fold_summary(choices)


def fold_summary(choices: "Iterable[FoldChoice]") -> str:
    """What the search came to, in a sentence."""
    choices = list(choices)
    folded = [choice for choice in choices if choice.exponent]
    if not folded:
        return (
            f"the importance matrix helps nothing: in none of {counted(len(choices), 'group')} is the squared error "
            "a tenth smaller with it folded in, so nothing is"
        )
    least, most = min(choice.exponent for choice in folded), max(choice.exponent for choice in folded)
    gain = sum(1 - (choice.after / choice.before) ** 2 for choice in folded) / len(folded)
    return (
        f"the importance matrix is folded into {len(folded)} of {counted(len(choices), 'group')}, with exponents from "
        f"{least:.2f} to {most:.2f}: there the squared error is {gain:.0%} smaller on average"
    )
