"""One layout of the screen for a change of height, not two."""

from typing import ClassVar

from textual.geometry import Size
from textual.reactive import Reactive
from textual.widget import Widget


class OneLayout(Widget):
    """A widget whose size asks for no further layout.

    The toolkit lays the whole screen out and paints it once more after each layout that changed the size of a widget:
    in a streamed answer ten times a second. None of ours depends on its own size but through its layout; scrollbars
    that come or go still ask for one by themselves. Named after a container it is mixed into, whose style counts first.
    """

    virtual_size: ClassVar[Reactive[Size]] = Reactive(Size(0, 0), layout=False, repaint=False)
