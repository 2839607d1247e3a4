"""The settings screen: every setting with its value, where that comes from, and what it means; changed and saved here.

A change is in the file at once. What it means for the running app is the app's business, which is told by a message.
"""

import asyncio
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container, Horizontal
from textual.content import Content
from textual.events import DescendantFocus, Resize
from textual.message import Message
from textual.screen import Screen
from textual.widgets import Input, Static

from qwen_core.errors import QwenError
from qwen_core.protocol.events import ModelSummary
from qwen_core.settings.paths import location
from qwen_tui.settings.counting import counting
from qwen_tui.settings.editors import KeyCapture, ValueEditor
from qwen_tui.settings.file import FILE_NAME, LoadedSettings
from qwen_tui.settings.key_names import refusal, spoken
from qwen_tui.settings.list_view import SettingList
from qwen_tui.settings.rows import (
    WARNS,
    Action,
    Setting,
    changed,
    detail_lines,
    keys_of,
    matching,
    next_word,
    origin_of,
    overridden,
    read_value,
    rows_of,
    save_values,
    shown,
    summary,
    typed_as,
)
from qwen_tui.settings.tree import value_of
from qwen_tui.text.safe import one_line
from qwen_tui.widgets.key_order import OneLine
from qwen_tui.widgets.list_status import ListKeys, ListStatus

WIDE_FROM = 110  # columns, from where the explanation stands beside the list
TALL_FROM = 26  # rows, from where it has more lines below it
SHORT_UNTIL = 16  # rows, up to where it has fewer
MAX_PROBLEMS = 3
MAX_FILTER = 80


