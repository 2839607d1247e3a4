"""The options that commands share. A value out of its range is a usage error, before anything loads.

Defaults are not here: an option that is not given stays None and leaves the value to the environment, to config.toml,
to the model's generation_config.json, and then to what its authors recommend.
"""

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click

from qwen_core.errors import QwenError
from qwen_core.settings.kinds import Number, refused
from qwen_core.settings.ranges import MAX_TOKENS, NUM_DRAFT_TOKENS, SAMPLING

Function = TypeVar("Function", bound=Callable[..., Any])
# Those of events.py, which is slow to import.
EFFORTS = ("none", "low", "medium", "high", "xhigh")
DRAFT_MODES = ("auto", "off", "mtp", "lookup")
DTYPES = ("float32", "bfloat16", "float16")


class NumberType(click.ParamType[Any]):
    """A number in one of the core's ranges, refused in the core's words."""

    def __init__(self, kind: Number) -> None:
        self.kind = kind
        self.name = "whole number" if kind.whole else "number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        try:
            return self.kind.read(str(value))
        except ValueError:
            self.fail(f"{refused(value, self.kind)}.", param, ctx)


class WholeNumber(NumberType):
    """A whole number from `low` to `high`."""

    def __init__(self, low: int, high: float = math.inf) -> None:
        super().__init__(Number(low, high, whole=True))


class EffortLevel(click.Choice[str]):
    """Completed as the levels that there are; for what is none of them `check_effort` has better words."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        return str(value)


class TokenIds(click.ParamType[tuple[int, ...]]):
    """Comma-separated token ids: 1,2,3."""

    name = "ids"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        if isinstance(value, tuple):
            return value
        words = [word.strip() for word in str(value).split(",")]
        if not all(word.isascii() and word.isdigit() and len(word) <= 9 for word in words):
            self.fail(f"{str(value)[:60]!r} is not a list of token ids such as 1,2,3.", param, ctx)
        return tuple(int(word) for word in words)


class HostsType(click.ParamType[str]):
    """A number of ranks or a host file, which is read here: what is wrong with it is said before anything loads."""

    name = "hosts"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        from qwen_core.engine.hosts import read_hosts  # here: the program's --help needs none of it

        text = str(value).strip()
        if not text:
            self.fail("Give a number of ranks or a host file.", param, ctx)
        try:
            read_hosts(text)
        except QwenError as error:
            if not text.isdigit():  # what is wrong with a file is no wrong use
                raise
            self.fail(f"{error}.", param, ctx)
        return text if text.isdigit() else str(Path(text).expanduser().absolute())


def model_argument(function: Function) -> Function:
    """MODEL_DIR, which may be left out for the bundled demo model."""
    kind = click.Path(file_okay=False, path_type=str)
    return click.argument("model_dir", metavar="[MODEL_DIR]", required=False, type=kind)(function)


def json_option(function: Function) -> Function:
    """--json, spelled and explained the same everywhere."""
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON object on one line.")(function)


def draft_options(function: Function) -> Function:
    """--draft and --num-draft-tokens."""
    kind = click.option(
        "--draft", type=click.Choice(DRAFT_MODES), metavar="KIND", help="Drafts tokens ahead: auto, off, mtp, lookup."
    )
    count = NumberType(NUM_DRAFT_TOKENS)
    return kind(click.option("--num-draft-tokens", type=count, metavar="N", help="Drafts of one pass.")(function))


def hosts_option(function: Function) -> Function:
    """--hosts."""
    return click.option(
        "--hosts",
        type=HostsType(),
        metavar="N|FILE",
        help="Share the model: N ranks on this machine, or the hosts of a file of mlx.launch.",
    )(function)


_SAMPLING = (
    ("temperature", "T", "0 always takes the likeliest token."),
    ("top_p", "P", "Sample from this share of the mass."),
    ("top_k", "K", "Sample from the K likeliest; 0: all."),
    ("min_p", "P", "Drop tokens below P times the likeliest."),
    ("presence_penalty", "X", "Against tokens already answered."),
    ("frequency_penalty", "X", "The same, per occurrence."),
    ("repetition_penalty", "X", "Divides the logits of seen tokens."),
    ("seed", "N", "Makes sampling repeatable."),
)


def generation_options(function: Function) -> Function:
    """Everything that shapes an answer. The command takes them as keywords: see `overrides_from`."""
    options = [
        click.option("--system", metavar="TEXT", help="System prompt."),
        click.option("--max-tokens", type=NumberType(MAX_TOKENS), metavar="N", help="Most new tokens of one answer."),
        *(
            click.option(f"--{name.replace('_', '-')}", type=NumberType(SAMPLING[name]), metavar=metavar, help=help)
            for name, metavar, help in _SAMPLING
        ),
        click.option(
            "--effort",
            type=EffortLevel(EFFORTS),
            metavar="LEVEL",
            help="Reasoning effort, of those that the model's template has: none, low, medium, high or xhigh.",
        ),
        draft_options,
        click.option(
            "--dtype", type=click.Choice(DTYPES), metavar="TYPE", help="Compute in float32, bfloat16 or float16."
        ),
    ]
    for option in reversed(options):
        function = option(function)
    return function


def overrides_from(options: Mapping[str, Any]) -> dict[str, Any]:
    """The settings among a command's options, `generation_options` and --hosts, by the keys of the settings tree.

    None, for an option that was not given, leaves the setting to the environment and the file.
    """
    given = ("system", "max_tokens", *SAMPLING, "effort", "draft", "num_draft_tokens")
    return {f"generation.{name}": options.get(name) for name in given} | {"hardware.hosts": options.get("hosts")}
