"""`qwen-tui bench`: how fast this machine runs a model, and how near that is to what its memory allows."""

import json
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from qwen_core.bench.synthetic_shapes import SHAPES
from qwen_core.bench.workloads import Workload, parse_workloads
from qwen_core.checkpoint.recipe import VARIANTS, Variant, find_variant
from qwen_core.errors import QwenError
from qwen_core.settings.kinds import Number
from qwen_core.settings.ranges import PEAK_BANDWIDTH_GB_S
from qwen_tui.commands.options import DTYPES, NumberType, WholeNumber, json_option, model_argument
from qwen_tui.commands.run import INTERRUPTED, OK, interruptible

if TYPE_CHECKING:  # slow to import, and the help of the program needs none of it
    from qwen_core.protocol.events import LoadSettings

MAX_REPEAT, MAX_COOLDOWN_S, MAX_LAYERS = 1000, 3600, 4096
DEFAULT_MODEL, DEFAULT_SYNTHETIC = "card,pp512,tg128", "pp512,tg128"
# The variants' table measures nine models: the size that the card scores by is enough.
DEFAULT_VARIANTS = "tg32"
LINE = "qwen_tui.line"
VARIANT_NAMES = (*(variant.name.split("-")[1].split("_")[0].lower() for variant in VARIANTS), "bf16")


class Workloads(click.ParamType[tuple[Workload, ...]]):
    """Comma-separated workloads: card,pp512,tg128."""

    name = "workloads"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[Workload, ...]:
        if isinstance(value, tuple):
            return value
        try:
            return parse_workloads(str(value))
        except QwenError as error:
            self.fail(str(error), param, ctx)


@dataclass(frozen=True)
class Request:
    """What the command line asks for, checked for contradictions."""

    model_dir: str | None
    workloads: tuple[Workload, ...]
    depth: int
    repeat: int
    cooldown: float
    shape: str | None
    variant: Variant | None
    layers: int | None
    float32: bool
    load: "LoadSettings"
    dtype: str | None
    seed: int


