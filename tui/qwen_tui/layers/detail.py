"""The place under the cursor in lines: a module, a layer, or why there is nothing. Pure; the words are facts.py's."""

from collections.abc import Iterable

from textual.content import Content

from qwen_core.checkpoint.directory import Checkpoint
from qwen_core.checkpoint.layout import ModuleLayout
from qwen_tui.layers.facts import KINDS, Fact, FactText, ModuleFacts, absence, facts_of, layer_facts
from qwen_tui.layers.map import MTP, LayerMap, Place
from qwen_tui.layers.map_text import BAD, MUTED, STRONG, Lines, flowed

LABEL = 11


def header_lines(layer_map: LayerMap, checkpoint: Checkpoint, place: Place, width: int) -> Lines:
    """The first lines of the detail pane, the most telling first."""
    row = layer_map.by_label[place.row]
    module = layer_map.module_at(place)
    if module is not None:
        return _module_lines(facts_of(module, layer_map.layout, checkpoint), width)
    if row.spec.group == "mixer" and place.column < len(layer_map.layout.layer_kinds):
        kind = KINDS[layer_map.layout.layer_kinds[place.column]]
        figures, notes = layer_facts(layer_map, place.column)
        head = Content.assemble((f"layer {place.column}", STRONG), f"   {kind}").truncate(width)
        return [head, *_flowed(figures, width), *(line for note in notes for line in _flowed([note], width, MUTED))]
    gap = " " if row.spec is MTP else "; "  # a line about a file is long
    return flowed((Content.styled(part, MUTED) for part in absence(layer_map, place).split(gap)), width, gap)


def expert_line(module: ModuleLayout, expert: int | None) -> Content:
    """Which expert of a stack the values below are of, and how another is picked."""
    which = f"all {module.experts} experts" if expert is None else f"expert {expert} of {module.experts}"
    return Content.assemble(("‹ ", MUTED), (which, STRONG), (" ›   [ ] another, { } 16 on", MUTED))


def _flowed(texts: Iterable[str], width: int, style: str = "") -> Lines:
    return flowed((Content.styled(text, style) for text in texts), width)


def _module_lines(facts: ModuleFacts, width: int) -> Lines:
    head = Content.assemble((facts.title, STRONG), f"   {facts.format}, {facts.source}")
    if head.cell_length > width:
        # Few words on a narrow screen, the figures before the shape.
        figures = (facts.short, facts.stored, facts.token, facts.shape, facts.bits, facts.error)
        places = (facts.alignment, facts.place, facts.about)
        head = Content.styled(facts.title, STRONG).truncate(width)
    else:
        figures = (facts.shape, facts.stored, facts.token, facts.bits, facts.error)
        places = (facts.place, facts.alignment, facts.about)
    return [head, *_flowed(figures, width), *_flowed(places, width, MUTED)]


def fact_lines(facts: Iterable[Fact], width: int) -> Lines:
    """Every fact with its label; the pieces wrap under themselves."""
    lines: Lines = []
    room = max(8, width - LABEL)
    for label, pieces in facts:
        parts = (part for piece in pieces for part in piece_text(piece).wrap(room))
        for number, line in enumerate(flowed(parts, room)):
            lines.append(Content.assemble((f"{'' if number else label:<{LABEL}}", MUTED), line).truncate(width))
    return lines


def piece_text(piece: FactText) -> Content:
    return Content.styled(piece.text, BAD if piece.is_bad else "")
