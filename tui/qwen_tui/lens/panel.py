"""What stands below the text of the lens: one token and its alternatives, the uncertain places, or the time. Pure."""

from typing import Literal, get_args

from textual.content import Content

from qwen_tui.lens.reading import Reading
from qwen_tui.lens.shades import PREFIX, By, meanings
from qwen_tui.lens.timeline_lines import timeline_lines
from qwen_tui.lens.token_lines import Alternative, alternative_lines, rows_of, token_facts
from qwen_tui.lens.uncertain import place_line

View = Literal["alternatives", "uncertain", "timeline"]
VIEWS: tuple[View, ...] = get_args(View)
NARROW = 60
NOT_KEPT = "How likely these tokens were is not kept: s reads the answer once more."
TO_KEEP = "/set probabilities on has it kept from now on."
ALL_SURE = "Nothing was uncertain here: at no step could anything else be said."
NO_TIMES = "When these tokens came is not kept."


def token_panel(
    reading: Reading, place: int, found: list[Alternative], at: int, width: int, rows: int
) -> list[Content]:
    """The token at `place`, then what else might have stood there, number `at` of these under the cursor."""
    facts = rows_of(token_facts(reading, place), width, 2 if width >= NARROW else 3)
    left = rows - len(facts)
    if not found:
        return [*facts, *_not_kept(width, left)][:rows]
    return [*facts, *alternative_lines(reading, found, at, width, left)] if left > 0 else facts[:rows]


def uncertain_panel(reading: Reading, places: list[int], at: int, width: int, rows: int) -> list[Content]:
    """The uncertain places, number `at` of them under the cursor."""
    if not places:
        return _not_kept(width, rows) if reading.probabilities is None else _said(ALL_SURE, width)
    first = max(0, min(at - rows // 2, len(places) - rows))
    shown = list(enumerate(places))[first : first + rows]
    return [place_line(reading, place, width, cursor=number == at) for number, place in shown]


def time_panel(reading: Reading, place: int, width: int, rows: int) -> list[Content]:
    """The steps as a chart."""
    return timeline_lines(reading, place, width, rows)[:rows] or _said(NO_TIMES, width)


def legend(by: By, width: int) -> Content:
    """What the shades stand for."""
    if by == "nothing":
        return Content("c colours by probability or entropy").truncate(width, ellipsis=True)
    for head, end in ((f"{by} ", " "), ("", " "), ("", "")):
        words = [Content.styled(f" {meaning}{end}", f"{PREFIX}{level}") for level, meaning in enumerate(meanings(by))]
        line = Content.assemble((head, "$muted"), *words)
        if line.cell_length <= width:
            break
    return line.truncate(width)


def _not_kept(width: int, rows: int) -> list[Content]:
    """What can be done about it; from now on too, where there is room to say so."""
    lines = [*_said(NOT_KEPT, width), *_said(TO_KEEP, width)]
    return lines if len(lines) <= rows else _said(NOT_KEPT, width)


def _said(text: str, width: int) -> list[Content]:
    """A sentence in as many rows as it takes."""
    return list(Content(text).wrap(max(1, width)))
