"""What the screens of the inspector share: the status line, and being told that the conversation went on beneath."""

from textual.screen import Screen

from qwen_core.layout import ModuleLayout
from qwen_tui.conversation import Conversation
from qwen_tui.widgets.inspector_status import InspectorStatus

DRAW_INTERVAL = 0.09  # seconds between drawings while an answer streams


class LayersScreen(Screen[ModuleLayout | None]):
    """Ends with the module that the person was looking at, None where there is none to go back to."""

    def __init__(self, conversation: Conversation) -> None:
        super().__init__()
        self._conversation = conversation
        self.draw_due = False  # a drawing was asked for and has not begun

    @property
    def status(self) -> InspectorStatus:
        return self.query_one(InspectorStatus)

    def request_draw(self) -> None:
        """The conversation went on: draw soon; calls in between are one drawing."""
        if not self.draw_due:
            self.draw_due = True
            self.set_timer(DRAW_INTERVAL, self.draw)

    def draw(self) -> None:
        """Bring what depends on the conversation up to it."""
        self.draw_due = False
        self.status.show(self._conversation)
