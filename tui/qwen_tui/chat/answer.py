"""The answer of a turn as markdown: its finished blocks while it is written, at the end all of it.

Parsing markdown for every token would cost a large part of a core; a block that can no longer change is parsed once.
The block that is being written is left to a widget of its own: then most rows on the screen are not drawn again.
"""

from qwen_tui.text.block_layout import Block
from qwen_tui.text.finished_blocks import finished_length
from qwen_tui.text.markdown import parse_markdown
from qwen_tui.text.marked import Places, marked
from qwen_tui.text.safe import visible
from qwen_tui.widgets.text_lines import TextLines

LOOK_AGAIN = 4000  # characters of an open block from which on its end is looked for only as it grows by an eighth


class AnswerView(TextLines):
    """`show` and `show_marked` take the whole answer so far, `finish` the whole answer."""

    DEFAULT_CSS = """
    AnswerView { margin: 0 0 1 0; }
    """

    def __init__(self) -> None:
        super().__init__()
        self._begin()

    def _begin(self) -> None:
        self._text = ""
        self._done = 0  # characters of _text that are in finished blocks
        self._done_blocks = 0
        self._look_at = 0

    def show(self, text: str) -> str:
        """Draw the finished blocks of the answer so far. Returns the rest: the block that is being written."""
        text = visible(text)
        if not self._text or not text.startswith(self._text):
            self._begin()
            self.set_blocks([])
        self._text = text
        rest = text[self._done :]
        if len(rest) >= self._look_at:
            newly = finished_length(rest)
            self._look_at = 0 if newly or len(rest) < LOOK_AGAIN else len(rest) * 9 // 8
            if newly:
                blocks = parse_markdown(rest[:newly])
                self.set_blocks(blocks, keep=self._done_blocks)
                self._done += newly
                self._done_blocks += len(blocks)
        self.display = bool(self._done_blocks)
        return text[self._done :].strip("\n")

    def show_marked(self, text: str, places: Places) -> None:
        """Draw the whole answer so far as the model wrote it, with `places` underlined."""
        self._begin()
        self.set_blocks([Block(marked(text, places))])
        self.display = True

    def finish(self, text: str) -> None:
        """Draw the whole answer as its markdown reads with everything known."""
        text = visible(text)
        if not text.startswith(self._text):
            self._begin()
        rest = parse_markdown(text[self._done :])
        self.set_blocks(rest, keep=self._done_blocks)
        self.display = bool(text.strip())
        self._begin()
