"""What the screens of the inspector share: the status line, and being told that the conversation went on beneath."""

from textual import on
from textual.binding import Binding, BindingType
from textual.events import Mount
from textual.screen import Screen

from qwen_core.checkpoint.layout import ModuleLayout
from qwen_tui.conversation.conversation import Conversation
from qwen_tui.layers.status import InspectorStatus
from qwen_tui.widgets.draw_pace import DrawPace

EXPERT_KEYS: list[BindingType] = [
    Binding("left_square_bracket", "expert(-1)", "The expert before", show=False),
    Binding("right_square_bracket", "expert(1)", "The next expert", show=False),
    Binding("left_curly_bracket", "expert(-16)", "16 experts back", show=False),
    Binding("right_curly_bracket", "expert(16)", "16 experts on", show=False),
]


class LayersScreen(Screen[ModuleLayout | None]):
    """Ends with the module that the person was looking at, None where there is none to go back to."""

    def __init__(self, conversation: Conversation) -> None:
        super().__init__()
        self._conversation = conversation
        self.draw_due = False  # a drawing was asked for and has not begun
        self._pace = DrawPace()

    @on(Mount)
    def _set_pace(self) -> None:
        self._pace = DrawPace.for_app(is_headless=self.app.is_headless)

    @property
    def status(self) -> InspectorStatus:
        return self.query_one(InspectorStatus)

    def request_draw(self) -> None:
        """The conversation went on: draw as soon as the pace allows; calls in between are one drawing."""
        if not self.draw_due:
            self.draw_due = True
            self._pace.call(self, self.draw)

    def draw(self) -> None:
        """Bring what depends on the conversation up to it."""
        self.draw_due = False
        self._pace.began()
        self.status.show(self._conversation)
