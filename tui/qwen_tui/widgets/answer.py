"""The answer of a turn: finished blocks as markdown, the block being written as plain text, at the end all as markdown.

Parsing markdown for every token would cost a large part of a core; a block that can no longer change is parsed once.
"""

from dataclasses import replace
from typing import Any

from qwen_tui.blocks import finished_length
from qwen_tui.markdown_blocks import parse_markdown
from qwen_tui.text import visible
from qwen_tui.text_blocks import Block
from qwen_tui.widgets.plain import plain_blocks
from qwen_tui.widgets.text_lines import TextLines

LOOK_AGAIN = 4000  # characters of an open block from which on its end is looked for only as it grows by an eighth


class Answer(TextLines):
    """`show` takes the whole answer so far, `finish` the whole answer."""

    DEFAULT_CSS = """
    Answer { margin: 0 0 1 0; }
    """

    def __init__(self) -> None:
        super().__init__()
        self._begin()

    def _begin(self) -> None:
        self._text = ""
        self._done = 0  # characters of _text that are in finished blocks
        self._done_blocks = 0
        self._open_done = 0  # of the characters after those, how many are in parts that do not change
        self._open_blocks = 0
        self._look_at = 0
        self._references: dict[str, Any] = {}

    def show(self, text: str) -> None:
        """Draw the answer so far."""
        text = visible(text)
        if text == self._text:
            return
        if not text.startswith(self._text):
            self._begin()
        self._text = text
        keep = self._done_blocks + self._open_blocks
        blocks: list[Block] = []
        rest = text[self._done :]
        if len(rest) >= self._look_at:
            newly = finished_length(rest)
            self._look_at = 0 if newly or len(rest) < LOOK_AGAIN else len(rest) * 9 // 8
            if newly:
                keep = self._done_blocks
                blocks = parse_markdown(rest[:newly], self._references)
                self._done += newly
                self._done_blocks += len(blocks)
                self._open_done = self._open_blocks = 0
                rest = rest[newly:]
        rest = rest[self._open_done :].rstrip("\n")
        if rest.strip():
            begins = self._open_done == 0
            lead = len(rest) - len(rest.lstrip("\n")) if begins else 0
            plain, sealed = plain_blocks(rest[lead:])
            if begins:
                plain[0] = replace(plain[0], gap=())
            if sealed:
                self._open_done += lead + sealed
                self._open_blocks += len(plain) - 1
            blocks += plain
        self.set_blocks(blocks, keep=keep)

    def finish(self, text: str) -> None:
        """Draw the whole answer as its markdown reads with everything known."""
        text = visible(text)
        if not text.startswith(self._text):
            self._begin()
        rest = parse_markdown(text[self._done :], self._references)
        if self._references:  # defined anywhere, a link may be meant anywhere
            self._done_blocks = 0
            rest = parse_markdown(text)
        self.set_blocks(rest, keep=self._done_blocks)
        self._begin()
