"""One answer through two models, step by step. Plain values, like all here."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from qwen_core.protocol.events import GenerationSettings, LoadSettings, ModelSummary
from qwen_core.protocol.probabilities import Probabilities
from qwen_core.protocol.scoring import Spelling


@dataclass(frozen=True)
class Comparison:
    """What two models say at each of the tokens `ids` that the first of them, A, has answered.

    `divergences`: the KL divergence of a step, sum p ln(p / q) over all tokens, A's p against B's q, in nats: 0 where
    both say the same. `a` and `b` are their probabilities of these tokens, with what each thinks likeliest.
    """

    ids: tuple[int, ...]
    divergences: tuple[float, ...]
    a: Probabilities
    b: Probabilities

    @property
    def parted(self) -> list[int]:
        """The steps at which their likeliest tokens differ, in order, counted from 0."""
        return [
            n for n, (one, other) in enumerate(zip(self.a, self.b, strict=True)) if one.top[0][0] != other.top[0][0]
        ]

    @property
    def mean(self) -> float:
        return math.fsum(self.divergences) / len(self.divergences)

    def percentile(self, share: float) -> float:
        """The divergence below which a share of the steps is; between two steps on the line between them."""
        return quantile(sorted(self.divergences), share)


def quantile(ordered: Sequence[float], share: float) -> float:
    """As NumPy's: linear between the two values that it falls between."""
    place = share * (len(ordered) - 1)
    low = math.floor(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


@dataclass(frozen=True)
class CompareAnswer:
    """Have the models at `a` and `b` read the tokens `ids`, which A answered behind `prompt_ids`; then have B answer
    with `settings`. `dtype`: what both compute in; None: as each is stored. `beside`: bytes of memory that the open
    model has, beside which there must be room for either of them; 0 where none is open, and nothing is asked.
    """

    a: str
    b: str
    prompt_ids: tuple[int, ...]
    ids: tuple[int, ...]
    settings: GenerationSettings
    load: LoadSettings
    dtype: str | None = None
    beside: int = 0


@dataclass(frozen=True)
class CompareProgress:
    """So much of what `words` name is done, in tokens, or in bytes while a model is loaded."""

    words: str
    done: int
    total: int


@dataclass(frozen=True)
class Compared:
    """What came of it: B's own answer as `b_ids`, and what the tokens of both write, of the alternatives too."""

    comparison: Comparison
    b_ids: tuple[int, ...]
    spelled: tuple[Spelling, ...]
    a: ModelSummary
    b: ModelSummary


@dataclass(frozen=True)
class CompareFailed:
    """The other end: one line that says why."""

    message: str


@dataclass(frozen=True)
class CompareNeedsRoom:
    """Or this, before anything is loaded: beside the open model are `free` bytes, and the larger one takes `needed`."""

    needed: int
    free: int


CompareEvent = CompareProgress | Compared | CompareFailed | CompareNeedsRoom
