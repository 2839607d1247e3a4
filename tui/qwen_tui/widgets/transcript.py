"""The conversation on screen: one widget an item, following the end until the person scrolls away."""

from textual.app import ComposeResult
from textual.containers import Vertical, VerticalScroll

from qwen_tui.conversation import Conversation, Item, Turn
from qwen_tui.widgets.note import NoteView
from qwen_tui.widgets.turn import TurnView
from qwen_tui.widgets.welcome import Welcome


class Transcript(VerticalScroll, can_focus=False):
    """`sync` makes the widgets those of the conversation's items, touching only what may have changed."""

    DEFAULT_CSS = """
    Transcript { scrollbar-size-vertical: 1; }
    Transcript > .items { height: auto; min-height: 100%; padding: 1 2 0 1; }
    """

    def __init__(self, pending: str) -> None:
        super().__init__()
        self._pending = pending
        self._shown: list[tuple[Item, TurnView | NoteView]] = []

    def compose(self) -> ComposeResult:
        # At least as high as the view: following the end of something shorter would scroll to before its beginning.
        with Vertical(classes="items"):
            yield Welcome(self._pending)

    def on_mount(self) -> None:
        self.anchor()

    async def sync(self, conversation: Conversation) -> None:
        items = conversation.items
        welcome = self.query_one(Welcome)
        welcome.display = not items
        if not items:
            welcome.show(conversation)
        kept: list[tuple[Item, TurnView | NoteView]] = []
        present = {id(item) for item in items}
        for item, view in self._shown:
            if id(item) in present:
                kept.append((item, view))
            else:
                await view.remove()
        known = {id(item) for item, _ in kept}
        for item in items:
            if id(item) not in known:
                view = TurnView(item) if isinstance(item, Turn) else NoteView(item)
                kept.append((item, view))
                await self.query_one(".items").mount(view)
        self._shown = kept
        for _, view in kept:
            if isinstance(view, TurnView):
                await view.show()

    @property
    def following(self) -> bool:
        """Whether the end is in view, so that new text keeps it there."""
        return self.scroll_y >= self.max_scroll_y - 1

    def follow(self) -> None:
        """Go to the end and stay there."""
        self.anchor()

    async def turn_folds(self, open: bool) -> None:
        for _, view in self._shown:
            if isinstance(view, TurnView):
                await view.turn_folds(open)
