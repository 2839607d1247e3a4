"""What a benchmark says of drafts: decoding with them beside decoding without, what passes cost, and what would follow.

Pure, as report.py is: measure.py measures. Figures that were not measured but follow from others are called arithmetic.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest
from statistics import median
from typing import Any

from qwen_core.bench.workloads import common_tokens, spread_fields
from qwen_core.protocol.stats import DraftStats
from qwen_core.session.draft_count import best_count, expected_tokens

ACCEPTANCES = (0.5, 0.7, 0.9)
"""Shares of drafts accepted, at each depth, given that those before were, for which the arithmetic is done."""


@dataclass(frozen=True)
class DecodeRun:
    """One decode: tokens a second, None where it was too short to have a rate; its tokens; how each turn's drafts
    fared."""

    tok_s: float | None
    tokens: tuple[int, ...]
    drafts: tuple[DraftStats, ...] = ()


@dataclass(frozen=True)
class DecodePair:
    """The same decode without drafts and with them, directly after one another."""

    without: DecodeRun
    drafted: DecodeRun

    @property
    def ratio(self) -> float | None:
        """Above 1: drafts are faster."""
        return self.drafted.tok_s / self.without.tok_s if self.drafted.tok_s and self.without.tok_s else None

    @property
    def same_tokens(self) -> tuple[int, int]:
        """How many of the first tokens are the same, and of how many."""
        one, other = self.without.tokens, self.drafted.tokens
        return common_tokens(one, other), max(len(one), len(other))


@dataclass(frozen=True)
class PassCosts:
    """Seconds of each repeat: of passes of 1, 2, ... rows, and of one draft where a layer drafts."""

    passes: tuple[tuple[float, ...], ...]
    draft: tuple[float, ...] = ()


def pairs_fields(pairs: Sequence[DecodePair]) -> dict[str, Any] | None:
    """What the pairs of one workload say together; None where there are none. Counts are those of all pairs.

    `acceptance_by_depth`: the share of passes whose first, second ... draft was accepted. `same_tokens` of `of_tokens`
    are those of the pair that parts first.
    """
    if not pairs:
        return None
    drafts = [stats for pair in pairs for stats in pair.drafted.drafts]
    passes = sum(stats.passes for stats in drafts)
    accepted = [sum(depth) for depth in zip_longest(*(stats.accepted_by_depth for stats in drafts), fillvalue=0)]
    same, whole = min((pair.same_tokens for pair in pairs), key=lambda counts: (counts[0] == counts[1], counts[0]))
    return {
        "kind": drafts[0].kind if drafts else None,
        "num_draft_tokens": max((stats.num_draft_tokens for stats in drafts), default=0),
        "pairs": len(pairs),
        "without_tok_s": spread_fields(pair.without.tok_s for pair in pairs),
        "with_tok_s": spread_fields(pair.drafted.tok_s for pair in pairs),
        "ratio": spread_fields(pair.ratio for pair in pairs),
        "passes": passes,
        "drafted": sum(stats.drafted for stats in drafts),
        "accepted": sum(stats.accepted for stats in drafts),
        "accepted_by_depth": accepted,
        "acceptance_by_depth": [count / passes for count in accepted] if passes else [],
        "tokens_a_pass": sum(len(pair.drafted.tokens) for pair in pairs) / passes if passes else None,
        "same_tokens": same,
        "of_tokens": whole,
    }


def costs_fields(costs: PassCosts, context_tokens: int) -> dict[str, Any]:
    """The table of costs behind `context_tokens`. Ratios are those to the pass of one row of the same repeat."""
    single = costs.passes[0]

    def cost(seconds: Sequence[float]) -> dict[str, Any]:
        ratios = [taken / one for taken, one in zip(seconds, single, strict=True)]
        return {"seconds": spread_fields(seconds), "ratio": spread_fields(ratios)}

    return {
        "context_tokens": context_tokens,
        "repeat": len(single),
        "passes": [{"rows": rows, **cost(seconds)} for rows, seconds in enumerate(costs.passes, 1)],
        "draft": cost(costs.draft) if costs.draft else None,
    }


def draft_arithmetic(costs: PassCosts, count: int | None) -> list[dict[str, Any]]:
    """What the median costs give at each of ACCEPTANCES, with `count` drafts a pass or, for None, as many as are best.

    Arithmetic, not measured: tok/s = tokens of a pass / (its cost + its drafts' cost); `ratio` is to passes of one row.
    """
    passes = [median(seconds) for seconds in costs.passes]
    draft = median(costs.draft) if costs.draft else 0.0
    rows = []
    for share in ACCEPTANCES:
        shares = [share] * (len(passes) - 1)
        drafts = best_count(passes, draft, shares) if count is None else min(count, len(shares))
        tokens = expected_tokens(shares[:drafts])
        rate = tokens / (passes[drafts] + drafts * draft)
        rows.append(
            {
                "acceptance": share,
                "num_draft_tokens": drafts,
                "tokens_a_pass": tokens,
                "tok_s": rate,
                "ratio": rate * passes[0],
            }
        )
    return rows
