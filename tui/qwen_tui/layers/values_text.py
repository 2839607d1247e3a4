"""The values inside a tensor as lines of text: bars of its scales and codes, range, groups, first rows. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from qwen_core.tensors.histogram import CodeCounts, Histogram
from qwen_core.tensors.values import TensorValues
from qwen_tui.layers.detail import Lines, flowed
from qwen_tui.layers.map_text import BAD, BLANK, MUTED, TEXT, Paint, Run, clipped, text_of
from qwen_tui.text.formatting import percent
from qwen_tui.text.safe import cells
from qwen_tui.text.sparkline import BARS, sparkline

GRAPH = Paint("bar", "graph", 8)


def number(value: float) -> str:
    """A value in few characters: "0.0391", "-12.5", "3.1e-07"."""
    if value == 0:
        return "0"
    return (
        f"{value:.4f}" if 0.001 <= abs(value) < 10 else f"{value:.1f}" if 10 <= abs(value) < 10_000 else f"{value:.1e}"
    )


def span(low: float | None, high: float | None) -> str:
    return "nothing finite" if low is None or high is None else f"{number(low)} … {number(high)}"


def value_lines(values: TensorValues, width: int, height: int) -> Lines:
    """The values as the detail pane shows them; the first rows as well where `height` leaves room for them."""
    parts: Lines = []
    if values.scales is not None:
        graph = sparkline(values.scales.histogram.counts, 16)
        reach = span(values.scales.minimum, values.scales.maximum)
        parts.append([Run("scales ", MUTED), Run(graph, GRAPH), Run(f"  {reach}", TEXT)])
    if values.codes is not None:
        parts.append(_code_runs(values.codes, width))
    if values.values is not None:
        graph = sparkline(values.values.counts, 32)
        parts.append([Run("values ", MUTED), Run(graph, GRAPH), Run(f"  {span(values.minimum, values.maximum)}", TEXT)])
    lines = _beside(parts, width)
    lines += flowed([*notes(values)], width)
    # Rows are two lines each; those that fit, behind a gap.
    rows = row_lines(values, width)[: (height - len(lines) - 1) // 2 * 2 if height > len(lines) + 2 else 0]
    return [*lines, [], *rows] if rows else lines


def _code_runs(counted: CodeCounts, width: int) -> list[Run]:
    codes = counted.by_magnitude()
    runs = [Run("codes ", MUTED)]
    if len(codes.counts) > 8:
        graph = sparkline(counted.counts, max(8, min(32, width - 30)))
        return [*runs, Run(graph, GRAPH), Run(f"  {counted.names[0]} … {counted.names[-1]}", TEXT)]
    # Few enough to stand beside their own bar; one scale for all of them.
    bars = [sparkline((count, max(codes.counts)), 2)[:1] for count in codes.counts]
    for name, bar in zip(codes.names, bars, strict=True):
        runs += [Run(f" {name.replace('0.', '.')} ", MUTED), Run(bar, GRAPH)]
    return runs


def _beside(parts: Lines, width: int, gap: str = "   ") -> Lines:
    """Parts on one line while they fit."""
    lines: Lines = []
    for part in parts:
        if lines and cells(text_of(lines[-1])) + len(gap) + cells(text_of(part)) <= width:
            lines[-1] = [*lines[-1], Run(gap, BLANK), *part]
        else:
            lines.append(part)
    return [clipped(line, width) for line in lines]


def notes(values: TensorValues) -> list[Run]:
    """What should be mentioned: range and mean of quantised values, dead or saturated groups, NaN, sampling."""
    found: list[Run] = []
    if values.values is None:
        found.append(Run(f"values {span(values.minimum, values.maximum)}", TEXT))
    if values.mean is not None and values.standard_deviation is not None:
        found.append(Run(f"mean {number(values.mean)}", TEXT))
        found.append(Run(f"deviation {number(values.standard_deviation)}", TEXT))
    found += health(values)
    if values.sampled:
        found.append(Run(f"sampled: {percent(values.share)} of its groups", MUTED))
    return found


def health(values: TensorValues) -> list[Run]:
    """Dead and saturated groups, NaN and infinities; "no dead groups" where all is well."""
    found: list[Run] = []
    groups = values.groups
    if groups is not None:
        if groups.dead:
            found.append(Run(f"{groups.dead:,} of {groups.examined:,} groups dead", BAD))
        else:
            found.append(Run("no dead groups", MUTED))
        if groups.saturated:
            share = percent(groups.saturated / groups.examined if groups.examined else 0.0)
            found.append(Run(f"{share} saturated", MUTED))
    scales = values.scales
    for count, what in (
        (values.nan_count, "NaN"),
        (values.infinite_count, "infinite"),
        (scales.nan_count if scales else 0, "NaN scales"),
        (scales.infinite_count if scales else 0, "infinite scales"),
    ):
        if count:
            found.append(Run(f"{count:,} {what}", BAD))
    return found


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
    found: list[Section] = []
    if values.scales is not None:
        scales = values.scales
        odd = ((scales.zero_count, "zero"), (scales.negative_count, "negative"))
        extra = "".join(f" · {count:,} {what}" for count, what in odd if count)
        heading = f"Scales · {scales.format} · {span(scales.minimum, scales.maximum)}{extra}"
        found.append(Section(heading, _histogram(scales.histogram, width)))
    if values.codes is not None:
        found.append(Section(f"Codes · {values.codes.label}", _code_table(values.codes, width)))
    if values.values is not None:
        heading = f"Values · {span(values.minimum, values.maximum)}"
        found.append(Section(heading, _histogram(values.values, width)))
    found.append(Section("Statistics", flowed(notes(values), width)))
    found.append(Section("First rows, beside the words they are packed in", row_lines(values, width)))
    return [section for section in found if section.lines]


def _graph(counts: Sequence[int], left: str, right: str, width: int) -> Lines:
    """Tall bars, and below them what the first and the last stand for."""
    room = min(width, 64)
    lines: Lines = [[Run(line, GRAPH)] for line in tall_bars(counts, room, 5)]
    if lines:
        across = min(room, len(counts) * bar_width(len(counts), room))
        lines.append([Run(left + right.rjust(max(len(right) + 1, across - len(left))), MUTED)])
    return [clipped(line, width) for line in lines]


def _histogram(histogram: Histogram, width: int) -> Lines:
    if not histogram.edges:
        return []
    ends = (histogram.edges[0], histogram.edges[-1])
    left, right = (f"2^{end:g}" if "exponent" in histogram.label else number(end) for end in ends)
    return _graph(histogram.counts, left, right, width)


def _code_table(codes: CodeCounts, width: int) -> Lines:
    if len(codes.counts) > 16:
        return _graph(codes.counts, codes.names[0], codes.names[-1], width)
    whole, peak = max(1, sum(codes.counts)), max(1, *codes.counts)
    length = max(4, min(40, width - 20))
    return [
        clipped(
            [
                Run(f"{name:>6} ", MUTED),
                Run(f"{'▆' * round(length * count / peak):<{length}}", GRAPH),
                Run(f" {percent(count / whole):>8}", TEXT),
            ],
            width,
        )
        for name, count in zip(codes.names, codes.counts, strict=True)
    ]


def row_lines(values: TensorValues, width: int) -> Lines:
    """The first elements of the first rows, dequantised, and the packed words below them."""
    lines: Lines = []
    for row in values.first_rows:
        lines.append(
            clipped([Run(f"row {row.row}  ", MUTED), Run("".join(f"{number(v):>10}" for v in row.values), TEXT)], width)
        )
        words = " ".join(row.words)
        extra = f"  scale {number(row.scale)}" if row.scale is not None else ""
        extra += f"  bias {number(row.bias)}" if row.bias is not None else ""
        lines.append(clipped([Run(f"       {words}{extra}", MUTED)], width))
    return lines
