"""Hints at keys, "⏎ send  ^P commands", on one line: a click on one presses its key."""

from collections.abc import Sequence

from textual.content import Content
from textual.events import Click
from textual.style import Style

PRESS = "press"
"""The name in a style's meta under which a hint carries its key."""
_KEYS = {
    "⏎": "enter",
    "Esc": "escape",
    "Del": "delete",
    "⌫": "backspace",
    "Tab": "tab",
    "/": "slash",
    "↑": "up",
    "↓": "down",
}
GAP = "  "


def key_of(hint: str) -> str:
    """The key that a hint begins with, as the toolkit calls it; "" where it names none, or several."""
    name = hint.partition(" ")[0]
    if len(name) == 2 and name[0] == "^":
        return f"ctrl+{name[1].lower()}" if name[1].isalpha() else ""
    if name[:1] == "F" and name[1:].isdecimal():
        return name.lower()
    if len(name) == 1 and name.isascii() and name.isalpha():
        return name
    return _KEYS.get(name, "")


def key_line(hints: Sequence[str]) -> Content:
    """All of `hints`, each with its key."""
    return Content(GAP).join(
        Content(hint).stylize(Style.from_meta({PRESS: key})) if (key := key_of(hint)) else Content(hint)
        for hint in hints
    )


def pressed(event: Click) -> str:
    """The key of the hint that was clicked; "" where none was."""
    key = event.style.meta.get(PRESS)
    return key if isinstance(key, str) else ""
