"""The top line: the program, the model and where it runs, and at the right what the engine is doing."""

from textual.content import Content
from textual.widget import Widget

from qwen_core.protocol.events import ModelSummary
from qwen_tui.conversation.conversation import Phase
from qwen_tui.text import formatting
from qwen_tui.text.safe import cells, visible
from qwen_tui.widgets.phase_look import PHASES


def model_pieces(model: ModelSummary) -> list[str]:
    """The facts of the header line, the most telling first: of several ranks, that there are several."""
    name, variant, size = visible(model.name), visible(model.variant), formatting.model_size(model)
    device = f"{visible(model.device)} {formatting.short_dtype(model.dtype)}"
    return [name, size, variant, device] if model.hosts else [name, variant, size, device]


class Header(Widget):
    """Drawn as one line whatever the width: the model's facts give way from the right, the state never does."""

    DEFAULT_CSS = """
    Header { height: 1; padding: 0 1; background: $surface; }
    """

    def __init__(self, pending: str) -> None:
        super().__init__()
        self._pieces = [visible(pending)]
        self._model: ModelSummary | None = None  # whose facts the pieces are
        self._phase: Phase = "starting"

    def show(self, model: ModelSummary | None, phase: Phase) -> None:
        # Asked at every drawing, told anew once a model.
        pieces = self._pieces if model is None or model is self._model else model_pieces(model)
        self._model = model
        if (pieces, phase) != (self._pieces, self._phase):
            self._pieces, self._phase = pieces, phase
            self.refresh()

    def render(self) -> Content:
        width = self.content_size.width
        look = PHASES[self._phase]
        state = f"{look.glyph} {look.word}"
        brand = "qwen-tui"
        room = width - cells(brand) - cells(state) - 4
        facts = formatting.fit(self._pieces, room) if room > 3 else ""
        gap = max(1, width - cells(brand) - 2 - cells(facts) - cells(state))
        first, *rest = facts.split(" · ", 1)
        return Content.assemble(
            (brand, "bold $primary"),
            "  ",
            (first, "bold $foreground"),
            (f" · {rest[0]}" if rest else "", "$muted"),
            " " * gap,
            (state, look.style),
        )
