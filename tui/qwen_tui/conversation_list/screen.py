"""The list of conversations: each kept one, found by its title or by what was said in it; resume, rename, delete.

What is listed and how it changes is book.py's matter; here are the keys, the focus and the words.
"""

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container, Horizontal
from textual.content import Content
from textual.events import Resize
from textual.screen import Screen
from textual.widgets import Input, Static

from qwen_core.errors import QwenError, quote
from qwen_tui.conversation_list.book import ConversationBook
from qwen_tui.conversation_list.fields import SearchField, TitleField
from qwen_tui.conversation_list.lines import MARGIN, Entry, Key, conversation_of, detail, key_of, shown_title
from qwen_tui.conversation_list.list_view import ConversationList
from qwen_tui.conversation_list.preview import Preview, read_preview
from qwen_tui.store import Hit
from qwen_tui.store.conversations import MAX_TITLE
from qwen_tui.store.search import MAX_QUERY
from qwen_tui.store.thread import StoreThread
from qwen_tui.text.formatting import fit
from qwen_tui.text.safe import one_line, typed
from qwen_tui.widgets.list_status import ListKeys, ListStatus

WIDE_FROM = 120  # columns, from where the end of the conversation stands beside the list
TALL_FROM = 26  # rows, from where it stands below
SHORT_UNTIL = 46  # columns, up to where the search says less of itself


@dataclass(frozen=True)
class OpenedConversation:
    """A conversation to go on with, at a message if that is what was found."""

    conversation_id: int
    message_id: int | None = None


@dataclass(frozen=True)
class ConversationsResult:
    """How the screen ended: what to resume, None to stay; and what was deleted, perhaps the current conversation."""

    opened: OpenedConversation | None = None
    deleted: frozenset[int] = frozenset()


