"""Which experts of one layer an answer has used, as lines: a row of heat, how even it is, the last token's. Pure."""

import math
from collections.abc import Sequence

from textual.content import Content

from qwen_core.figures import whole_percent
from qwen_core.protocol.expert_use import ExpertUse
from qwen_tui.layers.map_text import MUTED, Lines, Paint, flowed
from qwen_tui.text.formatting import counted
from qwen_tui.text.sparkline import sparkline

HEAT = Paint("bar", "graph", 8).style
LABEL = "used "


def use_lines(use: ExpertUse, layer: int, width: int) -> Lines:
    """Two lines, or what fits: a bar for each expert, neighbours together where there is no room; and the figures."""
    counts, last = use.of_layer(layer)
    heat = sparkline(counts, width - len(LABEL)).replace(" ", "·")
    met = sum(count > 0 for count in counts)
    figures = (
        counted(use.tokens, "token"),
        f"{met} of {use.experts} experts",
        f"{whole_percent(evenness(counts))} even",
        f"last counted token: {', '.join(map(str, last))}",
    )
    row = Content.assemble((LABEL, MUTED), (heat, HEAT))
    return [row.truncate(width), *flowed((Content.styled(figure, MUTED) for figure in figures), width)]


def evenness(counts: Sequence[int]) -> float:
    """1 where every expert is used alike, 0 where one is alone: entropy over the logarithm of how many there are."""
    whole = sum(counts)
    if not whole or len(counts) < 2:
        return 1.0
    shares = [count / whole for count in counts if count]
    return max(0.0, -sum(share * math.log(share) for share in shares) / math.log(len(counts)))
