"""How the inspector divides a terminal of any size: columns, rows and what is left for the details. Pure."""

from dataclasses import dataclass

from qwen_tui.layers.legend import MOST, WIDTH
from qwen_tui.layers.map_text import MARGIN

MAX_PITCH = 3
_CHROME = 4  # header, headline, rule, status
_LEAST_DETAIL, _DETAIL = 3, 5


@dataclass(frozen=True)
class Arrangement:
    """Sizes in terminal cells. `rows`: lines for the map below its axis. A legend is beside, below, or left out."""

    pitch: int
    shown: int
    rows: int
    small: bool
    headings: bool
    legend_width: int
    legend_height: int
    detail: int


def arrange(width: int, height: int, columns: int, matrices: int, smalls: int, small: bool | None) -> Arrangement:
    """The arrangement for `columns` layers, so many rows of matrices (mixer and ends included) and of small tensors.

    `small`: whether the small tensors are wanted; None leaves it to the room there is.
    """
    room = max(1, width - MARGIN - 1)
    pitch, legend_width = 1, 0
    for wanted in range(MAX_PITCH, 0, -1):
        beside = width - MARGIN - wanted * columns - 2
        if beside >= WIDTH:
            pitch, legend_width = wanted, min(MOST, beside)
            break
    if not legend_width:
        pitch = next((wanted for wanted in range(MAX_PITCH, 1, -1) if wanted * columns <= room), 1)
    shown = min(columns, room // pitch)

    lines = max(1, height - _CHROME - 1)  # the axis is always there
    legend_height = 0 if legend_width or lines < 10 else 2 if lines >= 20 else 1
    lines -= legend_height
    gaps = 4
    wants_small = small if small is not None else lines >= matrices + smalls + gaps + 1 + _DETAIL + 3
    rows = matrices + (smalls if wants_small else 0)
    headings = lines >= rows + gaps + wants_small + _DETAIL
    rows += gaps + wants_small if headings else 0
    least = _LEAST_DETAIL + (lines >= 14) if lines >= 8 else max(0, lines - 4)
    rows = max(1, min(rows, lines - least))
    return Arrangement(pitch, shown, rows, wants_small, headings, legend_width, legend_height, max(0, lines - rows))
