"""A number three rows high."""

from rich.segment import Segment
from rich.style import Style
from textual.content import Content
from textual.renderables.digits import Digits

from qwen_tui.widgets.styled_rows import Rows


def large(value: str) -> list[Content]:
    """The three rows of `value`, in the toolkit's shapes."""
    segments = [segment for segment in Digits(value).render(Style.null()) if isinstance(segment, Segment)]
    return [Content(line) for line in "".join(segment.text for segment in segments).splitlines()]


class LargeDigits(Rows):
    """`update` takes what is to be read. Rows that stay the same are not drawn again."""

    def __init__(self, value: str) -> None:
        super().__init__()
        self.value = ""
        self.update(value)

    def update(self, value: str) -> None:
        if value != self.value:
            self.value = value
            self.show(large(value))
