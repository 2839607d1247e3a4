"""`qwen-tui convert`: from an unquantised checkpoint to a quantised one; and its relatives --plan, --realign, --add-mtp
and --check.

Headless, in this process, on its main thread. Data goes to stdout (the plan, the figures of a check), narration and
the progress bar to stderr.
"""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn

import click

from qwen_core.errors import printable
from qwen_core.figures import decimal_size, size_of
from qwen_tui.commands.convert_check import check, quality_options
from qwen_tui.commands.convert_fit import Fitted, Fitting, fit_lines, fitted, fitting_options, write_recipe
from qwen_tui.commands.convert_measured import Measured, Measuring, fold_lines, measured, measuring_options
from qwen_tui.commands.options import WholeNumber
from qwen_tui.commands.output import MOST_WIDTH, NO_LIMIT, output_width
from qwen_tui.commands.progress import Show, progress_bar
from qwen_tui.text.formatting import counted, seconds

if TYPE_CHECKING:
    from qwen_core.convert.plan import ConversionPlan, ConvertProgress, FloatDtype
    from qwen_core.convert.rules import Rules

MODES = ("affine", "nvfp4", "mxfp4", "mxfp8")
MTP_MODES = ("bf16", *MODES, *(f"affine{bits}" for bits in (2, 3, 4, 5, 6, 8)))
RECIPES = ("unsloth", "uniform")
FLOATS: "dict[str, FloatDtype]" = {"bfloat16": "BF16", "float16": "F16", "float32": "F32"}
_PATH = click.Path(path_type=str)


@dataclass(frozen=True)
class Wish:
    """The quantisation that the options ask for; None for one that was not given."""

    quantise: bool
    mode: str | None
    bits: int | None
    group_size: int | None
    recipe: str | None
    variant: str | None
    file: str | None

    @property
    def details(self) -> dict[str, object]:
        named = {"--q-mode": self.mode, "--q-bits": self.bits, "--q-group-size": self.group_size}
        return {name: value for name, value in (named | {"--q-recipe": self.recipe}).items() if value is not None}


_NOTHING = Wish(False, *[None] * 6)


