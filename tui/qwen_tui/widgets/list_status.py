"""The two lowest lines of the list of conversations: the row under the cursor or a word to the person, and the keys."""

from collections.abc import Sequence

from textual.content import Content
from textual.events import Click
from textual.widget import Widget

from qwen_tui.text.formatting import fit
from qwen_tui.text.safe import cells, one_line
from qwen_tui.widgets.key_hints import key_line, pressed

MAX_WORD = 400


class ListStatus(Widget):
    """What was done or what went wrong, until the person goes on; else what is known of the row."""

    DEFAULT_CSS = """
    ListStatus { height: 1; padding: 0 1; color: $muted; }
    """

    def __init__(self) -> None:
        super().__init__()
        self._detail: list[str] = []
        self._word, self._failed = "", False

    @property
    def flash_text(self) -> str:
        return self._word

    def flash(self, text: str) -> None:
        """Say something in place of the details."""
        self._word, self._failed = one_line(text, MAX_WORD), False
        self.refresh()

    def fail(self, text: str) -> None:
        """The same for what went wrong."""
        self._word, self._failed = f"✕ {one_line(text, MAX_WORD)}", True
        self.refresh()

    def clear_flash(self) -> None:
        if self._word:
            self._word = ""
            self.refresh()

    def show(self, detail: Sequence[str]) -> None:
        self._detail = list(detail)
        self.refresh()

    def render(self) -> Content:
        width = self.content_size.width
        if self._word:
            return Content.styled(fit([self._word], width), "$error" if self._failed else "$accent")
        return Content(fit(self._detail, width))


class ListKeys(Widget):
    """The keys that matter now, the most needed first; where not all fit, the last one says where the others are."""

    DEFAULT_CSS = """
    ListKeys { height: 1; padding: 0 1; color: $muted; background: $surface; }
    """

    def __init__(self) -> None:
        super().__init__()
        self._keys: tuple[str, ...] = ()

    def show(self, *keys: str) -> None:
        if keys != self._keys:
            self._keys = keys
            self.refresh()

    def render(self) -> Content:
        width, keys = self.content_size.width, list(self._keys)
        while len(keys) > 1 and cells("  ".join(keys)) > width:
            keys.pop(-2)
        return key_line(keys).truncate(width, ellipsis=True)

    def on_click(self, event: Click) -> None:
        if key := pressed(event):
            event.stop()
            self.app.simulate_key(key)
