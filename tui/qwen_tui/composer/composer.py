"""Where the person writes: the text field, its prompt sign, and the list of what a word may become."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

from textual import on
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.events import DescendantBlur
from textual.message import Message
from textual.screen import Screen
from textual.widgets import Static, TextArea
from textual.widgets.text_area import Selection

from qwen_tui.composer.attachments import resolved
from qwen_tui.composer.completion import (
    Candidate,
    Word,
    choice_candidates,
    command_candidates,
    completed,
    is_whole,
    path_candidates,
    split_path,
    word_at,
)
from qwen_tui.composer.completion_list import CompletionList
from qwen_tui.composer.editor import Editor
from qwen_tui.composer.folder_listing import FolderEntry, FolderLister
from qwen_tui.composer.slash import COMMANDS, SlashCommand


class Composer(Vertical):
    """The editor with completion. The app gives `choices`: what the argument of a command may be, by its name."""

    DEFAULT_CSS = """
    Composer { height: auto; max-height: 10; border-top: solid $panel; border-bottom: solid $panel; }
    Composer:focus-within { border-top: solid $panel; }
    Composer { border-subtitle-color: $muted; border-subtitle-background: $background; }
    Composer.-count-warning { border-subtitle-color: $warning; }
    Composer.-count-error { border-subtitle-color: $error; }
    Composer > .line { height: auto; padding: 0 1; }
    Composer > .line > .prompt { width: 2; height: 1; color: $primary; text-style: bold; }
    """

    class Listed(Message):
        """A folder was read."""

        def __init__(self, folder: Path, entries: tuple[FolderEntry, ...]) -> None:
            super().__init__()
            self.folder = folder
            self.entries = entries

    def __init__(self) -> None:
        super().__init__()
        self.editor = Editor()
        self.commands: Sequence[SlashCommand] = COMMANDS
        self.choices: Callable[[str], Sequence[str]] = lambda name: ()
        self.folder = Path()
        """What paths are relative to."""
        self._list = CompletionList()
        self._lister = FolderLister(self._tell_listed)
        self._listed: tuple[Path, tuple[FolderEntry, ...]] | None = None  # the folder of the path that is being written
        self._word: Word | None = None
        self._unwanted: tuple[str, int] | None = None  # the word that the person wants no list for
        self._seen: tuple[str, Selection] | None = None

    def compose(self) -> ComposeResult:
        yield self._list
        with Horizontal(classes="line"):
            yield Static("›", classes="prompt", markup=False)
            yield self.editor

    def on_mount(self) -> None:
        self.editor.first = self._take_key
        self.screen.screen_layout_refresh_signal.subscribe(self, self._laid_out)

    def show_count(self, line: str, look: Literal["", "warning", "error"] = "") -> None:
        """Say in the border how long what is being written is; "" says nothing."""
        self.border_subtitle = Content(f" {line} " if line else "")
        self.set_class(look == "warning", "-count-warning")
        self.set_class(look == "error", "-count-error")

    # What is being written.

    @on(TextArea.Changed)
    @on(TextArea.SelectionChanged)
    def _written(self) -> None:
        self._look()

    @on(DescendantBlur)
    def _left(self) -> None:
        self._close()

    def _laid_out(self, screen: Screen[object]) -> None:
        # Also where the terminal only gets lower, which is no resize of this widget's.
        if self._list.candidates:
            self._list.show(self._list.candidates, self._room)

    def _look(self) -> None:
        """Bring the list up to the text and the cursor as they are now."""
        editor = self.editor
        row, column = editor.cursor_location
        text = editor.text
        place = sum(len(editor.document[line]) + 1 for line in range(row)) + column
        if (text, editor.selection) == self._seen:
            return
        self._seen = (text, editor.selection)
        looking = editor.has_focus and editor.selection.is_empty and not editor.is_as_loaded
        before, self._word = self._word, word_at(text, place) if looking else None
        word = self._word
        if word is None or (word.kind, word.start) != self._unwanted:
            self._unwanted = None
        if word is not None and word.kind == "path" and self._unwanted is None:
            folder = self._folder_of(word)
            if before is None or before.kind != "path" or self._folder_of(before) != folder:
                self._listed = None
                self._lister.want(folder)
        self._show()

    def _folder_of(self, word: Word) -> Path:
        return resolved(split_path(word.typed)[0] or ".", self.folder)

    def _tell_listed(self, folder: Path, entries: tuple[FolderEntry, ...]) -> None:
        self.post_message(self.Listed(folder, entries))

    @on(Listed)
    def _folder_read(self, event: Listed) -> None:
        event.stop()
        if self._word is not None and self._word.kind == "path" and self._folder_of(self._word) == event.folder:
            self._listed = (event.folder, event.entries)
            self._show()

    @property
    def is_listing(self) -> bool:
        """Whether a folder is being read for the word under the cursor."""
        return self._word is not None and self._word.kind == "path" and not self._unwanted and self._listed is None

    def _candidates(self) -> list[Candidate]:
        word = self._word
        if word is None or self._unwanted is not None:
            return []
        if word.kind == "command":
            return command_candidates(word.typed, self.commands)
        if word.kind == "path":
            return path_candidates(word.typed, self._listed[1]) if self._listed is not None else []
        command = self._command(word)
        return choice_candidates(word.typed, command.choices or self.choices(command.name), command) if command else []

    def _command(self, word: Word) -> SlashCommand | None:
        return next((command for command in self.commands if command.name == word.command), None)

    # The list.

    def _show(self) -> None:
        self._list.show(self._candidates(), self._room)

    @property
    def _room(self) -> int:
        """Lines above the border; the first one of the screen, which says how the model does, stays."""
        return self.region.y - 1

    def _close(self) -> None:
        """No list for this word any more."""
        if self._word is not None:
            self._unwanted = (self._word.kind, self._word.start)
        self._show()

    def _take_key(self, key: str) -> bool:
        """Whether the list takes a key that the editor got."""
        if key not in ("up", "down", "tab", "escape", "enter"):
            return False
        self._look()  # the text may have changed since the list was drawn
        if not self._list.is_open:
            # Tab would leave the editor just because a disk is slow.
            return key == "tab" and self.is_listing
        match key:
            case "up" | "down":
                self._list.move(-1 if key == "up" else 1)
            case "escape":
                self._close()
            case "tab":
                self._take(self._list.selected)
            case _:
                return self._enter_takes() and self._take(self._list.selected)
        return True

    def _enter_takes(self) -> bool:
        """Whether Enter means the list: the person went through it, or what was typed cannot be sent as it is."""
        word = self._word
        if self._list.moved or word is None:
            return self._list.moved
        command = self._command(word)
        only = word.kind == "command" or (word.typed != "" and command is not None and bool(command.choices))
        return only and not is_whole(word, self._list.candidates)

    @on(CompletionList.Chosen)
    def _clicked(self, event: CompletionList.Chosen) -> None:
        event.stop()
        self._take(event.candidate)
        self.editor.focus()

    def _take(self, candidate: Candidate | None) -> bool:
        """The word becomes this; false where it is that already."""
        word, editor = self._word, self.editor
        if word is None or candidate is None:
            return False
        text = editor.text
        insert = completed(text, word, candidate)
        changes = text[word.start : word.end] != insert
        if changes:
            editor.replace(insert, _place(text, word.start), _place(text, word.end), maintain_selection_offset=False)
        if candidate.ends:
            self._close()
        self._look()
        return changes


def _place(text: str, index: int) -> tuple[int, int]:
    """Line and column of a place in a text."""
    before = text[:index]
    return before.count("\n"), index - (before.rfind("\n") + 1)
