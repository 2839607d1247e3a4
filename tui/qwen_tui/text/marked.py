"""Text with some of its places underlined, which reads without colour."""

from collections.abc import Sequence

from textual.content import Content

from qwen_tui.text.safe import visible

Places = Sequence[tuple[int, int]]
"""(begin, end) of each, in order, in characters of the text as it came."""
MARK = "underline $accent"


def marked(text: str, places: Places) -> Content:
    """`text` made fit for a screen, `places` underlined."""
    parts: list[Content] = []
    done = 0
    for begin, end in places:
        parts += [Content(visible(text[done:begin])), Content.styled(visible(text[begin:end]), MARK)]
        done = end
    return Content("").join([*parts, Content(visible(text[done:]))])
