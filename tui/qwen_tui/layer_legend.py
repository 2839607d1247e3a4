"""What the glyphs and colours of the layer map mean, and the line above it. Pure."""

from dataclasses import dataclass

from qwen_core.sparkline import BARS
from qwen_tui.formatting import bar, decimal_size
from qwen_tui.layer_figures import percent, weights
from qwen_tui.layer_map import FULL_GLYPH, LINEAR_GLYPH, LayerMap, glyph_of, hue_of
from qwen_tui.layer_view import BLANK, MUTED, STRONG, TEXT, Colouring, Paint, Run, bits_step, clipped

WIDTH = 18  # the least that a legend beside the map needs
MOST = 22


@dataclass(frozen=True)
class Entry:
    """One meaning: the glyph as it is painted, words, and its share of what a token reads (None: has none)."""

    glyph: str
    paint: Paint
    words: str
    share: float | None


def entries(layer_map: LayerMap, colouring: Colouring) -> list[Entry]:
    """What is on the map, most read first."""
    layout = layer_map.layout
    if colouring == "bytes":
        # Whole eighths from the tallest bar down, every second one: enough to read the ones between by.
        steps = [
            Entry(BARS[n - 1], Paint("bar", "bytes", n), f"{decimal_size(layer_map.tallest * n // 8)}", None)
            for n in (8, 6, 4, 2, 1)
        ]
        return steps if layer_map.tallest else []
    read: dict[tuple[str, Paint, str], int] = {}
    for module in layout.modules:
        glyph, hue, step = glyph_of(module), hue_of(module), bits_step(module.bits)
        if colouring == "bits":
            key = (glyph, Paint("tile", "bits", step), f"{module.bits}-bit")
        else:
            key = (glyph, Paint("tile", hue, step if hue != "float" else 4), module.format)
        read[key] = read.get(key, 0) + module.token_bytes
    found = [Entry(glyph, paint, words, layout.share(count)) for (glyph, paint, words), count in read.items()]
    if colouring == "bits":
        return sorted(found, key=lambda entry: (entry.paint.step, -(entry.share or 0)))
    return sorted(found, key=lambda entry: -(entry.share or 0))


def beside(layer_map: LayerMap, colouring: Colouring, width: int, height: int) -> list[list[Run]]:
    """The legend to the right of the map: a share drawn below each entry, where the height allows it."""
    found = entries(layer_map, colouring)
    lines: list[list[Run]] = [
        [Run("" if colouring == "bytes" else "colour by ", MUTED), Run(title(colouring), STRONG), Run("  c", MUTED)],
        [],
    ]
    tail: list[list[Run]] = [
        [],
        [
            Run(f"{LINEAR_GLYPH} ", Paint("linear")),
            Run("linear  ", MUTED),
            Run(f"{FULL_GLYPH} ", Paint("full")),
            Run("full", MUTED),
        ],
    ]
    room = height - len(lines) - len(tail)
    is_tall = len(found) * 2 <= room
    for number, entry in enumerate(found):
        if not is_tall and number >= room - 1 and len(found) > room:
            lines.append([Run(f"and {len(found) - number} more", MUTED)])
            break
        lines.append([Run(entry.glyph, entry.paint), Run(f" {entry.words}", TEXT)])
        if is_tall and entry.share is not None:
            text = percent(entry.share)
            length = width - 3 - 8
            solid = entry.paint._replace(part="bar")
            lines.append(
                [Run("  ", BLANK), Run(bar(round(entry.share * 8000), 8000, length), solid), Run(f"{text:>8}", MUTED)]
            )
    return [clipped(line, width) for line in (*lines, *tail)][:height]


def below(layer_map: LayerMap, colouring: Colouring, width: int, height: int = 1) -> list[list[Run]]:
    """The legend as `height` lines under a map that leaves no room beside it; what does not fit is left out."""
    pieces = [
        [Run(entry.glyph, entry.paint), Run(f" {entry.words}", TEXT)]
        + ([Run(f" {percent(entry.share)}", MUTED)] if entry.share is not None else [])
        for entry in entries(layer_map, colouring)
    ]
    pieces.append(
        [
            Run(LINEAR_GLYPH, Paint("linear")),
            Run(" linear ", MUTED),
            Run(FULL_GLYPH, Paint("full")),
            Run(" full", MUTED),
        ]
    )
    lines: list[list[Run]] = [[]]
    filled = 1
    for piece in pieces:
        length = sum(len(run.text) for run in piece)
        gap = 2 if lines[-1] else 0
        if filled + gap + length > width:
            if len(lines) == height:
                break
            lines.append([])
            filled, gap = 1, 0
        lines[-1] += [Run(" " * gap, BLANK), *piece]
        filled += gap + length
    return [clipped([Run(" ", BLANK), *line], width) for line in lines]


def title(colouring: Colouring) -> str:
    return "bytes a token" if colouring == "bytes" else colouring


def headline(layer_map: LayerMap) -> list[str]:
    """The pieces of the line above the map, as the screen joins them, the most telling first."""
    layout = layer_map.layout
    return [
        f"{len(layout.layer_kinds)} layers" if len(layout.layer_kinds) != 1 else "1 layer",
        f"{weights(layout.text.parameters)} text weights",
        f"{layout.text.bits_per_weight:.2f} bits each",
        f"{decimal_size(layout.token_bytes)} a token",
        layer_map.verdict.name,
    ]
