"""Growing plain text that stays cheap: what is complete is sealed, so that an update lays out the last part only."""

from textual.content import Content

from qwen_tui.text.block_layout import Block
from qwen_tui.text.marked import Places, marked
from qwen_tui.text.safe import visible
from qwen_tui.widgets.text_lines import TextLines

SEAL_AT = 1500  # characters; wrapping this much ten times a second is not felt


def sealed_length(text: str) -> int:
    """How many characters of the beginning of `text` make a part of their own, 0 while it is short.

    A part ends with a line. Text that never ends its line is parted at a space, or anywhere at all.
    """
    newline = text.find("\n", SEAL_AT)
    if 0 <= newline < 2 * SEAL_AT:
        return newline + 1
    if len(text) < 2 * SEAL_AT:
        return 0
    return text.rfind(" ", SEAL_AT, 2 * SEAL_AT) + 1 or 2 * SEAL_AT


def plain_blocks(text: str) -> tuple[list[Block], int]:
    """`text` as blocks of lines, and how many characters are in those that more text does not change."""
    blocks: list[Block] = []
    sealed = 0
    while length := sealed_length(text[sealed : sealed + 2 * SEAL_AT]):
        blocks.append(_part(text[sealed : sealed + length].removesuffix("\n")))
        sealed += length
    blocks.append(_part(text[sealed:]))
    return blocks, sealed


def _part(text: str) -> Block:
    return Block(Content(visible(text)), gap=None)


class PlainText(TextLines):
    """Untrusted text. `show` takes the whole text each time; a common beginning is not laid out again."""

    def __init__(self, *, classes: str | None = None) -> None:
        super().__init__(classes=classes)
        self._text = ""
        self._sealed = 0  # characters of _text that are in sealed parts
        self._parts = 0  # how many parts that is

    def show(self, text: str, places: Places = ()) -> None:
        """Show all of `text`, with `places` underlined."""
        if places:
            self._text, self._sealed, self._parts = "", 0, 0
            self.set_blocks([Block(marked(text, places), gap=None)])
            return
        if text == self._text:
            return
        if not text.startswith(self._text[: self._sealed]):
            self._sealed = self._parts = 0
        self._text = text
        blocks, sealed = plain_blocks(text[self._sealed :])
        self.set_blocks(blocks, keep=self._parts)
        self._sealed += sealed
        self._parts += len(blocks) - 1
