"""Growing plain text that stays cheap: what is complete is sealed, so that an update lays out the last part only."""

from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Static

from qwen_tui.text import visible

SEAL_AT = 1500  # characters; wrapping this much ten times a second is not felt


class PlainText(Vertical):
    """Untrusted text without markup. `show` takes the whole text each time; a common beginning is not drawn again."""

    DEFAULT_CSS = """
    PlainText { height: auto; }
    PlainText > Static { height: auto; width: 1fr; }
    """

    def __init__(self, *, classes: str | None = None) -> None:
        super().__init__(classes=classes)
        self._text = ""
        self._sealed = 0  # characters of _text that are in sealed parts
        self._last: Static | None = None

    async def show(self, text: str) -> None:
        if text == self._text:
            return
        if not text.startswith(self._text[: self._sealed]):
            await self.remove_children()
            self._sealed, self._last = 0, None
        self._text = text
        while True:
            # A part is whole lines; the newline between two parts is the break between two widgets.
            newline = text.find("\n", self._sealed + SEAL_AT)
            part = text[self._sealed : newline if newline >= 0 else None]
            if self._last is None:
                self._last = Static(Content(visible(part)), markup=False)
                await self.mount(self._last)
            else:
                self._last.update(Content(visible(part)))
            if newline < 0:
                return
            self._sealed, self._last = newline + 1, None
