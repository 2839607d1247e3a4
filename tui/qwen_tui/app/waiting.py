"""Messages that were sent while an answer was coming: each is asked once the one before it is answered."""

from qwen_core.protocol.events import EngineDied, Event, Loaded, LoadFailed, TurnDone, TurnFailed
from qwen_tui.app.context import AppContext
from qwen_tui.app.drafts import Drafts, whole
from qwen_tui.app.turn_actions import TurnActions
from qwen_tui.composer.pastes import Pastes
from qwen_tui.composer.slash import MessageText, parse_input
from qwen_tui.conversation.turns import Turn
from qwen_tui.store import Draft
from qwen_tui.text.safe import one_line


class Waiting:
    """Until they are asked they are the drafts' to keep."""

    def __init__(self, context: AppContext, drafts: Drafts, turns: TurnActions) -> None:
        self._context = context
        self._drafts = drafts
        self._turns = turns

    @property
    def takes(self) -> bool:
        """Whether a message has to wait now: an answer comes, and no earlier question is being edited."""
        return self._context.conversation.current is not None and self._drafts.editing is None

    def add(self, written: str) -> None:
        """Have what is written in the composer wait."""
        self._drafts.waiting.append(Draft(written, self._context.chat.editor.pastes.kept(written)))
        self._drafts.take(written)
        self._changed()

    def take_back(self) -> bool:
        """Esc: the last one is in the composer again, before what is written there. Whether there was one."""
        if not self._drafts.waiting:
            return False
        self._return(self._drafts.waiting.pop())
        return True

    def next(self, event: Event, turn: Turn | None) -> Draft | None:
        """The one to ask now, where `event` ends an answer; all come back where that was stopped or failed.

        `turn` is what was being answered: its question comes back before them where it was not taken up. Behind a
        summary they wait on, until there is a conversation that begins with it: see `after_summary`.
        """
        waiting = self._drafts.waiting
        match event:
            case TurnDone() if turn is not None and turn.aside:
                pass
            case TurnDone(finish_reason=reason) if reason not in ("cancelled", "context") and waiting:
                return self._first()
            case TurnDone() | TurnFailed() | EngineDied() | Loaded() | LoadFailed():  # nothing waits across a load
                question = turn.shown or turn.question if turn is not None and turn.comes_back else ""
                if question and waiting:
                    waiting.insert(0, Draft(question))
                elif question:
                    self._context.chat.offer_draft(question)
                self._all_back()
            case _:
                pass
        return None

    def after_summary(self, *, good: bool) -> Draft | None:
        """The one to ask now that the conversation goes on behind a summary, or, where there is none, as it was."""
        if not good:
            self._all_back()
        return self._first() if self._drafts.waiting else None

    def _first(self) -> Draft:
        draft = self._drafts.waiting.pop(0)
        self._changed()
        return draft

    async def ask(self, draft: Draft) -> None:
        """Ask what has waited. What cannot be asked is in the composer again, with all that waits behind it."""
        parsed = parse_input(draft.text)
        text = parsed.text if isinstance(parsed, MessageText) else draft.text
        if not await self._turns.submit(text, None, Pastes(draft.pastes)):
            self._drafts.waiting.insert(0, draft)
            self._all_back()

    def _all_back(self) -> None:
        while self.take_back():
            pass

    def _return(self, draft: Draft) -> None:
        editor = self._context.chat.editor
        if editor.text:  # whose pastes may have the same numbers
            editor.set_text(f"{whole(draft)}\n\n{editor.text}")
        else:
            editor.set_draft(draft)
        self._changed()

    def _changed(self) -> None:
        drafts = self._drafts.waiting
        said = None
        if drafts:
            wait = "1 waits" if len(drafts) == 1 else f"{len(drafts)} wait"
            said = f"{wait} (Esc takes back): {one_line(drafts[0].text, 100)}"
        self._context.chat.composer_banner(said)
        self._drafts.keep()
