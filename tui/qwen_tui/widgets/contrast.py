"""How far apart two colours are, as WCAG 2 has it, and a colour moved until it can be read."""

from textual.color import Color

CONTRAST = 4.5
"""That of WCAG 2 for text."""


def luminance(color: Color) -> float:
    """WCAG 2 relative luminance."""

    def linear(channel: int) -> float:
        share = channel / 255
        return share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4

    return 0.2126 * linear(color.r) + 0.7152 * linear(color.g) + 0.0722 * linear(color.b)


def contrast(one: Color, other: Color) -> float:
    """WCAG 2 contrast ratio, 1 to 21."""
    lighter, darker = sorted((luminance(one), luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def readable(wanted: Color, ground: Color, least: float = CONTRAST) -> Color:
    """`wanted`, or as little away from it towards white or black as `ground` needs."""
    if contrast(wanted, ground) >= least:
        return wanted
    ends = (Color(255, 255, 255), Color(0, 0, 0))
    end = max(ends, key=lambda color: contrast(color, ground))
    for tenths in range(1, 10):
        nearer = wanted.blend(end, tenths / 10)
        if contrast(nearer, ground) >= least:
            return nearer
    return end
