"""`qwen-tui bench`: how fast this machine runs a model, and how near that is to what its memory allows."""

import shlex
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from qwen_core.bench.synthetic_shapes import SHAPES
from qwen_core.bench.workloads import PEERS, Peer, Workload, parse_workloads
from qwen_core.checkpoint.recipe import VARIANTS, find_variant
from qwen_core.errors import QwenError
from qwen_core.settings.kinds import Number
from qwen_core.settings.ranges import PEAK_BANDWIDTH_GB_S
from qwen_tui.commands.bench_request import Workloads, check
from qwen_tui.commands.interrupt import INTERRUPTED, OK, interruptible
from qwen_tui.commands.options import (
    DTYPES,
    NumberType,
    WholeNumber,
    draft_options,
    hosts_option,
    json_option,
    model_argument,
)
from qwen_tui.commands.output import output_width, print_json
from qwen_tui.commands.progress import progress_bar

if TYPE_CHECKING:  # slow to import, and the help of the program needs none of it
    from qwen_core.protocol.events import DraftMode

MAX_REPEAT, MAX_COOLDOWN_S, MAX_LAYERS = 1000, 3600, 4096
DEFAULT_MODEL, DEFAULT_SYNTHETIC = "card,pp512,tg128", "pp512,tg128"
# The variants' table measures nine models: the size that the card scores by is enough.
DEFAULT_VARIANTS = "tg32"
LINE = "qwen_tui.line"
VARIANT_NAMES = (*(variant.name.split("-")[1].split("_")[0].lower() for variant in VARIANTS), "bf16")


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
    type=click.Choice(PEERS),
    metavar="PEER",
    help="The same checkpoint and tokens in mlx-lm, in turn, each in a fresh process; self: here without the kernels "
    "that this program has for Metal.",
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
@hosts_option
@draft_options
@click.option("--dtype", type=click.Choice(DTYPES), metavar="TYPE", help="Compute in float32, bfloat16 or float16.")
@json_option
def bench(
    model_dir: str | None,
    workload: tuple[Workload, ...] | None,
    synthetic: str | None,
    variant: str | None,
    layers: int | None,
    variants: bool,
    against: Peer | None,
    as_json: bool,
    peak_gb_s: float | None,
    draft: "DraftMode | None",
    hosts: str | None,
    **options: Any,
) -> int:
    """Measure a model, or what one would run at here.

    Greedy, without end-of-text, after a warm-up that is discarded; the median of the repeats with their range. GB/s
    are estimates: bytes that a token must read times tok/s. The share of the peak is that of the ceiling as well, the
    tok/s at which memory alone would be the limit. Ctrl+C ends it and keeps what was measured; of --layers that takes
    both times.

    Decoding is without drafts; --draft adds runs with them, in turn, on the same tokens, and what a pass of 1, 2, ...
    rows costs. With --synthetic that table is measured with a random MTP layer, and says what drafts would bring.

    With --hosts, or where the settings name hosts, several ranks and one alone are measured in turn; --hosts 1 measures
    this machine alone.
    """
    from qwen_core.bench.request import BenchRequest  # here: the program's --help needs none of it
    from qwen_core.engine.hosts import read_hosts
    from qwen_tui.settings.file import load_settings

    loaded = load_settings(overrides={"hardware.peak_bandwidth_gb_s": peak_gb_s, "hardware.hosts": hosts})
    several = not (synthetic or variants or against) and read_hosts(loaded.settings.for_load().hosts) is not None
    default = DEFAULT_VARIANTS if variants else DEFAULT_SYNTHETIC if synthetic or against or several else DEFAULT_MODEL
    request = BenchRequest(
        model_dir=model_dir,
        workloads=parse_workloads(default) if workload is None else workload,
        shape=synthetic,
        variant=None if variant == "bf16" else find_variant(variant or "nvfp4"),
        layers=layers,
        load=loaded.settings.for_load(),
        draft=draft or ("auto" if synthetic and not variants else "off"),
        **options,
    )
    check(request, variant=variant, variants=variants, against=against, several=several, given=_given())
    from qwen_tui.commands.bench_tables import against_parts, bench_parts, hosts_parts, variants_parts
    from qwen_tui.commands.report import print_report

    for problem in loaded.problems:  # among them an override of the peak that cannot be used
        click.echo(f"qwen-tui: {problem}", err=True)
    with interruptible() as interrupt:
        try:
            with progress_bar() as progress:
                if against:
                    from qwen_core.bench.against import measure_against

                    report, parts = measure_against(request, interrupt, progress, against), against_parts
                elif several:
                    from qwen_core.bench.several import measure_hosts

                    report, parts = measure_hosts(request, interrupt, progress), hosts_parts
                else:
                    from qwen_core.bench.runs import measure_model, measure_variants  # MLX behind it

                    measure, parts = (measure_variants, variants_parts) if variants else (measure_model, bench_parts)
                    report = measure(request, interrupt, progress)
        except QwenError:
            if interrupt.raised:  # while the model was loaded or made: nothing is measured yet
                click.echo("qwen-tui: interrupted", err=True)
                return INTERRUPTED
            raise
    report["command"] = click.get_current_context().meta[LINE]
    if as_json:
        print_json(report)
    else:
        print_report(parts(report, output_width()))
    return INTERRUPTED if report["interrupted"] else OK


def _given() -> set[str]:
    """The names of the options that were given and not left as they are."""
    context = click.get_current_context()
    return {name for name in context.params if context.get_parameter_source(name) is not ParameterSource.DEFAULT}