@click.command()
@click.argument("source", metavar="SRC", type=_PATH)
@click.argument("target", metavar="[DST]", type=_PATH, required=False)
@click.option(
    "-q", "--quantize", is_flag=True, help="Quantise; without it or the options below only the layout changes."
)
@click.option("--variant", metavar="NAME", help="A published one, as UD-NVFP4_K_XL or nvfp4, mxfp4, mxfp8, q2 to q8.")
@click.option("--q-mode", type=click.Choice(MODES), metavar="MODE", help="affine, nvfp4, mxfp4 or mxfp8.")
@click.option("--q-bits", type=WholeNumber(2, 8), metavar="B", help="Base width; 4 by default, 8 for mxfp8.")
@click.option("--q-group-size", type=WholeNumber(16, 128), metavar="N", help="Of uniform affine: 32, 64 or 128.")
@click.option("--q-recipe", type=click.Choice(RECIPES), metavar="NAME", help="unsloth (default) or uniform.")
@click.option("--recipe", metavar="FILE.toml", type=_PATH, help="Rules of your own; the first that matches decides.")
@measuring_options
@fitting_options
@click.option("--mtp", type=click.Choice(("keep", "drop")), help="The MTP layer; dropped by default.")
@click.option("--vision", type=click.Choice(("keep", "drop")), help="The vision tower; kept by default.")
@click.option(
    "--dtype", type=click.Choice(tuple(FLOATS)), metavar="TYPE", help="Of what stays float; bfloat16 by default."
)
@click.option(
    "--plan",
    "plan_only",
    is_flag=True,
    help="Print every decision and its size; convert nothing. What --fit measured is kept, and --write-recipe written.",
)
@click.option("--realign", "is_realign", is_flag=True, help="Rewrite SRC, quantised or not, so that it can be mapped.")
@click.option(
    "--add-mtp", "is_add_mtp", is_flag=True, help="Add the MTP layer of SRC, or of one file of it, to the model in DST."
)
@click.option(
    "--mtp-mode",
    type=click.Choice(MTP_MODES),
    metavar="MODE",
    help="Of --add-mtp: bf16 (default), nvfp4, mxfp4, mxfp8, affine2 to affine8.",
)
@quality_options
def convert(
    source: str,
    target: str | None,
    imatrix_path: str | None,
    awq: str | None,
    search: bool,
    fit: str | None,
    bits_per_weight: float | None,
    chip: str | None,
    errors: str | None,
    write_recipe: str | None,
    mtp: str | None,
    vision: str | None,
    dtype: str | None,
    plan_only: bool,
    is_realign: bool,
    is_add_mtp: bool,
    mtp_mode: str | None,
    is_check: bool,
    text: str | None,
    tokens: int | None,
    per_tensor: bool,
    as_json: bool,
    **options: Any,
) -> int:
    """Quantise the checkpoint in SRC into the new directory DST.

    SRC is an unquantised Qwen3.5, 3.6 or 3.8 checkpoint, as Hugging Face or MLX lay it out, or owner/name of one in the
    Hugging Face cache. With --check SRC is a reference and DST what is compared with it; with --add-mtp DST is a model
    that was converted from SRC without the layer.
    """
    wish = Wish(
        *(options.pop(name) for name in ("quantize", "q_mode", "q_bits", "q_group_size", "q_recipe")),
        *(options.pop(name) for name in ("variant", "recipe")),
    )
    measuring = Measuring(imatrix_path, awq, search)
    fitting = Fitting(fit, bits_per_weight, chip, errors, write_recipe)
    ways = {"--plan": plan_only, "--realign": is_realign, "--add-mtp": is_add_mtp, "--check": is_check}
    chosen = [name for name, on in ways.items() if on]
    if len(chosen) > 1:
        raise click.UsageError(f"{chosen[0]} and {chosen[1]} cannot be used together.")
    if mtp_mode is not None and not is_add_mtp:
        raise click.UsageError("--mtp-mode belongs to --add-mtp.")
    if not is_check and (text is not None or tokens is not None or per_tensor or as_json):
        raise click.UsageError("--text, --tokens, --per-tensor and --json belong to --check.")
    is_other = bool(chosen) and not plan_only
    if is_other and (wish != _NOTHING or measuring or fitting):
        hint = ": it has --mtp-mode" if is_add_mtp else ""
        raise click.UsageError(f"{chosen[0]} takes no quantisation options{hint}.")
    if fitting and wish != _NOTHING:
        name = "--fit" if fit is not None else "--bits-per-weight"
        raise click.UsageError(f"{name} chooses the formats itself: it takes no other quantisation options.")
    # They take every tensor as it is, or know which; --check computes in --dtype, --realign changes no value.
    without_effect = {"--mtp": mtp, "--vision": vision, "--dtype": None if is_check else dtype}
    for name, value in without_effect.items():
        if is_other and value is not None:
            raise click.UsageError(f"{chosen[0]} takes no {name}.")
    if target is None and not plan_only:
        raise click.UsageError("Missing argument 'DST'.")
    from qwen_core.checkpoint.locate import resolve_model_path

    path = resolve_model_path(source)
    if is_check:
        assert target is not None
        if text is None:
            raise click.UsageError("--check needs --text FILE.")
        other = resolve_model_path(target)
        return check(path, other, text, dtype=dtype, tokens=tokens, per_tensor=per_tensor, as_json=as_json)
    if is_realign:
        assert target is not None
        return _realign(path, Path(target))
    if is_add_mtp:
        assert target is not None
        return _add_mtp(path, resolve_model_path(target), mtp_mode or "bf16")
    if not plan_only:
        from qwen_core.convert.writer import check_target

        assert target is not None
        check_target(path, Path(target))
    parts = {"keep_mtp": mtp == "keep", "keep_vision": vision != "drop", "float_dtype": FLOATS[dtype or "bfloat16"]}
    place = None if target is None else Path(target)
    return _quantise(make(path, wish, **parts), place, measuring, fitting, plan_only=plan_only)


def _quantise(
    plan: "ConversionPlan", target: Path | None, measuring: Measuring, fitting: Fitting, *, plan_only: bool
) -> int:
    """Print the plan, or carry it out; first choose its formats where they are to fit a budget."""
    importance = measuring.importance(plan)
    chosen, floats = None, plan
    if fitting:
        chosen = fitted(plan, fitting, importance, target, search=measuring.search)
        plan = chosen.plan
    if not plan_only:
        from qwen_core.convert.convert import check_conversion

        assert target is not None
        # Before the warnings: of a conversion that is refused they would only hide the reason.
        check_conversion(plan, target)
    _warn(plan)
    found = measured(plan, measuring, importance, always=chosen is not None)
    if target is not None and not plan_only:
        _convert(plan, target, found)
    else:
        _print_plan(plan, floats, chosen)
    _report(found)
    if chosen is not None:
        chosen.keep()
        write_recipe(fitting, chosen.choice)
    return 0


def _print_plan(plan: "ConversionPlan", floats: "ConversionPlan", chosen: Fitted | None) -> None:
    from qwen_tui.commands.convert_plan import plan_lines
    from qwen_tui.commands.report import print_report

    width = output_width(in_pipe=NO_LIMIT)
    print_report(plan_lines(plan, width), width)
    if chosen is not None:
        print_report(fit_lines(plan, floats, chosen, min(width, MOST_WIDTH)), min(width, MOST_WIDTH))


def make(
    path: Path, wish: Wish, *, keep_mtp: bool = False, keep_vision: bool = True, float_dtype: "FloatDtype" = "BF16"
) -> "ConversionPlan":
    """The plan for the checkpoint at `path`."""
    from qwen_core.checkpoint.directory import open_checkpoint
    from qwen_core.convert.plan import make_plan

    rules = rules_for(wish)
    return make_plan(open_checkpoint(path), rules, keep_mtp=keep_mtp, keep_vision=keep_vision, float_dtype=float_dtype)


