"""A line of the program's own in the transcript: a notice, or an error with its cause."""

from textual.content import Content
from textual.widgets import Static

from qwen_tui.conversation.conversation import Note
from qwen_tui.text.safe import visible


class NoteView(Static):
    """Drawn once; notes do not change."""

    DEFAULT_CSS = """
    NoteView { height: auto; margin: 0 2 1 1; padding: 0 1; color: $muted; border-left: outer $panel; }
    NoteView.-error { color: $error; border-left: outer $error; }
    """

    def __init__(self, note: Note) -> None:
        mark = "✕ " if note.kind == "error" else ""
        super().__init__(Content(mark + visible(note.text)), markup=False)
        self.item = note
        self.set_class(note.kind == "error", "-error")
