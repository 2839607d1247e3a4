"""The answer of a turn: finished blocks as markdown, the block being written as plain text, at the end all as markdown.

Parsing markdown for every token would cost a large part of a core; a block that can no longer change is parsed once.
"""

from textual import on
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.message import Message
from textual.widgets import Markdown

from qwen_tui.blocks import answer_parser, finished_length
from qwen_tui.text import visible
from qwen_tui.widgets.plain import PlainText


class Answer(Vertical):
    """`show` takes the whole answer so far, `finish` the whole answer. How markdown looks is in chat.tcss."""

    DEFAULT_CSS = """
    Answer { height: auto; }
    Answer PlainText { margin: 0 0 1 0; }
    """

    class LinkChosen(Message):
        """A link of the answer was clicked. Nothing is opened: the address came from a model."""

        def __init__(self, address: str) -> None:
            super().__init__()
            self.address = address

    def __init__(self) -> None:
        super().__init__()
        self._text = ""
        self._finished = 0  # characters of _text that are in the markdown widget
        self._final = False

    def compose(self) -> ComposeResult:
        yield Markdown(parser_factory=answer_parser, open_links=False)
        yield PlainText()

    async def show(self, text: str) -> None:
        """Draw the answer so far; calls after `finish` are for the same text and do nothing."""
        text = visible(text)
        if self._final or text == self._text:
            return
        self._text = text
        newly = finished_length(text[self._finished :])
        if newly:
            await self.query_one(Markdown).append(text[self._finished : self._finished + newly])
            self._finished += newly
        plain = self.query_one(PlainText)
        rest = text[self._finished :].rstrip("\n")
        plain.display = bool(rest.strip())
        await plain.show(rest)

    async def finish(self, text: str) -> None:
        """Draw the whole answer, once, as its markdown reads with everything known."""
        if self._final:
            return
        self._final = True
        plain = self.query_one(PlainText)
        with self.app.batch_update():
            await self.query_one(Markdown).update(visible(text))
            await plain.remove()

    @on(Markdown.LinkClicked)
    def _link(self, event: Markdown.LinkClicked) -> None:
        event.stop()
        self.post_message(self.LinkChosen(event.href))
