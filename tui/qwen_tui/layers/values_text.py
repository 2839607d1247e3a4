"""The values inside a tensor as lines: bars of its scales and codes, range, groups, first rows. Pure.

The words are value_facts.py's.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from textual.content import Content

from qwen_core.figures import percent
from qwen_core.tensors.histogram import CodeCounts, Histogram
from qwen_core.tensors.values import TensorValues
from qwen_tui.layers.detail import fact_lines
from qwen_tui.layers.map_text import BAD, MUTED, Lines, Paint, flowed
from qwen_tui.layers.value_facts import histogram_ends, row_texts, span, value_facts
from qwen_tui.text.sparkline import BARS, sparkline

GRAPH = Paint("bar", "graph", 8).style


def value_lines(values: TensorValues, width: int, height: int) -> Lines:
    """The values as the detail pane shows them; the first rows as well where `height` leaves room for them."""
    parts: Lines = []
    if values.scales is not None:
        graph = sparkline(values.scales.histogram.counts, 16)
        reach = span(values.scales.minimum, values.scales.maximum)
        parts.append(Content.assemble(("scales ", MUTED), (graph, GRAPH), f"  {reach}"))
    if values.codes is not None:
        parts.append(_codes(values.codes, width))
    reach = span(values.minimum, values.maximum)
    if values.values is not None:
        graph = sparkline(values.values.counts, 32)
        parts.append(Content.assemble(("values ", MUTED), (graph, GRAPH), f"  {reach}"))
    notes = [Content(f"values {reach}")] if values.values is None else []
    for fact in sorted(value_facts(values), key=lambda fact: fact.label == "examined"):
        quiet = "" if fact.label == "values" else MUTED
        pieces = (piece for piece in fact.pieces if piece.brief)
        notes += [Content.styled(piece.text, BAD if piece.is_bad else quiet) for piece in pieces]
    lines = [*flowed(parts, width, "   "), *flowed(notes, width)]
    # Rows are two lines each; those that fit, behind a gap.
    rows = row_lines(values, width)[: (height - len(lines) - 1) // 2 * 2 if height > len(lines) + 2 else 0]
    return [*lines, Content(""), *rows] if rows else lines


def _codes(counted: CodeCounts, width: int) -> Content:
    codes = counted.by_magnitude()
    if len(codes.counts) > 8:
        graph = sparkline(counted.counts, max(8, min(32, width - 30)))
        return Content.assemble(("codes ", MUTED), (graph, GRAPH), f"  {counted.names[0]} … {counted.names[-1]}")
    # Few enough to stand beside their own bar; one scale for all of them.
    bars = [sparkline((count, max(codes.counts)), 2)[:1] for count in codes.counts]
    named = zip(codes.names, bars, strict=True)
    parts = [part for name, bar in named for part in ((f" {name.replace('0.', '.')} ", MUTED), (bar, GRAPH))]
    return Content.assemble(("codes ", MUTED), *parts)


# Large, for the screen of one tensor.


def tall_bars(counts: Sequence[int], width: int, height: int) -> list[str]:
    """A histogram of `height` lines in eighths of a line, scaled to the largest; wide bars where there is room."""
    if not any(counts) or width <= 0 or height <= 0:
        return []
    together = 1  # neighbours in one bar, as few as the width allows
    while len(counts) > together * width:
        together *= 2
    sums = [sum(counts[at : at + together]) for at in range(0, len(counts), together)]
    peak, cell = max(sums), bar_width(len(sums), width)
    steps = [max(1, round(8 * height * count / peak)) if count else 0 for count in sums]
    lines = []
    for line in range(height - 1, -1, -1):
        glyphs = [BARS[min(8, step - 8 * line) - 1] if step > 8 * line else " " for step in steps]
        lines.append("".join(glyph if cell == 1 else glyph * (cell - 1) + " " for glyph in glyphs).rstrip())
    return lines


def bar_width(bars: int, width: int) -> int:
    """Cells of one bar of `tall_bars`, the gap after it included."""
    return max(1, min(3, width // bars))


@dataclass(frozen=True)
class Section:
    """A heading and the lines below it."""

    heading: str
    lines: Lines


def sections(values: TensorValues, width: int) -> list[Section]:
    """Everything about the values, for a whole screen."""
    facts = {fact.label: fact for fact in value_facts(values)}
    found: list[Section] = []
    if values.scales is not None:
        scales = facts.pop("scales")
        heading = " · ".join(("Scales", *(piece.text for piece in scales.pieces)))
        found.append(Section(heading, _histogram(values.scales.histogram, width)))
    if values.codes is not None:
        found.append(Section(f"Codes · {values.codes.label}", _code_table(values.codes, width)))
    if values.values is not None:
        heading = f"Values · {span(values.minimum, values.maximum)}"
        found.append(Section(heading, _histogram(values.values, width)))
    found.append(Section("Statistics", fact_lines(facts.values(), width)))
    found.append(Section("First rows, beside the words they are packed in", row_lines(values, width)))
    return [section for section in found if section.lines]


def _graph(counts: Sequence[int], left: str, right: str, width: int) -> Lines:
    """Tall bars, and below them what the first and the last stand for."""
    room = min(width, 64)
    lines = [Content.styled(line, GRAPH) for line in tall_bars(counts, room, 5)]
    if lines:
        across = min(room, len(counts) * bar_width(len(counts), room))
        lines.append(Content.styled(left + right.rjust(max(len(right) + 1, across - len(left))), MUTED))
    return [line.truncate(width) for line in lines]


def _histogram(histogram: Histogram, width: int) -> Lines:
    return _graph(histogram.counts, *histogram_ends(histogram), width) if histogram.edges else []


def _code_table(codes: CodeCounts, width: int) -> Lines:
    if len(codes.counts) > 16:
        return _graph(codes.counts, codes.names[0], codes.names[-1], width)
    whole, peak = max(1, sum(codes.counts)), max(1, *codes.counts)
    length = max(4, min(40, width - 20))
    return [
        Content.assemble(
            (f"{name:>6} ", MUTED),
            (f"{'▆' * round(length * count / peak):<{length}}", GRAPH),
            f" {percent(count / whole):>8}",
        ).truncate(width)
        for name, count in zip(codes.names, codes.counts, strict=True)
    ]


def row_lines(values: TensorValues, width: int) -> Lines:
    """The first elements of the first rows, dequantised, and the packed words below them."""
    texts = [row_texts(row) for row in values.first_rows]
    pairs = ((Content(elements), Content.styled(words, MUTED)) for elements, words in texts)
    return [line.truncate(width) for pair in pairs for line in pair]