class ConversationsScreen(Screen[ConversationsResult]):
    """OpenedConversation by F3 or /resume; Escape or F3 goes back."""

    CSS_PATH = "screen.tcss"
    AUTO_FOCUS = "SearchField"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "back", "Back", show=False),
        Binding("f3,ctrl+s", "leave", "Back", show=False, id="sessions"),
    ]

    def __init__(
        self,
        store: StoreThread,
        current: int | None = None,
        query: str = "",
        *,
        deleted: list[int] | None = None,
        now: Callable[[], float] = time.time,
        folder: Callable[[], Path] = Path.cwd,
    ) -> None:
        """`current`: the conversation that is open in the chat. `query`: what to search at first. `deleted`: what was
        deleted before and can be brought back; the screen keeps it up to date.

        `now` gives the time in seconds, `folder` where exports go.
        """
        super().__init__()
        self.book = ConversationBook(store, deleted)
        self.book.search(one_line(typed(query), MAX_QUERY))
        self._store = store
        self._list = ConversationList(now, current)
        self._previewed: Key | None = None
        self._folder = folder
        self._renamed: tuple[Entry, str] | None = None  # what is being renamed, and the title it began with

    @property
    def status(self) -> ListStatus:
        return self.query_one(ListStatus)

    @property
    def _search(self) -> SearchField:
        return self.query_one(SearchField)

    def compose(self) -> ComposeResult:
        yield Static(id="head", markup=False)
        with Horizontal(id="bar"):
            yield Static("›", markup=False)
            what = "" if self.app.size.width < SHORT_UNTIL else " titles and all messages"
            yield SearchField(self._list, self.book.query, max_length=MAX_QUERY, placeholder=f"type to search{what}")
        with Container(id="body"):
            yield self._list
            yield Preview()
        yield ListStatus()
        yield ListKeys()
        yield TitleField(id="title", max_length=MAX_TITLE, compact=True, select_on_focus=False)

    def on_mount(self) -> None:
        self._draw()
        self._run(self._look, "look")

    # The store.

    def _run(self, work: Callable[[], Awaitable[object]], group: str) -> None:
        """Let `work` go on beside the keys; what the store could not do is said. A new look ends the one before."""

        async def running() -> None:
            try:
                await work()
            except QwenError as error:
                if self.is_mounted:
                    self.status.fail(str(error))
                    self._draw()

        self.run_worker(running, group=group, exclusive=group in ("look", "preview"))

    async def _look(self) -> None:
        await self.book.look()
        self._draw()

    async def _change(self, change: Awaitable[object], word: str = "", key: Key | None = None) -> None:
        await change
        if word:
            self.status.flash(word)
        self._draw(key)

    # Drawing.

    def _draw(self, key: Key | None = None) -> None:
        """Everything as the book has it, the cursor on `key` if it is there."""
        if not self.is_mounted:
            return
        book = self.book
        message = book.empty if book.was_read else "" if self.status.flash_text else "Reading the conversations …"
        self._list.show(book.rows, book.query, message, key)
        head = fit(["", f"{len(book.titles):,}{'+' if book.more else ''}", *self._filters()], self.size.width - 15)
        self.query_one("#head", Static).update(Content.assemble(("Conversations", "$primary bold"), head))
        self._draw_row()
        self._draw_keys()
        self._place_title()

    def _filters(self) -> list[str]:
        return [] if self.book.model is None else [f"model {one_line(self.book.model, 60)}"]

    def _draw_row(self) -> None:
        row = self._list.row
        self.status.show(detail(row, self.book.titles) if row is not None else [])
        if row is None:
            self.query_one(Preview).show(())
        elif (self.has_class("-wide") or self.has_class("-tall")) and key_of(row) != self._previewed:
            self._previewed = key_of(row)
            self._run(lambda: self._preview(row), "preview")

    async def _preview(self, row: Entry) -> None:
        said = await self._store.use(lambda store: read_preview(store, row))
        self.query_one(Preview).show(said)

    def on_resize(self, event: Resize) -> None:
        self.set_class(event.size.width >= WIDE_FROM, "-wide")
        self.set_class(event.size.width < WIDE_FROM and event.size.height >= TALL_FROM, "-tall")
        self.call_after_refresh(self._draw)

    def on_descendant_focus(self) -> None:
        self._draw_keys()

    def _draw_keys(self) -> None:
        if self._renamed is not None:
            keys = ("⏎ keep", "Esc leave it")
        else:
            escape = "Esc clear" if self._search.value else "Esc back"
            undo = ("^Z undo",) if self.book.deleted else ()
            of_row = ("Del delete", "^R rename", "^T pin") if self._list.row is not None else ()
            model = ("⇥ model",) if self.book.models or self.book.model is not None else ()
            export = ("^O export",) if of_row else ()
            keys = (*(("⏎ go on",) if of_row else ()), escape, *undo, *of_row, *model, *export, "F1 keys")
        self.query_one(ListKeys).show(*keys)

    # The list.

    @on(ConversationList.Moved)
    def _moved(self) -> None:
        self.status.clear_flash()
        self._draw_row()

    @on(ConversationList.Wanted)
    def _wanted(self, message: ConversationList.Wanted) -> None:
        if self.book.more:
            self._run(lambda: self._read_more(message.everything), "more")

    async def _read_more(self, everything: bool) -> None:
        before = self._list.row
        await self.book.read_more(everything=everything)
        self._draw()
        if everything and self._list.row is before:
            self._list.to_end()
            self._draw_row()

    # Searching.

    @on(Input.Changed, "SearchField")
    def _query_changed(self, message: Input.Changed) -> None:
        if message.value != self.book.query:
            self.book.search(message.value)
            self.status.clear_flash()
            self._list.place(0)
            self._run(self._look, "look")

    def action_model(self) -> None:
        model = self.book.next_model()
        if model is None and not self.book.models:
            self.status.flash("No model is known of any conversation.")
        self._list.place(0)
        self._run(self._look, "look")

    # Changes.

    def action_delete(self) -> None:
        row = self._list.row
        if row is not None:
            change = self.book.delete(conversation_of(row))
            self.status.flash(f"Deleted, Ctrl+Z brings it back: {one_line(row.title, 60)}")
            self._draw()
            self._run(lambda: self._change(change), "changes")

    def action_undo(self) -> None:
        if not self.book.deleted:
            self.status.flash("Nothing was deleted here.")
            return
        restored = self.book.undo()

        async def undo() -> None:
            summary = await restored
            self.status.flash(f"Brought back: {one_line(summary.title, 60)}")
            self._draw(key_of(summary))

        self._run(undo, "changes")

    def action_pin(self) -> None:
        row = self._list.row
        if row is None:
            return
        change = self.book.pin(conversation_of(row))

        async def pin() -> None:
            pinned = await change
            self.status.flash(f"{'Pinned' if pinned else 'No longer pinned'}: {one_line(row.title, 60)}.")
            self._draw()

        self._run(pin, "changes")

    def action_export(self) -> None:
        row = self._list.row
        if row is not None:
            self._run(lambda: self._export(conversation_of(row)), "exports")

    async def _export(self, conversation_id: int) -> None:
        try:
            path = await self.book.export(conversation_id, self._folder())
        except OSError as error:  # the directory that the program was started in is gone
            self.status.fail(f"the current directory cannot be used: {error.strerror or error}")
        else:
            self.status.flash(f"Wrote {quote(path.name)} in {quote(path.parent)}.")

    # Renaming, in place.

    def action_rename(self) -> None:
        row = self._list.row
        if row is None:
            return
        editor = self.query_one("#title", Input)
        title = one_line(typed(row.title), MAX_TITLE)
        self._renamed = row, title
        editor.value = title
        editor.cursor_position = len(title)
        self._place_title()
        editor.focus()

    def _place_title(self) -> None:
        """Lay the editor over the title that it is to change."""
        editor = self.query_one("#title", Input)
        editor.display = self._renamed is not None
        if self._renamed is not None:
            place = self._list.place_of_row
            editor.styles.offset = (place.x + MARGIN, place.y)
            editor.styles.width = max(4, self._list.size.width - MARGIN)

    @on(Input.Submitted, "#title")
    def _title_entered(self, message: Input.Submitted) -> None:
        if self._renamed is None:
            return
        row, before = self._renamed
        title = " ".join(message.value.split())
        if not title:
            self.status.fail("A conversation needs a title.")
            return
        self._end_renaming()
        if title != before:
            change = self.book.rename(conversation_of(row), title)
            word = f"Renamed: {shown_title(title)}"
            self._run(lambda: self._change(change, word, key_of(row)), "changes")

    @on(Input.Blurred, "#title")
    def _title_left(self) -> None:
        if self._renamed is not None:
            self._end_renaming()

    def action_leave_title(self) -> None:
        self._search.focus()

    def _end_renaming(self) -> None:
        self._renamed = None
        self._search.focus()
        self._place_title()

    # Leaving.

    def action_open(self) -> None:
        row = self._list.row
        if row is not None:
            self._leave(OpenedConversation(conversation_of(row), row.message_id if isinstance(row, Hit) else None))

    def action_back(self) -> None:
        if self._renamed is not None:
            self.status.clear_flash()
            self._end_renaming()
        elif self._search.value:
            self._search.value = ""
        else:
            self.action_leave()

    def action_leave(self) -> None:
        self._leave(None)

    def _leave(self, opened: OpenedConversation | None) -> None:
        """Once every change is in the store: where one failed, that must be read first."""

        async def leave() -> None:
            if await self.book.settled() and self.is_current:
                self.dismiss(ConversationsResult(opened, self.book.deleted))

        self._run(leave, "leave")