class FilterField(OneLine):
    """What the settings are filtered by. Up and down lead to the list."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("up,down", "screen.to_list", "To the list", show=False)]


class SettingsScreen(Screen[None]):
    """Opened by /settings; Escape goes back."""

    CSS_PATH = "screen.tcss"
    AUTO_FOCUS = "SettingList"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "back", "Out of the field, out of the filter, then back", show=False),
    ]

    class Changed(Message):
        """One setting was changed and is being saved; `loaded` is all of them with it."""

        def __init__(self, key: str, loaded: LoadedSettings) -> None:
            super().__init__()
            self.key = key
            self.loaded = loaded

    def __init__(
        self,
        loaded: LoadedSettings,
        actions: Sequence[Action] = (),
        *,
        words: Mapping[str, Sequence[str]] | None = None,
        path: Path | None = None,
        model: ModelSummary | None = None,
    ) -> None:
        """`actions`: those whose keys can be changed. `words`: for fields of any text what there is, as "looks.theme".

        `path` is the file, None the usual one. `model`: the one that is loaded, some of whose values count where none
        is set.
        """
        super().__init__()
        self.loaded = loaded
        self._rows = rows_of(actions, words)
        self._path = path
        self._model = model
        self._list = SettingList(loaded)
        self._edited: Setting | None = None  # what the open field or the awaited key is for
        self._changes: list[tuple[Setting, Any]] = []  # what was changed here, and what it was in the file before
        # One thread, so that changes are saved in their order; it outlives the screen if it must.
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="settings")

    @property
    def status(self) -> ListStatus:
        return self.query_one(ListStatus)

    @property
    def capturing(self) -> bool:
        """Whether the next key is to be bound, so that the app's own keys must not act."""
        return isinstance(self.focused, KeyCapture)

    def compose(self) -> ComposeResult:
        yield Static(id="head", markup=False)
        yield Static(id="problems", markup=False)
        with Container(id="body"):
            yield self._list
            yield Static(id="detail", markup=False)
        with Horizontal(id="filter-bar", classes="bar"):
            yield Static("/", markup=False)
            yield FilterField(id="filter", max_length=MAX_FILTER, compact=True, select_on_focus=False)
        with Horizontal(id="value-bar", classes="bar"):
            yield Static("›", markup=False)
            yield ValueEditor()
        with Horizontal(id="key-bar", classes="bar"):
            yield Static("›", markup=False)
            yield KeyCapture()
        yield ListStatus()
        yield ListKeys()

    def on_mount(self) -> None:
        path = self._path or location("config") / FILE_NAME
        self.query_one("#head", Static).update(
            Content.assemble(("Settings", "bold $primary"), f"  {one_line(str(path), 400)}")
        )
        problems = [one_line(text, 300) for text in self.loaded.problems]
        if len(problems) > MAX_PROBLEMS:
            problems[MAX_PROBLEMS - 1 :] = [f"and {len(problems) - MAX_PROBLEMS + 1} more problems with the settings"]
        box = self.query_one("#problems", Static)
        box.update(Content("\n").join([Content(f"✕ {text}") for text in problems]))
        box.display = bool(problems)
        self._show()

    def on_unmount(self) -> None:
        self._writer.shutdown(wait=False)

    def on_resize(self, event: Resize) -> None:
        self.set_class(event.size.width >= WIDE_FROM, "-wide")
        self.set_class(event.size.height >= TALL_FROM, "-tall")
        self.set_class(event.size.height <= SHORT_UNTIL, "-short")
        self.call_after_refresh(self._show)

    # Drawing.

    def _show(self) -> None:
        found = matching(self._rows, self.query_one("#filter", Input).value)
        self._list.show(found, self.loaded, counting(self.loaded, self._model))
        self.status.show([summary(self._rows, found, self.loaded)])
        self._draw()

    def _draw(self) -> None:
        """The explanation, and the keys that matter now."""
        row = self._list.row
        lines = detail_lines(row, self.loaded, counting(self.loaded, self._model)) if row is not None else []
        if self.has_class("-short"):  # the list names it, and a warning is what must be read
            lines = sorted(lines[1:], key=lambda line: not line.plain.startswith(WARNS))
        self.query_one("#detail", Static).update(Content("\n").join(lines))
        if self._edited is not None:
            keys = ("Esc leaves",) if self._edited.is_action else ("⏎ saves", "Esc leaves")
        elif self.query_one("#filter", Input).has_focus:
            keys = ("⏎ to the list", "Esc clears the filter")
        else:
            first = "⏎ another key" if row is not None and row.is_action else "⏎ changes"
            turns = ("← → values",) if row is not None and row.words else ()
            undo = ("^Z undo",) if self._changes else ()
            keep = ("^S saves",) if row is not None and origin_of(row, self.loaded) == "for now" else ()
            keys = (first, "Esc back", *keep, *undo, *turns, "Del default", "type to filter", "F1 keys")
        self.query_one(ListKeys).show(*keys)

    @on(SettingList.Moved)
    def _moved(self) -> None:
        self.status.clear_flash()
        self._draw()

    def on_descendant_focus(self, event: DescendantFocus) -> None:
        if isinstance(event.widget, SettingList):
            self._close()
        self._draw()

    # Going back.

    def action_back(self) -> None:
        """One step: out of what is being edited, then out of the filter, then out of the screen."""
        bar = self.query_one("#filter-bar")
        if self._edited is not None:
            self._list.focus()
        elif bar.has_class("-open"):
            bar.remove_class("-open")
            self.query_one("#filter", Input).value = ""
            self._list.focus()
        else:
            self.dismiss()

    def _close(self) -> None:
        """Close what a value or a key is entered into."""
        self._edited = None
        self.query_one("#value-bar").remove_class("-open")
        self.query_one("#key-bar").remove_class("-open")

    # The filter.

    def action_filter(self, begun: str = "") -> None:
        self.query_one("#filter-bar").add_class("-open")
        field = self.query_one("#filter", Input)
        field.focus()
        if begun:
            field.insert_text_at_cursor(begun)

    def action_to_list(self) -> None:
        self._list.focus()

    @on(Input.Changed, "#filter")
    def _filtered(self) -> None:
        self.status.clear_flash()
        self._show()

    @on(Input.Submitted, "#filter")
    def _filter_entered(self, event: Input.Submitted) -> None:
        if not event.value.strip():
            self.query_one("#filter-bar").remove_class("-open")
        self._list.focus()

    # Changing.

    def action_edit(self) -> None:
        row = self._list.row
        if row is None:
            return
        if row.words:
            self.action_turn(1)
            return
        self._edited = row
        self.status.clear_flash()
        if row.is_action:
            self.query_one("#key-bar").add_class("-open")
            self.query_one(KeyCapture).focus()
        else:
            self.query_one("#value-bar").add_class("-open")
            editor = self.query_one(ValueEditor)
            editor.begin(typed_as(value_of(self.loaded.saved, row.key)), row.many_lines)
            editor.focus()

    def action_turn(self, step: int) -> None:
        row = self._list.row
        if row is not None and row.words:
            self._change(row, next_word(row, self.loaded, step))

    def action_keep(self) -> None:
        """Save the value that counts for now."""
        row = self._list.row
        if row is not None and origin_of(row, self.loaded) == "for now":
            self._change(row, value_of(self.loaded.settings, row.key))

    def action_reset(self) -> None:
        row = self._list.row
        if row is not None:
            self._change(row, row.field.default)

    def action_undo(self) -> None:
        if not self._changes:
            self.status.flash("Nothing was changed here.")
            return
        row, value = self._changes.pop()
        left = len(self._changes)
        self._change(row, value)
        del self._changes[left:]  # taking one back is none to be taken back
        self._draw()

    @on(ValueEditor.Submitted)
    def _value_entered(self, event: ValueEditor.Submitted) -> None:
        row = self._edited
        if row is None:
            return
        try:
            value = read_value(row, event.text)
        except ValueError:
            self.status.fail(f"It takes {row.accepts}")
            return
        self._list.focus()
        self._change(row, value)

    @on(KeyCapture.Pressed)
    def _key_pressed(self, event: KeyCapture.Pressed) -> None:
        row = self._edited
        if row is None:
            return
        present = keys_of(self._rows, self.loaded)
        why = refusal(event.key, event.printable, row.field.name, present, row.letters)
        if why:
            self.status.fail(why)
            return
        try:
            keys = row.field.kind.check(event.key)
        except ValueError:
            self.status.fail(f"{spoken(event.key)} cannot be bound")
            return
        self._list.focus()
        self._change(row, None if keys == row.keys else keys)

    @on(KeyCapture.Left)
    def _key_left(self) -> None:
        self._list.focus()

    def _change(self, row: Setting, value: Any) -> None:
        """Take the value on, tell the app, and save it."""
        if value == value_of(self.loaded.saved, row.key) and origin_of(row, self.loaded) != "for now":
            self.status.flash(f"{row.field.name} is the same in the file already.")
            return
        before = value_of(self.loaded.saved, row.key)
        try:
            self.loaded = changed(self.loaded, row, value)
        except ValueError:
            self.status.fail(f"It takes {row.accepts}")
            return
        self._changes.append((row, before))
        self._show()
        self.post_message(self.Changed(row.key, self.loaded))
        self.run_worker(self._save(row, value), group="saving")

    async def _save(self, row: Setting, value: Any) -> None:
        writing = asyncio.wrap_future(self._writer.submit(save_values, {row.key: value}, self._path))
        try:
            kept = await asyncio.shield(writing)  # leaving the screen does not take the change back
        except QwenError as error:
            self.status.fail(str(error))
            return
        told = f"Saved: {row.field.name} = {shown(row.keys if row.is_action and value is None else value)}"
        if kept is not None:
            told = f"Saved. The old file could not be changed and is kept as {one_line(str(kept), 200)}"
        elif overridden(row, self.loaded):
            told += " in the file; for now the value that counts stays"
        self.status.flash(told)