class LineKept(click.Command):
    """Remembers the command line: a report says how it came about."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.meta[LINE] = f"{ctx.command_path} {shlex.join(args)}".rstrip()
        return super().parse_args(ctx, args)


@click.command(cls=LineKept)
@model_argument
@click.option(
    "--workload",
    type=Workloads(),
    metavar="LIST",
    help="card: the model card's conversation of four turns; ppN: prefill of N tokens; tgN: decode of N tokens. "
    f"Several with commas; {DEFAULT_MODEL} where nothing is given.",
)
@click.option(
    "--depth", type=WholeNumber(0, 1 << 20), default=0, metavar="N", help="Tokens of context before ppN, tgN."
)
@click.option("--repeat", type=WholeNumber(1, MAX_REPEAT), default=3, metavar="N", help="Times each is measured; 3.")
@click.option(
    "--cooldown", type=NumberType(Number(0, MAX_COOLDOWN_S)), default=0.0, metavar="S", help="Seconds between repeats."
)
@click.option(
    "--synthetic",
    type=click.Choice(SHAPES),
    metavar="SHAPE",
    help=f"Random weights of this shape in memory, no files: {', '.join(SHAPES)}. The sizes of 9b and 4b are put "
    "together from public descriptions, tiny is made up.",
)
@click.option(
    "--variant",
    type=click.Choice(VARIANT_NAMES),
    metavar="NAME",
    help=f"Formats of --synthetic, nvfp4 where nothing is given: {', '.join(VARIANT_NAMES)}.",
)
@click.option(
    "--layers",
    type=WholeNumber(1, MAX_LAYERS),
    metavar="N",
    help="Build the first N layers of --synthetic, a multiple of 4, and extrapolate to all of them from the times of "
    "N layers and of none.",
)
@click.option(
    "--variants", is_flag=True, help="The nine published variants: bytes, ceilings; measured with --synthetic."
)
@click.option(
    "--against",
    type=click.Choice(["mlx-lm"]),
    metavar="PEER",
    help="The same checkpoint and tokens in mlx-lm, in turn, each in a fresh process.",
)
@click.option("--float32", is_flag=True, help="With --against: mlx-lm's parameters cast to float32.")
@click.option(
    "--peak",
    "peak_gb_s",
    type=NumberType(PEAK_BANDWIDTH_GB_S),
    metavar="GB/S",
    help="Peak memory bandwidth to go by.",
)
@click.option("--seed", type=WholeNumber(0, 2**32 - 1), default=0, metavar="N", help="Of the weights of --synthetic.")
@click.option("--dtype", type=click.Choice(DTYPES), metavar="TYPE", help="Compute in float32, bfloat16 or float16.")
@json_option
def bench(
    model_dir: str | None,
    workload: tuple[Workload, ...] | None,
    synthetic: str | None,
    variant: str | None,
    layers: int | None,
    variants: bool,
    against: str | None,
    as_json: bool,
    peak_gb_s: float | None,
    **options: Any,
) -> int:
    """Measure a model, or what one would run at here.

    Greedy, without end-of-text, after a warm-up that is discarded; the median of the repeats with their range. GB/s
    are estimates: bytes that a token must read times tok/s. The share of the peak is that of the ceiling as well, the
    tok/s at which memory alone would be the limit. Ctrl+C ends it and keeps what was measured; of --layers that takes
    both times.
    """
    from qwen_tui.settings.file import load_settings  # here: the program's --help needs none of it

    loaded = load_settings(overrides={"hardware.peak_bandwidth_gb_s": peak_gb_s})
    default = DEFAULT_VARIANTS if variants else DEFAULT_SYNTHETIC if synthetic or against else DEFAULT_MODEL
    request = Request(
        model_dir=model_dir,
        workloads=parse_workloads(default) if workload is None else workload,
        shape=synthetic,
        variant=None if variant == "bf16" else find_variant(variant or "nvfp4"),
        layers=layers,
        load=loaded.settings.for_load(),
        **options,
    )
    _check(request, variant=variant, variants=variants, against=against, given=_given())
    from qwen_tui.commands import bench_runs
    from qwen_tui.commands.bench_tables import console_for, print_against, print_bench, print_variants

    for problem in loaded.problems:  # among them an override of the peak that cannot be used
        click.echo(f"qwen-tui: {problem}", err=True)
    with interruptible() as interrupt:
        try:
            with _progress() as progress:
                if against:
                    report, show = bench_runs.against(request, interrupt, progress), print_against
                elif variants:
                    report, show = bench_runs.variants(request, interrupt, progress), print_variants
                else:
                    report, show = bench_runs.model(request, interrupt, progress), print_bench
        except QwenError:
            if interrupt.raised:  # while the model was loaded or made: nothing is measured yet
                click.echo("qwen-tui: interrupted", err=True)
                return INTERRUPTED
            raise
    report["command"] = click.get_current_context().meta[LINE]
    if as_json:
        click.echo(json.dumps(report, ensure_ascii=True, allow_nan=False))
    else:
        show(console_for(), report)
    return INTERRUPTED if report["interrupted"] else OK


def _given() -> set[str]:
    """The names of the options that were given and not left as they are."""
    context = click.get_current_context()
    return {name for name in context.params if context.get_parameter_source(name) is not ParameterSource.DEFAULT}


def _check(request: Request, *, variant: str | None, variants: bool, against: str | None, given: set[str]) -> None:
    """UsageError where options contradict each other, or one has no effect."""
    kinds = [workload.kind for workload in request.workloads]

    def refuse(message: str) -> None:
        raise click.UsageError(message)

    if request.model_dir is not None and request.shape is not None:
        refuse("MODEL_DIR and --synthetic exclude each other.")
    if request.shape is None and (variant is not None or request.layers is not None):
        refuse("--variant and --layers shape the model of --synthetic: give that as well.")
    if request.layers is not None and request.layers % 4:
        refuse("--layers must be a multiple of 4: three linear layers and a full one belong together.")
    if request.float32 and against is None:
        refuse("--float32 belongs to --against.")
    if variants and variant is not None:
        refuse("--variants measures all of them: --variant has no meaning there.")
    if variants and against:
        refuse("--variants and --against exclude each other.")
    if variants and request.shape is None:
        for name in sorted(given & {"workload", "repeat", "cooldown", "dtype"}):
            refuse(f"--variants measures only with --synthetic: --{name} has no meaning without it.")
    if "seed" in given and request.shape is None:
        refuse("--seed is that of the weights of --synthetic: give that as well.")
    if variants and kinds != ["decode"]:
        refuse("--variants measures one decode: give one tgN.")
    if request.shape is not None and "card" in kinds:
        refuse("--workload card needs a tokenizer, which --synthetic has not: give ppN and tgN.")
    if kinds == ["card"] and "depth" in given:
        refuse("--workload card is a conversation from its beginning: --depth belongs to ppN and tgN.")
    if against is not None:
        if request.shape is not None:
            refuse("--against needs a checkpoint on disk: --synthetic has none.")
        if request.depth:
            refuse("--against measures from the start of a context: leave --depth out.")
        if kinds not in (["prefill", "decode"], ["decode", "prefill"]):
            refuse("--against measures one prefill and the decode after it: give one ppN and one tgN.")


@contextmanager
def _progress() -> Iterator[Any]:
    """A bar on standard error where that is a terminal; it is gone when the report is printed."""
    if not sys.stderr.isatty():
        yield lambda label, done, total: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description:<28}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task("loading", total=None)

        def show(label: str, done: int, total: int) -> None:
            bars.update(task, description=label, completed=done, total=max(total, 1))

        yield show
