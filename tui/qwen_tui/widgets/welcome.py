"""What stands where the conversation will be: the model, how far its loading is, and how to begin."""

from textual.content import Content
from textual.widget import Widget

from qwen_tui import formatting
from qwen_tui.conversation import Conversation
from qwen_tui.model_name import model_name
from qwen_tui.text import one_line
from qwen_tui.widgets.header import short_dtype

WORDMARK = (
    "█▀█ █ █ █ █▀▀ █▄ █    ▀█▀ █ █ █",
    "▀▀█ ▀▄▀▄▀ ██▄ █ ▀█ ▀▀  █  █▄█ █",
)


def welcome_lines(conversation: Conversation, pending: str, width: int) -> list[tuple[str, str]]:
    """(text, style) for each centred line."""
    model, progress = conversation.model, conversation.progress
    wordmark = WORDMARK if width >= len(WORDMARK[0]) else ("qwen-tui",)
    lines = [(row, "bold $primary") for row in wordmark] + [("", "")]
    if model is not None and conversation.engine == "ready":
        lines.append((one_line(model_name(model), width), "bold $foreground"))
        size = formatting.size(model.weight_bytes)
        context = formatting.tokens_short(model.context_limit)
        facts = f"{one_line(model.variant, 40)} · {size} · {one_line(model.device, 40)} {short_dtype(model.dtype)}"
        lines.append((facts, "$muted"))
        lines.append((f"context {context} · loaded in {formatting.seconds(model.load_s)}", "$muted"))
        lines += [
            ("", ""),
            ("Ask anything.", "$foreground"),
            ("", ""),
            ("Enter sends · F1 or /help shows keys", "$muted"),
        ]
        return lines
    lines.append((one_line(pending, width), "bold $foreground"))
    if conversation.engine == "loading" and progress is not None:
        if progress.total_bytes:
            lines.append((formatting.bar(progress.done_bytes, progress.total_bytes, min(40, width)), "$accent"))
            amount = formatting.size_of(progress.done_bytes, progress.total_bytes)
            lines.append((f"{amount} · {one_line(progress.stage, 40)}", "$muted"))
        else:
            lines.append((one_line(progress.stage, width), "$muted"))
    elif conversation.engine == "starting":
        lines.append(("starting the engine", "$muted"))
    return lines


class Welcome(Widget):
    """Fills the transcript while it is empty."""

    DEFAULT_CSS = """
    Welcome { width: 1fr; height: 1fr; content-align: center middle; text-align: center; }
    """

    def __init__(self, pending: str) -> None:
        super().__init__()
        self._pending = pending
        self._conversation = Conversation()

    def show(self, conversation: Conversation) -> None:
        self._conversation = conversation
        self.refresh()

    def render(self) -> Content:
        lines = welcome_lines(self._conversation, self._pending, max(8, self.size.width - 4))
        return Content("\n").join([Content.styled(text, style) for text, style in lines])
