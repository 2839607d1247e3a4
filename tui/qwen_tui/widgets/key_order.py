"""Keys act on a text field in the order in which they were pressed.

The toolkit's fields insert a letter as soon as they get its key, but send a key that is bound, such as Backspace or
Ctrl+U, up to the app, which calls the action when it comes to it. Letters that were typed meanwhile are in the text by
then, and Ctrl+U deletes them too (Textualize/textual#6605).
"""

from textual.events import Key
from textual.widget import Widget
from textual.widgets import Input


async def act_in_order(field: Widget, event: Key) -> None:
    """Do what the key is bound to on `field` itself, now that the field has got it; to be called in its `on_key`.

    Everything else stays as it is: a key with priority never comes to a field, and one that is bound further out goes
    on to there.
    """
    if event.is_printable:  # most keys, and none is bound on a field
        return
    active = field.screen.active_bindings.get(event.key)
    if active is not None and active.enabled and active.node is field:
        event.stop()
        await field.app.run_action(active.binding.action, field)


class OneLine(Input):
    """The toolkit's field for one line."""

    async def on_key(self, event: Key) -> None:
        await act_in_order(self, event)
