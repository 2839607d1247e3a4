"""What the glyphs and colours of the layer map mean, and the line above it. Pure."""

from dataclasses import dataclass

from qwen_core.figures import decimal_size
from qwen_tui.layers.map import FULL_GLYPH, LINEAR_GLYPH, LayerMap, glyph_of, hue_of
from qwen_tui.layers.map_text import BLANK, MUTED, STRONG, TEXT, Colouring, Paint, Run, bits_step, clipped
from qwen_tui.text.formatting import bar, parameters, percent
from qwen_tui.text.sparkline import BARS

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
    """The legend as `height` lines under a map that leaves no room beside it.

    In as many words as leave room for every entry; what still does not fit is left out, the least read first.
    """
    found = entries(layer_map, colouring)
    mixer = [Run(LINEAR_GLYPH, Paint("linear")), Run(" linear ", MUTED), Run(FULL_GLYPH, Paint("full")),
             Run(" full", MUTED)]  # fmt: skip
    lines: list[list[Run]] = []
    for short, shares in ((False, True), (False, False), (True, False)):
        pieces = [_piece(entry, short, shares) for entry in found]
        lines, placed = _flowed([*pieces, mixer], width, height)
        if placed >= len(pieces):
            break
    return lines


def _piece(entry: Entry, short: bool, shares: bool) -> list[Run]:
    words = entry.words.split(" ")[0] if short else entry.words
    share = [Run(f" {percent(entry.share)}", MUTED)] if shares and entry.share is not None else []
    return [Run(entry.glyph, entry.paint), Run(f" {words}", TEXT), *share]


def _flowed(pieces: list[list[Run]], width: int, height: int) -> tuple[list[list[Run]], int]:
    """Pieces on at most `height` lines, and how many of them found room."""
    lines: list[list[Run]] = [[]]
    filled = 1
    placed = 0
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
        placed += 1
    return [clipped([Run(" ", BLANK), *line], width) for line in lines], placed


def title(colouring: Colouring) -> str:
    return "bytes a token" if colouring == "bytes" else colouring


def headline(layer_map: LayerMap, width: int = 1000) -> list[str]:
    """The pieces of the line above the map: in fewer words where `width` has no room for all of them."""
    layout = layer_map.layout
    count, text = len(layout.layer_kinds), layout.text
    layers = f"{count} layers" if count != 1 else "1 layer"
    size, bits = parameters(text.parameters), f"{text.bits_per_weight:.2f} bits"
    rest = [f"{decimal_size(layout.token_bytes)} a token", layer_map.verdict.name]
    pieces = [layers, f"{size} text weights", f"{bits} each", *rest]
    return (
        pieces if sum(map(len, pieces)) + 3 * (len(pieces) - 1) <= width else [layers, f"{size} weights", bits, *rest]
    )
