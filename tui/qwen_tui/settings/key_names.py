"""Keys: how people read their names, and which may be bound to an action. Pure."""

from collections.abc import Iterable, Mapping

from textual.binding import Binding
from textual.keys import format_key
from textual.widgets import TextArea

from qwen_tui.text.safe import visible

_SPOKEN = {
    "escape": "Esc",
    "enter": "Enter",
    "tab": "Tab",
    "space": "Space",
    "backspace": "Backspace",
    "delete": "Del",
    "insert": "Ins",
    "home": "Home",
    "end": "End",
    "pageup": "PgUp",
    "pagedown": "PgDn",
    "ctrl": "Ctrl",
    "shift": "Shift",
    "alt": "Alt",
    "super": "Super",
    "meta": "Meta",
}
# Without these nobody could write, move or leave, whatever an action does.
_NEEDED = {
    *("enter", "escape", "tab", "shift+tab", "space", "backspace", "delete", "insert"),
    *("up", "down", "left", "right", "home", "end", "pageup", "pagedown"),
    *("ctrl+c", "ctrl+q", "ctrl+p"),
}
# What the field for text does with keys. Function keys only select there, which shift and the arrows do as well.
_EDITING = {
    binding.key: binding.description
    for binding in Binding.make_bindings(TextArea.BINDINGS)
    if binding.key not in ("f5", "f6", "f7")
}


def spoken(key: str) -> str:
    """ "ctrl+j" as "Ctrl+J", "pageup" as "PgUp", "slash" as "/"."""
    *modifiers, last = key.split("+")
    # A key of one character is that character, and a terminal may send any: also one that has no name to look up.
    name = _SPOKEN.get(last) or (visible(last) if len(last) == 1 else format_key(visible(last)))
    if modifiers or (len(last) > 1 and last[0] == "f" and last[1:].isdigit()):
        name = name.upper() if len(name) == 1 or last[1:].isdigit() else name
    return "+".join([*(_SPOKEN.get(modifier, modifier.capitalize()) for modifier in modifiers), name])


def spoken_keys(keys: Iterable[str]) -> str:
    """All keys of an action; "none" where it has none."""
    return " or ".join(spoken(key) for key in keys) or "none"


def refusal(key: str, printable: bool, action: str, keys_of: Mapping[str, Iterable[str]], letters: bool = False) -> str:
    """Why `key` cannot be bound to `action`, "" if it can.

    `printable`: it writes a character. `keys_of`: the keys of every action as they are now. `letters`: the action acts
    only where nothing is written, so that a letter can be its key.
    """
    owner = next((name for name, keys in keys_of.items() if key in keys and name != action), None)
    if key in keys_of.get(action, ()):
        return ""
    if owner is not None:
        return f"{spoken(key)} is the key of {owner}: give that another key first"
    if (printable or len(key) == 1) and not letters:
        return f"{spoken(key)} is a character: you could no longer write it"
    if key in _NEEDED:
        return f"{spoken(key)} is needed as it is"
    if key in _EDITING:
        return f"{spoken(key)} edits text: {_EDITING[key].lower()}"
    return ""
