"""What a benchmark measures, as data: sizes, the card's conversation, how figures are summed up, and resting between.

Knows no model and needs no MLX: measure.py measures, against.py compares with another runtime.
"""

import random
import re
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar, get_args

from qwen_core.errors import CapacityError, SettingsError, quote

CARD = "card"
# The example on the published model cards: one session, thinking off, and the best decode rate of turns 2 to 4.
CARD_SYSTEM = "You are a helpful assistant. Be concise."
CARD_TURNS = (
    "What is the capital of France?",
    "What about Germany?",
    "And Japan?",
    "Which of those three cities has the largest population?",
)
CARD_TEMPERATURE = 0.6
CARD_MAX_NEW_TOKENS = 2048

MAX_SIZE = 1 << 20
# A signal handler that only sets a flag does not end a sleep, so the flag is looked at this often.
STEP_S = 0.125
# Below the first special token of every tokenizer of this family, so that a prompt is ordinary text to the model.
_LARGEST_PLAIN_ID = 151_643
_SIZE = re.compile(r"(pp|tg)(\d{1,7})")

Kind = Literal["card", "prefill", "decode"]
Peer = Literal["mlx-lm", "self"]
PEERS: tuple[Peer, ...] = get_args(Peer)
"""What `bench --against` takes."""
Side = TypeVar("Side")


@dataclass(frozen=True)
class Workload:
    """One thing to measure: the card's conversation, `tokens` of prefill (ppN) or `tokens` of decode (tgN)."""

    kind: Kind
    tokens: int = 0

    @property
    def name(self) -> str:
        return CARD if self.kind == "card" else f"{'pp' if self.kind == 'prefill' else 'tg'}{self.tokens}"


def parse_workloads(text: str) -> tuple[Workload, ...]:
    """The workloads of "card,pp512,tg128". Raises SettingsError naming the word that is no workload."""
    found = []
    for word in (word.strip().lower() for word in text.split(",")):
        match = _SIZE.fullmatch(word)
        if word == CARD:
            found.append(Workload("card"))
        elif match and 1 <= int(match[2]) <= MAX_SIZE:
            found.append(Workload("prefill" if match[1] == "pp" else "decode", int(match[2])))
        else:
            raise SettingsError(
                f"{quote(repr(word))} is not a workload: give card, ppN (prefill N tokens) or tgN (decode N tokens), "
                f"N from 1 to {MAX_SIZE:,}, several with commas between them"
            )
    return tuple(dict.fromkeys(found))


def check_context(workload: Workload, depth: int, limit: int) -> None:
    """Raise CapacityError where `workload` behind `depth` tokens is more than the model's context of `limit`."""
    if depth + workload.tokens + 1 > limit:
        raise CapacityError(
            f"{workload.name} behind {depth:,} tokens is more than the model's context of {limit:,} tokens"
        )


def prompt_ids(count: int, vocabulary: int, seed: int = 0) -> list[int]:
    """`count` ids of ordinary tokens, the same for the same arguments on every machine."""
    draw = random.Random(f"{seed}/{count}")
    highest = min(vocabulary, _LARGEST_PLAIN_ID)
    return [draw.randrange(highest) for _ in range(count)]


@dataclass(frozen=True)
class Spread:
    """Median of some figures, and how far apart they were."""

    median: float
    low: float
    high: float

    def as_dict(self) -> dict[str, float]:
        return {"median": self.median, "min": self.low, "max": self.high}


def spread(figures: Sequence[float]) -> Spread | None:
    """The spread of `figures`; None where there are none."""
    return Spread(statistics.median(figures), min(figures), max(figures)) if figures else None


def alternating(sides: Sequence[Side], repeat: int) -> Iterator[Side]:
    """`repeat` rounds of all sides, every other round backwards: a machine that grows slower favours nobody."""
    for number in range(repeat):
        yield from sides if number % 2 == 0 else sides[::-1]


def common_tokens(one: Sequence[int], other: Sequence[int]) -> int:
    """How many of the first tokens are the same."""
    shorter = min(len(one), len(other))
    return next((place for place in range(shorter) if one[place] != other[place]), shorter)


def spread_fields(figures: Iterable[float | None]) -> dict[str, float] | None:
    """The spread of those `figures` that are known, as JSON takes it; None where there are none."""
    found = spread([figure for figure in figures if figure is not None])
    return found.as_dict() if found else None


def rest(seconds: float, stop: Callable[[], bool], pause: Callable[[float], None] = time.sleep) -> None:
    """Wait `seconds` by calls of `pause`, or until `stop` says so."""
    left = seconds
    while left > 0 and not stop():
        pause(min(left, STEP_S))
        left -= STEP_S
