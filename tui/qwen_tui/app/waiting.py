"""Messages that were sent while an answer was coming: each is asked once the one before it is answered."""

from collections.abc import Awaitable, Callable

from qwen_core.protocol.events import EngineDied, Event, LoadFailed, TurnDone, TurnFailed
from qwen_tui.app.context import AppContext
from qwen_tui.app.drafts import Drafts
from qwen_tui.text.safe import one_line


class Waiting:
    """`ask` asks the next one, and says whether it could. The texts are the drafts' to keep, until then."""

    def __init__(self, context: AppContext, drafts: Drafts, ask: Callable[[str], Awaitable[bool]]) -> None:
        self._context = context
        self._drafts = drafts
        self._ask = ask

    @property
    def takes(self) -> bool:
        """Whether a message has to wait now: an answer comes, and no earlier question is being edited meanwhile."""
        return self._context.conversation.current is not None and self._drafts.editing is None

    def add(self, written: str) -> None:
        """Have what is written in the composer wait, pastes in full."""
        self._drafts.waiting.append(self._context.chat.editor.pastes.expand(written))
        self._context.chat.take_draft(written)
        self._changed()

    def take_back(self) -> bool:
        """Esc: the last one is in the composer again, before what is written there. Whether there was one."""
        if not self._drafts.waiting:
            return False
        self._return(self._drafts.waiting.pop())
        return True

    def next(self, event: Event) -> str | None:
        """The one to ask now, where `event` ends an answer; all come back where that was stopped or failed."""
        match event:
            case TurnDone(finish_reason=reason) if reason != "cancelled" and self._drafts.waiting:
                text = self._drafts.waiting.pop(0)
                self._changed()
                return text
            case TurnDone() | TurnFailed() | EngineDied() | LoadFailed():
                self._all_back()
            case _:
                pass
        return None

    async def ask(self, text: str) -> None:
        """Ask what has waited. What cannot be asked is in the composer again, with all that waits behind it."""
        if not await self._ask(text):
            self._drafts.waiting.insert(0, text)
            self._all_back()

    def _all_back(self) -> None:
        while self.take_back():
            pass

    def _return(self, text: str) -> None:
        editor = self._context.chat.editor
        editor.set_text("\n\n".join(part for part in (text, editor.text) if part))
        self._changed()

    def _changed(self) -> None:
        texts = self._drafts.waiting
        said = None
        if texts:
            more = f" and {len(texts) - 1} more" if len(texts) > 1 else ""
            said = f"next: {one_line(texts[0], 40)}{more} · Esc takes back what waits"
        self._context.chat.composer_banner(said)
        self._drafts.keep()
