"""What is being written: the draft of each conversation, and the one that gives way while a question is edited.

A text in the composer is a draft or the new wording of a question. Whatever comes between, neither is lost: it is on
disk, or it comes back with the up key.
"""

from dataclasses import replace

from qwen_tui.app.context import AppContext
from qwen_tui.composer.pastes import Pastes
from qwen_tui.conversation.turns import Turn
from qwen_tui.store import Draft


def whole(draft: Draft) -> str:
    """Its text with its pastes in full."""
    return Pastes(draft.pastes).expand(draft.text)


class Drafts:
    """`editing`: the turn whose question is being edited. The draft before it is set aside meanwhile."""

    def __init__(self, context: AppContext) -> None:
        self._context = context
        self._editor = context.chat.editor
        self.editing: Turn | None = None
        self._aside = Draft()
        self.waiting: list[Draft] = []
        """Messages that wait for an answer to end. On disk they stand before what is being written."""

    def keep(self) -> None:
        """Put what is being written on disk, as this conversation's draft.

        While a draft is set aside that one stays there; else the new wording is kept, so that a crash does not lose it.
        """
        if not self._aside.text:
            draft = self._editor.draft()
            texts = [*map(whole, self.waiting), draft.text]
            self._save(replace(draft, text="\n\n".join(filter(None, texts))))

    def _save(self, draft: Draft) -> None:
        kept = self._context.conversation.kept.id
        self._context.in_store(lambda store: store.writing.save_draft(kept, draft))

    def sent(self, written: str) -> Turn | None:
        """The text in the composer was sent: it is an earlier input now. The turn whose question it is to replace.

        To be called before the first question of a conversation is stored: its draft is that of no conversation.
        """
        turn, aside = self._end_edit()
        self.take(written)
        self._save(aside)
        if aside.text and self._editor.text:  # something else was typed behind Enter
            self._to_history(aside)
        elif aside.text:
            self._editor.set_draft(aside)
        return turn

    def take(self, written: str) -> None:
        """The text in the composer is on its way: an earlier input, here and at a later start."""
        self._context.in_store(lambda store: store.writing.remember(written))
        self._context.chat.take_draft(written)

    # Editing a question.

    def edit(self, turn: Turn) -> None:
        """Put the question of `turn` into the composer; the draft there comes back afterwards."""
        if self.editing is None:
            self.keep()
            self._aside = self._editor.draft()
        self.editing = turn
        place = self._context.conversation.turns.index(turn) + 1
        self._context.chat.composer_banner(f"editing turn {place} · Esc leaves it · Enter asks it anew")
        self._editor.set_text(turn.shown or turn.question)

    def leave_edit(self) -> None:
        """Esc: the question stays as it was, and the draft comes back."""
        turn, aside = self._end_edit()
        if turn is not None:
            self._editor.set_draft(aside)
            self.keep()

    def forget_edit(self) -> None:
        """Another conversation comes: the rewording is this one's draft, or, where that has one, an earlier input."""
        _, aside = self._end_edit()
        if aside.text:
            self._to_history(self._editor.draft())

    def leave_lost_edit(self) -> None:
        """Where the turn being edited is gone: the rewording is the draft now, the draft before it an earlier input."""
        if self.editing is not None and self.editing not in self._context.conversation.items:
            _, aside = self._end_edit()
            self._to_history(aside)

    def _end_edit(self) -> tuple[Turn | None, Draft]:
        """The turn that was being edited, and the draft before it."""
        turn, aside = self.editing, self._aside
        self.editing, self._aside = None, Draft()
        self._context.chat.composer_banner(None)
        return turn, aside

    def _to_history(self, draft: Draft) -> None:
        """Have it come back with the up key, here and at a later start."""
        self._context.in_store(lambda store: store.writing.remember(draft.text))
        self._editor.recall.add(draft)
