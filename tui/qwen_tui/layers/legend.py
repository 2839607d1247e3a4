"""What the glyphs and colours of the layer map mean. Pure."""

import re
from dataclasses import dataclass

from textual.content import Content

from qwen_core.checkpoint.layout import Layout
from qwen_core.figures import decimal_size, percent
from qwen_tui.layers.map import FULL_GLYPH, LINEAR_GLYPH, SHARED_MARK, STACK_MARK, LayerMap, glyph_of, hue_of
from qwen_tui.layers.map_text import (
    ERROR_BOUNDS,
    MUTED,
    STRONG,
    TALLEST,
    Colouring,
    Lines,
    Paint,
    bits_step,
    bytes_glyph,
    flowed,
)
from qwen_tui.text.formatting import bar

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
        # From the tallest bar down, every second one: enough to read the ones between by.
        steps = [
            Entry(bytes_glyph(n), Paint("bar", "bytes", n), decimal_size(layer_map.tallest * n // TALLEST), None)
            for n in range(TALLEST, 0, -2)
        ]
        least = f"below {decimal_size(layer_map.tallest // (2 * TALLEST))}"
        return [*steps, Entry(bytes_glyph(0), Paint("bar", "bytes", 0), least, None)] if layer_map.tallest else []
    if colouring == "error":
        return _error_entries()
    read: dict[tuple[str, Paint, str], int] = {}
    for module in layout.everything:
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


def _error_entries() -> list[Entry]:
    """From the largest step down."""
    ends = [*(percent(bound) for bound in ERROR_BOUNDS)]
    words = [f"below {ends[0]}", *(f"from {end}" for end in ends)]
    return [
        Entry(bytes_glyph(step), Paint("bar", "error", step), words[step - 1], None) for step in range(TALLEST, 0, -1)
    ]


def beside(layer_map: LayerMap, colouring: Colouring, width: int, height: int) -> Lines:
    """The legend to the right of the map: a share drawn below each entry, where the height allows it."""
    found = entries(layer_map, colouring)
    head = Content.assemble(
        ("" if colouring in ("bytes", "error") else "colour by ", MUTED), (title(colouring), STRONG)
    )
    lines = [Content.assemble(head, ("  c", MUTED)), Content("")]
    tail = [Content(""), *_experts(layer_map.layout), _kinds("  ")]
    room = height - len(lines) - len(tail)
    is_tall = len(found) * 2 <= room
    for number, entry in enumerate(found):
        if not is_tall and number >= room - 1 and len(found) > room:
            lines.append(Content.styled(f"and {len(found) - number} more", MUTED))
            break
        lines.append(Content.assemble((entry.glyph, entry.paint.style), f" {entry.words}"))
        if is_tall and entry.share is not None:
            solid = entry.paint._replace(part="bar")
            drawn = bar(round(entry.share * 8000), 8000, width - 3 - 8)
            lines.append(Content.assemble("  ", (drawn, solid.style), (f"{percent(entry.share):>8}", MUTED)))
    return [line.truncate(width) for line in (*lines, *tail)][:height]


def below(layer_map: LayerMap, colouring: Colouring, width: int, height: int = 1) -> Lines:
    """The legend as `height` lines under a map that leaves no room beside it.

    In as many words as leave room for every entry; what still does not fit is left out, the least read first.
    """
    found = entries(layer_map, colouring)
    pieces: Lines = []
    for short, shares in ((False, True), (False, False), (True, False)):
        pieces = [_piece(entry, short, shares) for entry in found]
        if len(flowed(pieces, width - 1, "  ")) <= height:
            break
    return [
        line.pad_left(1).truncate(width)
        for line in flowed([*pieces, *_experts(layer_map.layout), _kinds(" ")], width - 1, "  ")[:height]
    ]


def _kinds(gap: str) -> Content:
    return Content.assemble((f"{LINEAR_GLYPH} linear{gap}", MUTED), (FULL_GLYPH, STRONG), (" full", MUTED))


def _experts(layout: Layout) -> Lines:
    """That a cell of a row so marked is all the experts of its layer, and which row is the shared one's."""
    mixture = layout.mixture
    if mixture is None:
        return []
    many = f"{STACK_MARK} {mixture.experts} experts"
    return [
        Content.styled(text, MUTED) for text in (many, f"  a token: {mixture.used}", f"{SHARED_MARK} the shared one")
    ]


def _piece(entry: Entry, short: bool, shares: bool) -> Content:
    words = _shorter(entry) if short else entry.words
    share = f" {percent(entry.share)}" if shares and entry.share is not None else ""
    return Content.assemble((entry.glyph, entry.paint.style), f" {words}", (share, MUTED))


def _shorter(entry: Entry) -> str:
    """The name of a format alone; a size without what is behind its point."""
    if entry.share is not None:
        return entry.words.split(" ")[0]
    return re.sub(r"\d+\.\d+", lambda found: f"{float(found[0]):.0f}", entry.words)


def title(colouring: Colouring) -> str:
    return {"bytes": "bytes a token", "error": "error of a weight"}.get(colouring, colouring)
