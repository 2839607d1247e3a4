"""How sure is shown: a level from 0 (sure) to 5 for each token, and what a level looks like in a theme. Pure.

The less sure, the further its ground is from the background; text on it keeps the contrast that is asked of text. Where
there is no colour to tell, or only those of a terminal that nobody here knows, a level is told by lines.
"""

import math
from collections.abc import Sequence
from typing import Literal, get_args

from textual.color import Color
from textual.style import Style
from textual.theme import Theme

from qwen_core.figures import whole_percent
from qwen_tui.widgets.contrast import CONTRAST, contrast, readable

By = Literal["probability", "entropy", "nothing"]
"""What the tokens are coloured by."""
BYS: tuple[By, ...] = get_args(By)
LEVELS = 6
LIKELY = (0.9, 0.6, 0.3, 0.1, 0.01)
"""Probabilities below which the levels 1 to 5 begin."""
OPEN = (0.1, 0.5, 1.0, 2.0, 3.0)
"""Entropies, in nats, above which they begin."""
UNKNOWN = 0
PREFIX = "lens "
_TINTS = (0.12, 0.22, 0.32, 0.44, 0.92)
_HIGH = 7.0  # the contrast of themes whose own text keeps it
# Told without colour: more lines, and heavier, the less sure.
_LINES = ("", "", "underline", "underline", "bold underline", "bold italic underline")


def likely_level(logprob: float) -> int:
    """Of a token with this log-probability."""
    probability = math.exp(min(0.0, logprob))
    return sum(probability < bound for bound in LIKELY)


def open_level(entropy: float) -> int:
    """Of a step with this entropy, in nats."""
    return sum(entropy > bound for bound in OPEN)


def levels(by: By, logprobs: Sequence[float], entropies: Sequence[float]) -> list[int]:
    """One for each token."""
    if by == "probability":
        return [likely_level(logprob) for logprob in logprobs]
    return [open_level(entropy) for entropy in entropies] if by == "entropy" else [UNKNOWN] * len(logprobs)


def meanings(by: By) -> list[str]:
    """What each level stands for, in the words of a legend: the unit once."""
    if by == "probability":
        return [f"≥ {whole_percent(LIKELY[0])}", *(f"< {100 * bound:g}" for bound in LIKELY)]
    return [f"≤ {OPEN[0]:g} nats", *(f"> {bound:g}" for bound in OPEN)]


class Shades:
    """What the levels look like in one theme; `plain`: without colour."""

    def __init__(self, theme: Theme, *, plain: bool = False) -> None:
        self._theme = theme
        self._plain = plain or theme.ansi
        self._styles = {f"{PREFIX}{level}": self._style(level) for level in range(LEVELS)}

    def style(self, name: str) -> Style | None:
        """The style of a level by its name; None for the name of anything else."""
        return self._styles.get(name)

    def colours(self, level: int) -> tuple[Color, Color]:
        """(text, ground) of a level, in a theme that has colours of its own."""
        text, background, accent = (
            Color.parse(getattr(self._theme, name) or self._theme.primary)
            for name in ("foreground", "background", "accent")
        )
        least = _HIGH if contrast(text, background) >= 2 * _HIGH else CONTRAST
        ground = background.blend(accent, _TINTS[level - 1]) if level else background
        return readable(background if level == LEVELS - 1 else text, ground, least), ground

    def _style(self, level: int) -> Style:
        if not level:
            return Style()
        lines = Style.parse(_LINES[level]) if self._plain else Style()
        if self._theme.ansi:
            hue = self._theme.warning if level < 4 else self._theme.error
            return lines + Style(foreground=Color.parse(hue or self._theme.primary))
        text, ground = self.colours(level)
        return lines + Style(foreground=text, background=ground)
