"""The keys of where a person is, from the bindings that are active there: so a key that was rebound is told as it is.

A binding's description says what it does. Where that is too short for a help screen, or where one line should stand
for several bindings, the words are here.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache

from textual.app import App
from textual.binding import ActiveBinding, Binding
from textual.dom import DOMNode
from textual.keys import format_key
from textual.screen import Screen

from qwen_tui.settings.key_names import spoken

Rows = tuple[tuple[str, str], ...]

# By class and action.
_WORDS = {
    "QwenApp.interrupt": "copy what is selected, else stop, else quit after asking",
    "QwenApp.stop": "stop the answer, or the loading",
    "QwenApp.help": "the keys of where you are",
    "QwenApp.inspect": "the layers of the model",
    "QwenApp.try_again": "start the engine again, or load again",
    "QwenApp.conversations": "all conversations: go on with one, search them",
    "QwenApp.settings": "every setting, explained",
    "App.command_palette": "command palette: everything that can be done, by name",
    "ChatScreen.toggle_folds": "open or fold reasoning and tool calls",
    "ChatScreen.mark_drafts": "underline what accepted drafts said, or no longer",
    "Editor.newline": "a new line",
    "Editor.edit_externally": "write in your own editor ($VISUAL or $EDITOR)",
    **{
        f"{owner}.{action}": words
        for owner in ("ChatScreen", "Editor")
        for action, words in (
            ("scroll_transcript", "scroll the conversation"),
            ("transcript_home", "the first line of the conversation"),
            ("transcript_end", "its last line, and follow what comes"),
        )
    },
    "InspectorScreen.back": "out of the filter, then back",
    "InspectorScreen.leave": "back",
    "InspectorScreen.filter": "filter: words, mode:nvfp4, source:override, a layer, 8-15",
    "InspectorScreen.match": "next match and match before",
    "InspectorScreen.colour": "colour by mode, by bits, by bytes a token, by error where that is known",
    "InspectorScreen.small": "show or hide the small tensors",
    "InspectorScreen.table": "the same as a table, and back",
    "InspectorScreen.open": "the whole tensor with its values",
    "InspectorScreen.expert": "the values of another expert, of 16 on",
    "InspectorScreen.experts": "which experts the answer uses, all layers at once",
    "TokenScreen.step": "walk the tokens; 20 at a time",
    "TokenScreen.end": "first and last token",
    "CompareScreen.scroll": "scroll both columns",
    "CompareScreen.differing": "next token that differs and the one before",
    "CompareScreen.other": "the answer of B, or what B would say at A's tokens",
    "LensScreen.row": "walk the alternatives, or the list",
    "LensScreen.take": "go on from the alternative in another branch, or to the place",
    "LensScreen.next_view": "the alternatives, the uncertain places, the time, in turn",
    "LensScreen.uncertain": "next uncertain place and place before",
    "LayerMapView.move": "walk the map; the details follow",
    "LayerMapView.column": "first and last layer",
    "LayerMapView.row": "first and last row",
    "TensorScreen.other": "the same tensor in other layers",
    "TensorScreen.expert": "the values of another expert, of 16 on",
    "TensorScreen.scroll_body": "scroll",
    "SearchField.open": "resume the conversation, at the message that was found",
    "SearchField.rename": "rename; Enter keeps, Esc leaves",
    "SearchField.pin": "pin to the top, or no longer",
    "SearchField.model": "the conversations of one model, of the next, of all",
    "SearchField.export": "export as Markdown into the current directory",
    "ConversationsScreen.back": "clear the search, else back",
}
# What widgets do with keys that no binding names, in front of their bindings.
_UNBOUND: dict[str, Rows] = {
    "Editor": (
        ("Enter", "send"),
        ("↑ ↓", "earlier inputs, from the first or last line"),
        ("/ and @", "begin a command, or the path of a text file to send along; Tab takes what is offered"),
        ("Tab", "to the last turn, and on through what is folded in it; at the very beginning, an example"),
    ),
    "PickField": (("Letters", "search"), ("Enter", "take the row that the cursor is on")),
    "SettingList": (("Letters", "filter by name or explanation"),),
    "SearchField": (("Letters", "search titles and all messages"),),
}
_NUMBERS = re.compile(r"\([-\d, ]*\)$")
_PLACES = {
    "CompareScreen": "in the comparison",
    "InspectorScreen": "in the layers",
    "TensorScreen": "of a tensor",
    "ExpertsScreen": "of the experts",
}


@dataclass(frozen=True)
class KeyHelp:
    """What a help screen says of keys: those of the place, and those that work everywhere else as well."""

    place: str
    keys: Rows
    general: Rows


@dataclass
class _Row:
    """Bindings that one line stands for: by each action its keys, and what they do."""

    keys: dict[str, list[str]] = field(default_factory=dict)
    words: list[str] = field(default_factory=list)

    @property
    def shown(self) -> tuple[str, str]:
        """First keys of every action, then second ones: "← → or h l"."""
        alternatives: list[list[str]] = []
        for keys in self.keys.values():
            for number, key in enumerate(keys):
                if number == len(alternatives):
                    alternatives.append([])
                alternatives[number].append(spoken(key))
        return " or ".join(" ".join(keys) for keys in alternatives), ", ".join(self.words)


def key_help(screen: Screen[object]) -> KeyHelp:
    """The keys that do something on `screen` now, with its focus where it is."""
    nodes = screen.focused.ancestors_with_self if screen.focused is not None else (screen,)
    unbound = [row for node in nodes for row in _UNBOUND.get(type(node).__name__, ())]
    rows: dict[str, _Row] = {}
    general: dict[str, _Row] = {}
    for key, active in _bindings(screen):
        owner = _owner(active.node, active.binding.action)
        if owner:
            _add(general if isinstance(active.node, App) else rows, owner, key, active.binding)
    return KeyHelp(place_of(screen), (*unbound, *_shown(rows.values())), _shown(general.values()))


def _bindings(screen: Screen[object]) -> Iterator[tuple[str, ActiveBinding]]:
    """What each key does. A list that has nothing to scroll leaves its keys to the screen: then the screen's counts."""
    ours = [
        (key, ActiveBinding(node, binding, True))
        for node, bindings in screen._modal_binding_chain
        for key, binding in bindings
        if _owner(node, binding.action)
    ]
    focused = screen.focused
    for key, active in screen.active_bindings.items():
        sign = format_key(key)
        character = sign if len(sign) == 1 and sign.isascii() else None
        if focused is not None and active.node is not focused and focused.check_consume_key(key, character):
            continue  # it is written there
        if active.binding.action.startswith("scroll_") and not _owner(active.node, active.binding.action):
            yield from ((key, other) for name, other in ours if name == key)
        else:
            yield key, active


