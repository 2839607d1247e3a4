"""Which experts an answer has used, as lines: rows of heat, how even they are, the last token's. Pure."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from textual.content import Content

from qwen_core.checkpoint.config import MixtureConfig
from qwen_core.figures import whole_percent
from qwen_core.protocol.expert_use import ExpertUse
from qwen_tui.layers.map_text import HERE, MUTED, STRONG, Lines, Paint, flowed
from qwen_tui.text.formatting import counted, fit
from qwen_tui.text.sparkline import sparkline

HEAT = Paint("bar", "graph", 8)
LABEL = "used "
_NUMBER, _EVEN = 7, 6  # cells before and behind a row of the whole picture
_MOST = 3  # experts that are named as the most used


def use_lines(use: ExpertUse, layer: int, width: int) -> Lines:
    """Two lines, or what fits: a bar for each expert, neighbours together where there is no room; and the figures."""
    counts, _ = use.of_layer(layer)
    heat = sparkline(counts, width - len(LABEL)).replace(" ", "·")
    row = Content.assemble((LABEL, MUTED), (heat, HEAT.style))
    return [row.truncate(width), *figure_lines(use, layer, width)]


def figure_lines(use: ExpertUse, layer: int, width: int, *, most: bool = False) -> Lines:
    """How many tokens and experts, how even, the last token's experts; with `most` also those used most. Uncut."""
    counts, last = use.of_layer(layer)
    met = sum(count > 0 for count in counts)
    figures = [
        counted(use.tokens, "token"),
        f"{met} of {use.experts} experts",
        f"{whole_percent(evenness(counts))} even",
    ]
    if most:
        figures += _named("most used: ", [f"{e} ({whole_percent(counts[e] / use.tokens)})" for e in _hottest(counts)])
    named = _named("last counted token: ", list(map(str, last)))
    if len(", ".join(named)) <= width:
        return flowed((Content.styled(text, MUTED) for text in [*figures, ", ".join(named)]), width)
    lines = flowed((Content.styled(text, MUTED) for text in figures), width)
    return [*lines, *flowed((Content.styled(text, MUTED) for text in named), width, ", ")]


def _named(words: str, names: list[str]) -> list[str]:
    return [words + name if not number else name for number, name in enumerate(names)]


def _hottest(counts: Sequence[int]) -> list[int]:
    """The experts that were used most, most used first."""
    used = [expert for expert, count in enumerate(counts) if count]
    return sorted(used, key=lambda expert: (-counts[expert], expert))[:_MOST]


def evenness(counts: Sequence[int]) -> float:
    """1 where every expert is used alike, 0 where one is alone: entropy over the logarithm of how many there are."""
    whole = sum(counts)
    if not whole or len(counts) < 2:
        return 1.0
    shares = [count / whole for count in counts if count]
    return max(0.0, -sum(share * math.log(share) for share in shares) / math.log(len(counts)))


# All layers at once.


@dataclass(frozen=True)
class HeatRow:
    """A layer's row in the whole picture."""

    layer: int
    cursor: bool


def heat_cells(experts: int, width: int) -> int:
    """How many cells a row of heat has in `width`."""
    return max(1, min(experts, width - _NUMBER - _EVEN))


def axis_line(experts: int, width: int) -> Content:
    """Above the rows: the first and the last expert, and what the figure behind a row is."""
    cells, last = heat_cells(experts, width), str(experts - 1)
    heat = f"0{last:>{cells - 1}}" if cells > len(last) + 1 else "0".ljust(cells)
    return Content.styled(f" layer {heat}  even", MUTED)


def heat_line(use: ExpertUse | None, mixture: MixtureConfig, row: HeatRow, width: int) -> Content:
    """A layer: its number, how much each expert was used, the last token's standing out, and how even that is."""
    counts, last = use.of_layer(row.layer) if use is not None else ((), ())
    cells = heat_cells(mixture.experts, width)
    heat = (sparkline(counts, cells) if counts else "").replace(" ", "·").ljust(cells, "·")
    even = whole_percent(evenness(counts)) if any(counts) else ""
    lit = {cell for expert in last for cell in _cells_of(expert, mixture.experts, cells)}
    return Content.assemble(
        (f"{'▸' if row.cursor else ' '}{row.layer:>5} ", STRONG if row.cursor else ""),
        *((sign, _style(sign, cell in lit)) for cell, sign in enumerate(heat)),
        (f"{even:>{_EVEN}}", MUTED),
    )


def _style(sign: str, lit: bool) -> str:
    return MUTED if sign == "·" else HEAT._replace(lit=lit).style


def _cells_of(expert: int, experts: int, cells: int) -> range:
    """The cells in which an expert has a share, as `sparkline` divides them."""
    return range(expert * cells // experts, ((expert + 1) * cells - 1) // experts + 1)


def use_headline(use: ExpertUse | None, mixture: MixtureConfig, layers: int, width: int) -> Content:
    """What the whole picture is of, in one line."""
    if use is None:
        pieces = ["nothing counted yet", "counts come with an answer, while this is open"]
    else:
        mean = sum(evenness(use.of_layer(layer)[0]) for layer in range(layers)) / layers
        pieces = [
            counted(use.tokens, "token"),
            f"{whole_percent(mean)} even",
            f"{mixture.used} of {mixture.experts} a layer",
            "bold: the last counted token's",
        ]
    title = "Experts  " if width >= 60 else ""
    return Content.assemble((f" {title}", STRONG), (fit(pieces, width - 2 - len(title)), HERE if use is None else ""))
