"""How the conversation under the cursor ends, beside the list or below it: its last question and answer."""

from textual.content import Content
from textual.widgets import Static

from qwen_tui.conversation_list.lines import Entry, conversation_of
from qwen_tui.store import Hit, Store
from qwen_tui.text.safe import visible

CHARACTERS = 4000
"""Of each text: more than any screen has room for."""
Said = tuple[tuple[str, str], ...]


def read_preview(store: Store, row: Entry) -> Said:
    """Who said what, in order: the message that was found, or the last question and its answer."""
    if isinstance(row, Hit):
        message = store.tree.message(row.message_id)
        text = message.reasoning if row.part == "reasoning" else message.shown or message.content
        return (("You" if row.role == "user" else "Reasoning" if row.part == "reasoning" else "Answer", text),)
    question, answer = store.tree.ending(conversation_of(row), CHARACTERS)
    return (("You", question), ("Answer", answer))


class Preview(Static):
    """Hidden where the screen has no room for it."""

    def __init__(self) -> None:
        super().__init__(markup=False)

    def show(self, said: Said) -> None:
        parts = [
            Content.assemble((who, "bold $primary" if who == "You" else "bold $secondary"), "\n", body)
            for who, text in said
            if (body := visible(text[:CHARACTERS]).strip())
        ]
        self.update(Content("\n\n").join(parts))