def place_of(screen: Screen[object]) -> str:
    """What follows "Keys" in the heading: "in the chat", "in the settings"."""
    name = type(screen).__name__
    words = re.findall(r"[A-Z][a-z]*", name.removesuffix("Screen"))
    return _PLACES.get(name) or f"in the {' '.join(words).lower() or 'screen'}"


def _owner(node: DOMNode, action: str) -> str:
    """The name of the class that binds the action, if it is one of ours; "" where it is the toolkit's."""
    if isinstance(node, App) and _name(action) == "command_palette":
        return "App"
    for kind in type(node).__mro__:
        if not kind.__module__.startswith("textual.") and action in _actions(kind):
            return kind.__name__
    return ""


@cache
def _actions(kind: type) -> frozenset[str]:
    own = vars(kind).get("BINDINGS", ()) if issubclass(kind, DOMNode) else ()
    return frozenset(binding.action for binding in Binding.make_bindings(own))


def _name(action: str) -> str:
    """ "screen.scroll_transcript(-1)" as "scroll_transcript"."""
    return action.partition("(")[0].rpartition(".")[2]


def _add(rows: dict[str, _Row], owner: str, key: str, binding: Binding) -> None:
    name = f"{owner}.{_name(binding.action)}"
    words = _WORDS.get(name) or binding.tooltip or _lowered(binding.description)
    if words:
        # What differs in numbers alone is one thing in several directions: up and down, the next and the one before.
        together = _NUMBERS.sub("", binding.action)
        row = rows.setdefault(f"{owner}.{together}", _Row())
        row.keys.setdefault(binding.action, []).append(key)
        if words not in row.words:
            row.words.append(words)


def _lowered(text: str) -> str:
    """Without the capital that begins a description; names such as "GPU" keep theirs."""
    return text[:1].lower() + text[1:] if not text[1:2].isupper() else text


def _shown(rows: Iterable[_Row]) -> Rows:
    return tuple(row.shown for row in rows)
