"""What the options of `qwen-tui bench` ask for, checked for contradictions."""

from typing import TYPE_CHECKING, Any

import click

from qwen_core.bench.workloads import Workload, parse_workloads
from qwen_core.errors import QwenError

if TYPE_CHECKING:  # slow to import, and the help of the program needs none of it
    from qwen_core.bench.request import BenchRequest


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


def check(
    request: "BenchRequest",
    *,
    variant: str | None,
    variants: bool,
    against: str | None,
    several: bool,
    given: set[str],
) -> None:
    """UsageError where options contradict each other, or one has no effect. `several`: ranks are compared with one."""
    kinds = [workload.kind for workload in request.workloads]

    def refuse(message: str) -> None:
        raise click.UsageError(message)

    if request.model_dir is not None and request.shape is not None:
        refuse("MODEL_DIR and --synthetic cannot be used together.")
    if request.shape is None and (variant is not None or request.layers is not None):
        refuse("--variant and --layers shape the model of --synthetic: give that as well.")
    if request.layers is not None and request.layers % 4:
        refuse("--layers must be a multiple of 4: three linear layers and a full one belong together.")
    if request.float32 and against != "mlx-lm":
        refuse("--float32 belongs to --against mlx-lm.")
    if variants and variant is not None:
        refuse("--variants measures all of them: --variant cannot be used with it.")
    if variants and against:
        refuse("--variants and --against cannot be used together.")
    if variants and request.shape is None:
        for name in sorted(given & {"workload", "repeat", "cooldown", "dtype"}):
            refuse(f"--variants measures only with --synthetic: --{name} needs it.")
    if "seed" in given and request.shape is None:
        refuse("--seed is that of the weights of --synthetic: give that as well.")
    if variants and kinds != ["decode"]:
        refuse("--variants measures one decode: give one tgN.")
    if "num_draft_tokens" in given and request.draft == "off":
        refuse("--num-draft-tokens belongs to --draft auto, mtp or lookup.")
    if request.shape is not None and "card" in kinds:
        refuse("--workload card needs a tokenizer, which --synthetic does not have: give ppN and tgN.")
    if kinds == ["card"] and "depth" in given:
        refuse("--workload card is a conversation from its beginning: --depth belongs to ppN and tgN.")
    for name, asked in (("--variants", variants), ("--against", against), ("--synthetic", request.shape)):
        if asked and "hosts" in given:
            refuse(f"--hosts compares several ranks with one: {name} cannot be used with it.")
    if against is not None and request.shape is not None:
        refuse("--against needs a checkpoint on disk: --synthetic has none.")
    if against is not None or several:
        name = "--hosts" if several else "--against"
        if request.depth:
            refuse(f"{name} measures from the start of a context: leave --depth out.")
        if kinds not in (["prefill", "decode"], ["decode", "prefill"]):
            refuse(f"{name} measures one prefill and the decode after it: give one ppN and one tgN.")
    if request.draft != "off" and (variants or against or several):
        refuse("--variants, --against and --hosts measure without drafts: leave --draft out.")
