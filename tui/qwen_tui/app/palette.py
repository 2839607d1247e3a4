"""The command palette: everything that can be done, by name, with its key; and the themes, shown as they are walked to.

What a command does is slash_commands.py's business.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from textual import on
from textual.app import App
from textual.content import Content

from qwen_tui.app.slash_commands import SlashCommands
from qwen_tui.chat.screen import ChatScreen
from qwen_tui.composer.slash import COMMANDS, Call, SlashCommand
from qwen_tui.settings.key_names import spoken
from qwen_tui.text.safe import cells
from qwen_tui.widgets.cursor_list import MARK, CursorList, Heading, selected
from qwen_tui.widgets.picker import Picker, PickList, holds

# The keys of these commands are those of an action.
_ACTIONS = {
    "help": "help",
    "new": "new",
    "resume": "conversations",
    "find": "find",
    "lens": "lens",
    "inspect": "inspect",
    "settings": "settings",
    "editor": "edit_externally",
    "restart": "try_again",
    "quit": "quit",
}
# What has a key and no command.
_BESIDE = (
    ("toggle_panel", "Meters", "show or hide the meters beside the chat"),
    ("toggle_folds", "Reasoning", "open or fold reasoning and tool calls"),
    ("mark_drafts", "Marks of drafts", "underline what accepted drafts said"),
)
_WRITTEN = ("system", "set")  # what follows their names is written, not chosen
_WORDS = {
    "think": "thinking",
    "stats": "statistics",
    "theme": "dark light",
    "settings": "options preferences keys",
    "resume": "sessions history",
    "set": "options",
    "help": "keys",
}
LEAST_ABOUT = 16  # cells; less of an explanation says nothing


@dataclass(frozen=True)
class Entry:
    """One line: `at_right` is its key, or what to type for it. `words`: what it is found by beside what it shows.

    One of these says what it does: a command to call, a text to write on, an action of the chat, or further entries.
    """

    title: str
    about: str = ""
    at_right: str = ""
    words: str = ""
    call: Call | None = None
    write: str = ""
    action: str = ""
    choices: "tuple[Entry, ...]" = ()
    in_use: bool = False


class EntryList(PickList[Entry]):
    """Title, explanation where there is room, and the key at the right."""

    def __init__(self, entries: Sequence[Entry]) -> None:
        super().__init__()
        self._column = max((cells(entry.title) for entry in entries), default=1)
        self._right = max((cells(_at_right(entry)) for entry in entries), default=1)

    def row_line(self, number: int, part: int, width: int, *, cursor: bool) -> Content:
        row = self._rows[number]
        assert isinstance(row, Entry)
        column = max(1, min(self._column, width - self._right - 5))
        room = width - column - self._right - 7
        about = row.about if room >= LEAST_ABOUT else ""
        style = "$success" if row.in_use else "$muted" if row.at_right.startswith("/") else "$secondary"
        line = Content.assemble(
            f"{MARK if cursor else ' '} ",
            Content(row.title).truncate(column, ellipsis=True, pad=True),
            "  ",
            Content.styled(about, "$muted").truncate(max(0, room), ellipsis=True, pad=True),
            "  " if room > 0 else "",
            (_at_right(row), style),
        ).truncate(width, ellipsis=True)
        return selected(line, width) if cursor else line


def _at_right(entry: Entry) -> str:
    return "in use" if entry.in_use else entry.at_right


class EntryPicker(Picker[Entry, Entry]):
    """Dismissed with the entry that was chosen."""

    def __init__(self, title: str, entries: Sequence[Entry], placeholder: str, hint: str = "") -> None:
        super().__init__(EntryList(entries), title, hint or "Enter does it · Esc leaves", placeholder)
        self.entries = entries

    def found(self, text: str) -> list[Entry]:
        return ranked(self.entries, text)

    def first(self, rows: Sequence[Entry | Heading]) -> int:
        return next((number for number, row in enumerate(rows) if isinstance(row, Entry) and row.in_use), 0)

    def result_of(self, row: Entry) -> Entry:
        return row


def ranked(entries: Iterable[Entry], text: str) -> list[Entry]:
    """Those that have every word of `text`: in the title before in the rest, a word of the rest before a part of one,
    each in their order."""
    found = [entry for entry in entries if holds(text, entry.title, entry.about, entry.at_right, entry.words)]
    wanted = text.strip().casefold()

    def order(entry: Entry) -> tuple[bool, bool, bool]:
        begins = entry.title.casefold().startswith(wanted)
        return not begins, not holds(text, entry.title), wanted not in entry.words.split()

    return sorted(found, key=order)


def entries_of(commands: SlashCommands, keys: Callable[[str], str]) -> list[Entry]:
    """All commands in their order, then what has only a key. `keys` gives the key of an action."""
    entries = [_entry(command, commands, keys) for command in COMMANDS]
    return [*entries, *(Entry(title, about, keys(action), action=action) for action, title, about in _BESIDE)]


def _entry(command: SlashCommand, commands: SlashCommands, keys: Callable[[str], str]) -> Entry:
    name = command.name
    words = f"/{name} {' '.join(command.aliases)} {_WORDS.get(name, '')}"
    at_right = keys(_ACTIONS.get(name, "")) or f"/{name}"
    if name in _WRITTEN:
        return Entry(command.title, command.help, at_right, words, write=f"/{name} ")
    present = commands.present(name)
    choices = tuple(
        Entry(choice, "", f"/{name} {choice}", call=Call(name, choice), in_use=choice == present)
        for choice in (command.choices or commands.choices(name))
        if name != "theme" and choice != "marks"
    )
    words = f"{words} {' '.join(choice.title for choice in choices)}"
    return Entry(command.title, command.help, at_right, words, call=Call(name), choices=choices)


class ThemePicker(EntryPicker):
    """Each theme is that of the whole screen while the cursor is on it; leaving takes the present one back."""

    DEFAULT_CSS = """
    ThemePicker { background: transparent; }
    ThemePicker > #box { width: 44; }
    """

    def __init__(self, app: App[Any], names: Sequence[str]) -> None:
        self._present = app.theme
        about = {name: "dark" if app.available_themes[name].dark else "light" for name in names}
        about["ansi"] = "the terminal's own"
        entries = [Entry(name, about[name], call=Call("theme", name), in_use=name == app.theme) for name in names]
        super().__init__("Theme", entries, "type to search", "Enter keeps it · Esc leaves")

    @on(CursorList.Moved)
    def _shown(self) -> None:
        self.app.theme = self.list.row.title if self.list.row is not None else self._present

    def action_leave(self) -> None:
        self.app.theme = self._present
        super().action_leave()


class CommandPalette:
    """Opens the lists over the chat, and does what was chosen."""

    def __init__(self, app: App[None], chat: ChatScreen, commands: SlashCommands) -> None:
        self._app = app
        self._chat = chat
        self._commands = commands

    def open(self) -> None:
        entries = entries_of(self._commands, self._key)
        self._push(EntryPicker("Commands", entries, "type what you want to do"))

    def themes(self, names: Sequence[str]) -> None:
        self._push(ThemePicker(self._app, names))

    def _push(self, picker: EntryPicker) -> None:
        self._app.push_screen(picker, self._chosen)

    async def _chosen(self, entry: Entry | None) -> None:
        if entry is None:
            return
        with self._chat.status.giving_way():
            if entry.choices:
                self._push(EntryPicker(entry.title, entry.choices, "type to search", "Enter takes it · Esc leaves"))
            elif entry.write:
                self._chat.write(entry.write)
            elif entry.action:
                await self._app.run_action(entry.action, self._chat)
            elif entry.call is not None:
                await self._commands.call(entry.call)

    def _key(self, action: str) -> str:
        """The key that does it now, the first of several; "" without one."""
        bound = (key for key, active in self._chat.active_bindings.items() if active.binding.action == action)
        return next(map(spoken, bound), "")
