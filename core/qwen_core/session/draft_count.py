"""How many drafts a pass should have: pure arithmetic on measured costs and on how drafts fared so far."""

from collections.abc import Sequence

from qwen_core.settings.ranges import NUM_DRAFT_TOKENS

MOST_DRAFTS = int(NUM_DRAFT_TOKENS.high)
"""A pass of more rows reads its weights more than once (5 rows at a time with MLX's kernels)."""
EXPECTED = (0.8, 0.7, 0.6, 0.55, 0.5)
"""Share of drafts accepted at each depth, given that those before were, before anything was observed."""
WEIGHT = 8
"""Passes that the expectation counts as, beside those observed."""


def expected_tokens(acceptance: Sequence[float]) -> float:
    """Tokens of a pass with as many drafts as there are shares in `acceptance`, each given that those before held."""
    tokens, reached = 1.0, 1.0
    for share in acceptance:
        reached *= share
        tokens += reached
    return tokens


def best_count(pass_costs: Sequence[float], draft_cost: float, acceptance: Sequence[float]) -> int:
    """The number of drafts with most tokens a second; the smaller of equals, and 0 where drafts do not pay.

    pass_costs: seconds of a pass of 1, 2, ... rows; draft_cost: seconds of one draft; acceptance: by depth, each given
    that the drafts before were accepted.
    """
    most = min(len(pass_costs) - 1, len(acceptance))
    rates = [
        expected_tokens(acceptance[:count]) / (pass_costs[count] + count * draft_cost) for count in range(most + 1)
    ]
    return rates.index(max(rates))


def shares(drafted: Sequence[int], accepted: Sequence[int]) -> list[float]:
    """Acceptance by depth from the counts of what was drafted and accepted there, over MOST_DRAFTS depths.

    A draft counts at its depth only where those before it were accepted.
    """
    found = []
    for depth in range(MOST_DRAFTS):
        tried = drafted[depth] if depth == 0 else min(drafted[depth], accepted[depth - 1])
        found.append((accepted[depth] + WEIGHT * EXPECTED[depth]) / (tried + WEIGHT))
    return found
