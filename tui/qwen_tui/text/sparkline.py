"""Counts as one line of bars. Plain text of plain numbers, so that a screen needs nothing else to draw with it."""

from collections.abc import Sequence

BARS = "▁▂▃▄▅▆▇█"


def sparkline(counts: Sequence[int], width: int) -> str:
    """Bars of eight heights, scaled to the largest: at most `width` characters, at most one for each count.

    With more counts than characters each character takes its share of the counts under it, in whole numbers, so that
    a flat histogram stays flat. Nothing is a space, and something, however little, at least the lowest bar.
    """
    cells = min(width, len(counts))
    if cells <= 0:
        return ""
    # Cell k covers [k * len(counts), (k + 1) * len(counts)) where each count is `cells` wide.
    heights = [0] * cells
    for index, count in enumerate(counts):
        begin, end = index * cells, (index + 1) * cells
        for cell in range(begin // len(counts), (end - 1) // len(counts) + 1):
            overlap = min(end, (cell + 1) * len(counts)) - max(begin, cell * len(counts))
            heights[cell] += count * overlap
    peak = max(heights)
    return "".join(BARS[(8 * height + peak - 1) // peak - 1] if height > 0 else " " for height in heights)
