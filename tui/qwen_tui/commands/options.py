"""The options that commands share, with their ranges. A value out of range is a usage error, before anything loads.

Defaults are not here: an option that is not given stays None and leaves the value to the environment, to config.toml,
to the model's generation_config.json, and then to what its authors recommend.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import click

Function = TypeVar("Function", bound=Callable[..., Any])
EFFORTS = ("none", "low", "medium", "high")  # those of events.py, which is slow to import
DTYPES = ("float32", "bfloat16", "float16")
MAX_SEED = 2**64 - 1


class Number(click.ParamType[float]):
    """A finite number from `low` to `high`; with `above`, `low` itself is out of range."""

    name = "number"

    def __init__(self, low: float, high: float | None = None, *, above: bool = False) -> None:
        self.low, self.high, self.above = low, high, above

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        try:
            number = float(value)
        except ValueError:
            self.fail(f"{value!r} is not a number.", param, ctx)
        if (
            not math.isfinite(number)
            or number < self.low
            or (self.above and number == self.low)
            or (self.high is not None and number > self.high)
        ):
            lower = f"above {self.low:g}" if self.above else f"at least {self.low:g}"
            upper = "" if self.high is None else f" and at most {self.high:g}"
            self.fail(f"{value!r} is not {lower}{upper}.", param, ctx)
        return number


class WholeNumber(click.ParamType[int]):
    """A whole number from `low` to `high`."""

    name = "whole number"

    def __init__(self, low: int, high: int | None = None) -> None:
        self.low, self.high = low, high

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        try:
            number = int(value)
        except ValueError:
            self.fail(f"{str(value)[:60]!r} is not a whole number.", param, ctx)
        if number < self.low or (self.high is not None and number > self.high):
            upper = "" if self.high is None else f" and at most {self.high}"
            self.fail(f"{str(value)[:60]!r} is not at least {self.low}{upper}.", param, ctx)
        return number


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


def model_argument(function: Function) -> Function:
    """MODEL_DIR, which may be left out for the bundled demo model."""
    kind = click.Path(file_okay=False, path_type=str)
    return click.argument("model_dir", metavar="[MODEL_DIR]", required=False, type=kind)(function)


def json_option(function: Function) -> Function:
    """--json, spelled and explained the same everywhere."""
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON object on one line.")(function)


def generation_options(function: Function) -> Function:
    """Everything that shapes an answer. The command takes them as keywords: see `overrides_from`."""
    options = [
        click.option("--system", metavar="TEXT", help="System prompt."),
        click.option(
            "--max-tokens", type=WholeNumber(1, 10_000_000), metavar="N", help="Most new tokens of one answer."
        ),
        click.option("--temperature", type=Number(0, 100), metavar="T", help="0 always takes the likeliest token."),
        click.option("--top-p", type=Number(0, 1, above=True), metavar="P", help="Sample from this share of the mass."),
        click.option(
            "--top-k", type=WholeNumber(0, 2**31 - 1), metavar="K", help="Sample from the K likeliest; 0: all."
        ),
        click.option("--min-p", type=Number(0, 1), metavar="P", help="Drop tokens below P times the likeliest."),
        click.option("--presence-penalty", type=Number(-2, 2), metavar="X", help="Against tokens already answered."),
        click.option("--frequency-penalty", type=Number(-2, 2), metavar="X", help="The same, per occurrence."),
        click.option(
            "--repetition-penalty", type=Number(0.01, 100), metavar="X", help="Divides the logits of seen tokens."
        ),
        click.option("--seed", type=WholeNumber(0, MAX_SEED), metavar="N", help="Makes sampling repeatable."),
        click.option(
            "--effort",
            type=click.Choice(EFFORTS),
            metavar="LEVEL",
            help="Reasoning: none, low (both off), medium, high.",
        ),
        click.option(
            "--dtype", type=click.Choice(DTYPES), metavar="TYPE", help="Compute in float32, bfloat16 or float16."
        ),
    ]
    for option in reversed(options):
        function = option(function)
    return function


GIVEN = (
    "system", "max_tokens", "temperature", "top_p", "top_k", "min_p", "presence_penalty", "frequency_penalty",
    "repetition_penalty", "seed", "effort",
)  # fmt: skip


def overrides_from(options: Mapping[str, Any]) -> dict[str, Any]:
    """The settings among a command's `generation_options` keywords, by the keys of the settings tree.

    None, for an option that was not given, leaves the setting to the environment and the file.
    """
    return {f"generation.{name}": options.get(name) for name in GIVEN}
