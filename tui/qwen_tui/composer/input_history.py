"""Earlier inputs, as the arrow keys of the composer walk through them. Pure."""

from collections.abc import Sequence

from qwen_tui.store import Draft

MAX_HISTORY = 500
MAX_CHARACTERS = 50_000
"""Longer inputs of earlier runs are left out: laying them out would hold up the screen, and nobody edits them here."""


class History:
    """Earlier inputs, newest last, and the draft that was being written when the person went looking.

    An input of this run comes back as it stood in the composer: its tokens with the pastes they stand for.
    """

    def __init__(self) -> None:
        self._entries: list[Draft] = []
        self._position: int | None = None
        self._draft = Draft()

    def fill(self, entries: Sequence[str]) -> None:
        """Inputs of earlier runs, oldest first: they go before those of this run."""
        texts = [text for text in entries if text.strip() and len(text) <= MAX_CHARACTERS]
        once = [text for text, before in zip(texts, ["", *texts], strict=False) if text != before]
        self._entries = [*(Draft(text) for text in once), *self._entries][-MAX_HISTORY:]
        self._position = None

    def add(self, entry: Draft) -> None:
        """`entry` was sent, or gave way to something else."""
        if entry.text.strip() and self._entries[-1:] != [entry]:
            self._entries = [*self._entries[-MAX_HISTORY + 1 :], entry]
        self._position = None

    def older(self, current: Draft) -> Draft | None:
        """The entry before the one shown, or None at the oldest."""
        if not self._entries:
            return None
        if self._position is None:
            self._draft = current
            self._position = len(self._entries)
        if self._position == 0:
            return None
        self._position -= 1
        return self._entries[self._position]

    def newer(self) -> Draft | None:
        """The entry after the one shown, at the end the draft, or None when nothing was recalled."""
        if self._position is None:
            return None
        self._position += 1
        if self._position >= len(self._entries):
            self._position = None
            return self._draft
        return self._entries[self._position]
