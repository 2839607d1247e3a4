"""The two fields of the list of conversations: what it is searched by, with the keys of its rows, and a title."""

from typing import ClassVar

from textual.binding import Binding, BindingType

from qwen_tui.widgets.key_order import OneLine
from qwen_tui.widgets.picker import PickField


class SearchField(PickField):
    """Letters search. What is done with the row has keys that no word begins with, and that terminals pass on."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "screen.open", "Resume", show=False),
        Binding("delete,ctrl+d", "screen.delete", "Delete; Ctrl+Z brings it back", show=False),
        Binding("ctrl+z", "screen.undo", "Bring the last deleted one back", show=False),
        Binding("ctrl+r", "screen.rename", "Rename", show=False),
        Binding("ctrl+t", "screen.pin", "Pin", show=False),
        Binding("tab", "screen.model", "Filter by model", show=False),
        Binding("ctrl+o", "screen.export", "Export as Markdown", show=False),
    ]


class TitleField(OneLine):
    """A title while it is changed. Down leaves it, as Tab does."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("down", "screen.leave_title", "Leave the title", show=False)]
