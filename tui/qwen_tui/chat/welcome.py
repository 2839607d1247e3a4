"""What stands where the conversation will be: the model, how far its loading is, and how to begin."""

from textual.content import Content
from textual.widget import Widget

from qwen_core.figures import size_of, tokens_short
from qwen_tui.conversation.conversation import Conversation
from qwen_tui.text import formatting
from qwen_tui.text.safe import one_line

WORDMARK = (
    "█▀█ █ █ █ █▀▀ █▄ █    ▀█▀ █ █ █",
    "▀▀█ ▀▄▀▄▀ ██▄ █ ▀█ ▀▀  █  █▄█ █",
)

EXAMPLES = (
    "Explain NVFP4 vs MXFP4 quantization.",
    "What is the capital of Japan, and how many people live there?",
    "Why must decoding read every weight for each token?",
)
"""Questions to begin with: the bundled model knows the first two kinds."""

# What to type, how to stop, where to look: said once. The second form is for narrow terminals.
GUIDANCE = (
    (
        "Type a question, or press Tab for an example.",
        "Enter sends, Ctrl+J is a new line.",
        "Esc stops an answer, Ctrl+C twice leaves.",
        "F1 or /help shows the keys, /settings the settings.",
    ),
    (
        "Tab writes an example question",
        "Enter sends, Ctrl+J: new line",
        "Esc stops, Ctrl+C twice leaves",
        "F1 help, /settings settings",
    ),
)
_BLANK = Content("")


def welcome_lines(conversation: Conversation, pending: str, width: int, first: bool = False) -> list[Content]:
    """The centred lines. `first`: with the guidance of a first start."""
    model, progress = conversation.model, conversation.progress
    wordmark = WORDMARK if width >= len(WORDMARK[0]) else ("qwen-tui",)
    lines = [Content.styled(row, "bold $primary") for row in wordmark] + [_BLANK]
    wide, narrow = GUIDANCE
    fitting = wide if width >= max(map(len, wide)) else narrow
    guidance = [Content.styled(line, "$foreground") for line in fitting] if first else []
    if model is not None and conversation.engine == "ready":
        lines.append(Content.styled(one_line(model.name, width), "bold $foreground"))
        size = formatting.model_size(model)
        context = tokens_short(model.context_limit)
        where = f"{one_line(model.device, 40)} {formatting.short_dtype(model.dtype)}"
        facts = f"{one_line(model.variant, 40)} · {size} · {where}"
        lines.append(Content.styled(facts, "$muted"))
        lines.append(Content.styled(f"context {context} · loaded in {formatting.seconds(model.load_s)}", "$muted"))
        lines += [_BLANK, Content.styled("Ask anything.", "bold $foreground" if first else "$foreground"), _BLANK]
        lines += guidance or [Content.styled("Enter sends · F1 or /help shows keys", "$muted")]
        return lines
    lines.append(Content.styled(one_line(pending, width), "bold $foreground"))
    if conversation.engine == "loading" and progress is not None:
        if progress.total_bytes:
            bar = formatting.bar(progress.done_bytes, progress.total_bytes, min(40, width))
            lines.append(Content.styled(bar, "$accent"))
            amount = size_of(progress.done_bytes, progress.total_bytes)
            lines.append(Content.styled(f"{amount} · {one_line(progress.stage, 40)}", "$muted"))
        else:
            lines.append(Content.styled(one_line(progress.stage, width), "$muted"))
    elif conversation.engine == "starting":
        lines.append(Content.styled("starting the engine", "$muted"))
    return [*lines, _BLANK, *guidance] if guidance else lines


def fitted(lines: list[Content], height: int) -> list[Content]:
    """Without the wordmark, then without blank lines, where there is no room for all."""
    if len(lines) > height and _BLANK in lines:
        lines = lines[lines.index(_BLANK) + 1 :]
    return lines if len(lines) <= height else [line for line in lines if line != _BLANK]


class Welcome(Widget):
    """Fills the transcript while it is empty."""

    DEFAULT_CSS = """
    Welcome { width: 1fr; height: 1fr; content-align: center middle; text-align: center; }
    """

    def __init__(self, pending: str) -> None:
        super().__init__()
        self._pending = pending
        self._conversation = Conversation()
        self._first = False

    def greet(self) -> None:
        """Show the guidance of a first start as well."""
        self._first = True
        self.refresh()

    def show(self, conversation: Conversation) -> None:
        self._conversation = conversation
        self.refresh()

    def render(self) -> Content:
        lines = welcome_lines(self._conversation, self._pending, max(8, self.size.width - 4), self._first)
        return Content("\n").join(fitted(lines, self.size.height))