def rules_for(wish: Wish) -> "Rules":
    """The rules that the options ask for. UsageError where two of them answer the same question."""
    from qwen_core.checkpoint.quantization import Mode
    from qwen_core.checkpoint.recipe import VARIANTS, find_variant
    from qwen_core.convert.rules import Rules, VariantRules, built_in_rules
    from qwen_core.convert.rules_file import read_rules

    whole = {"--variant": wish.variant, "--recipe": wish.file}
    given = [name for name, value in whole.items() if value is not None]
    if given and wish.details:
        given.append(next(iter(wish.details)))
    if len(given) > 1:
        raise click.UsageError(f"{given[0]} and {given[1]} cannot be used together.")
    if wish.file is not None:
        return read_rules(Path(wish.file))
    if wish.variant is not None:
        variant = find_variant(wish.variant)
        if variant is None:
            names = ", ".join(variant.name for variant in VARIANTS)
            raise click.UsageError(f"There is no variant {printable(wish.variant, 60)!r}: choose one of {names}.")
        return VariantRules(variant)
    if not wish.quantise and not wish.details:
        return Rules()
    modes: dict[str, Mode] = {"affine": "affine", "nvfp4": "nvfp4", "mxfp4": "mxfp4", "mxfp8": "mxfp8"}
    return built_in_rules(wish.recipe or "unsloth", modes[wish.mode or "affine"], wish.bits, wish.group_size)


def _convert(plan: "ConversionPlan", target: Path, found: Measured) -> None:
    from qwen_core.convert.convert import convert as run

    with ended_cleanly(), progress_bar() as show:
        shards = run(
            plan, target, folds=found.folds, measure=found.measure, progress=lambda step: show_step(step, show)
        )
    extent = _extent(len(plan.outputs), plan.nbytes, len(shards))
    scaled = f", {len(found.folds)} tensors scaled" if found.folds else ""
    click.echo(printable(f"{target}: {plan.rules.name}, {extent}{scaled}"), err=True)


def _report(found: Measured) -> None:
    """What a search has chosen."""
    if found.choices is not None:
        from qwen_tui.commands.report import print_report

        width = output_width(in_pipe=NO_LIMIT)
        is_folding = bool(found.measure and found.measure.importance)
        print_report(fold_lines(found.choices, width, is_folding=is_folding), width)


def _warn(plan: "ConversionPlan") -> None:
    for warning in plan.warnings:
        click.echo(f"warning: {warning}", err=True)


def _realign(source: Path, target: Path) -> int:
    from qwen_core.checkpoint.directory import open_checkpoint
    from qwen_core.convert.realign import realign

    checkpoint = open_checkpoint(source)
    with ended_cleanly(), progress_bar() as show:
        shards = realign(checkpoint, target, progress=lambda step: show_step(step, show))
    tensors = [tensor for shard in shards for tensor in shard.tensors]
    extent = _extent(len(tensors), sum(shard.data_bytes for shard in shards), len(shards))
    renamed = any(tensor.name not in checkpoint.tensors for tensor in tensors)
    click.echo(printable(f"{target}: {extent}{', its NVFP4 weights as MLX has them' if renamed else ''}"), err=True)
    return 0


def _add_mtp(source: Path, target: Path, mode: str) -> int:
    from qwen_core.checkpoint.directory import open_checkpoint
    from qwen_core.convert.add_mtp import add_mtp, plan_mtp
    from qwen_core.convert.rules import rules_of_format

    plan = plan_mtp(source, open_checkpoint(target), rules_of_format(mode))
    with ended_cleanly(), progress_bar() as show:
        file = add_mtp(plan, progress=lambda step: show_step(step, show))
    extent = f"{counted(len(plan.outputs), 'tensor')}, {decimal_size(plan.nbytes)}"
    click.echo(printable(f"{file}: the MTP layer, {plan.rules.name}, {extent}"), err=True)
    return 0


def _extent(tensors: int, nbytes: int, shards: int) -> str:
    return f"{counted(tensors, 'tensor')}, {decimal_size(nbytes)}, {counted(shards, 'shard')}"


def show_step(step: "ConvertProgress", show: Show) -> None:
    left = "" if step.left_s is None else f" · {seconds(step.left_s)} left"
    show(f"{size_of(step.done_bytes, step.total_bytes)}{left}", step.done_bytes, step.total_bytes)


@contextmanager
def ended_cleanly() -> Iterator[None]:
    """SIGTERM and SIGHUP end the work as Ctrl+C does, so that what is half written is removed.

    One that is ignored stays so: `nohup` and shells start programs that way, and Python leaves SIGINT alone likewise.
    """

    def interrupt(number: int, frame: FrameType | None) -> NoReturn:
        raise KeyboardInterrupt

    # None: a handler that Python did not install and could not put back.
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    ours = [number for number, handler in before.items() if handler not in (signal.SIG_IGN, None)]
    for number in ours:
        signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number in ours:
            signal.signal(number, before[number])
