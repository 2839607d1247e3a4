"""The conversation on screen: a window of widgets that slides over it, and the place that the person reads at.

A long conversation has a few dozen widgets at a time: those at its end, or those around where the person has scrolled.
Items come in at one end of the window and leave at the other, and the text under the eye stays where it is.
"""

import asyncio
from bisect import bisect_right
from collections.abc import Callable, Sequence

from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.content import Content
from textual.geometry import Size
from textual.layout import DockArrangeResult
from textual.message import Message
from textual.reactive import Reactive
from textual.screen import Screen
from textual.widget import Widget
from textual.widgets import Static

from qwen_tui.chat.note import NoteView
from qwen_tui.chat.turn_view import TurnView
from qwen_tui.chat.turn_window import Window, around, earlier, end_window, later, moved, same, stand_in, turns_in
from qwen_tui.chat.welcome import Welcome
from qwen_tui.conversation.conversation import Conversation
from qwen_tui.conversation.turns import Item, Turn
from qwen_tui.widgets.one_layout import OneLayout
from qwen_tui.widgets.text_lines import TextLines

View = TurnView | NoteView
_SCROLL_TARGET: Reactive[float] = vars(Widget)["scroll_target_y"]
ROWS_ABOVE = 1  # left above a view that is gone to


class Transcript(VerticalScroll, OneLayout, can_focus=False):
    """`sync` makes the widgets those of the conversation's items, touching only what may have changed."""

    DEFAULT_CSS = """
    Transcript { scrollbar-size-vertical: 1; }
    Transcript > Welcome { margin: 1 2 0 1; }
    Transcript > .more { height: 1; margin: 0 2 0 1; color: $muted; }
    """

    class FollowChanged(Message):
        """The end came into view, or went out of it."""

    def __init__(self, pending: str) -> None:
        super().__init__()
        self._welcome = Welcome(pending)
        self._above = Static(classes="more", markup=False)
        self._below = Static(classes="more", markup=False)
        self._above.display = self._below.display = False
        self._items: list[Item] = []
        self._window = Window(0, 0)
        self._views: list[View] = []
        self._changing = asyncio.Lock()  # drawing and sliding take turns
        self._sliding = False  # a slide was asked for and has not begun
        self._follow = True
        # While the end is not followed: a view, and how far below its first row the view of the person begins.
        self._held: tuple[View, int] | None = None
        self._tops: list[tuple[int, View]] = []  # the first row of each view, as last laid out
        self._height = 0  # rows of all that is in the window, as last laid out
        self._open = False
        self._needle = ""
        self.marks_drafts = False
        self._found: Turn | None = None
        self._sought: tuple[TurnView, Callable[[], tuple[TextLines, int] | None]] | None = None

    def on_mount(self) -> None:
        self.screen.screen_layout_refresh_signal.subscribe(self, self._seek)

    def watch_show_vertical_scrollbar(self, shown: bool) -> None:
        """A bar that comes once the text has moved would stand where it stood last: the toolkit (textual 8.2) moves
        those alone that are seen."""
        if shown:
            self.vertical_scrollbar.position = self.scroll_y

    def compose(self) -> ComposeResult:
        yield self._welcome
        yield self._above
        yield self._below

    # What is shown.

    @property
    def following(self) -> bool:
        """Whether new text keeps the end in view."""
        return self._follow

    @property
    def views(self) -> list[View]:
        """The widgets of the window, in order."""
        return list(self._views)

    def view_of(self, turn: Turn) -> TurnView | None:
        return next((view for view in self._views if isinstance(view, TurnView) and view.item is turn), None)

    async def sync(self, conversation: Conversation) -> None:
        items = conversation.items
        self._welcome.display = not items
        if not items:
            self._welcome.show(conversation)
        async with self._changing:
            if not same(items, self._items):
                old, self._items = self._items, list(items)
                window = moved(self._window, old, self._items, following=self._follow)
                await self._change(window, old)
            for view in self._views:
                if isinstance(view, TurnView):
                    await view.show()

    async def _change(self, window: Window, old: Sequence[Item] | None = None) -> None:
        """Make the widgets those of `window`. `old`: the items before, where these have changed."""
        items = self._items[window.first : window.last]
        known = {id(view.item): view for view in self._views}
        wanted = [known.get(id(item)) or self._make(item) for item in items]
        present = {id(view) for view in wanted}
        gone = [view for view in self._views if id(view) not in present]
        kept = [view for view in self._views if id(view) in present]
        focus = self._focus_after(gone, wanted, old)
        if kept != [view for view in wanted if id(view.item) in known]:  # in another order: all anew
            gone, kept, wanted = self._views, [], [self._make(item) for item in items]
        if focus is not None:  # else the toolkit gives it to a neighbour, and scrolls there
            self.screen.set_focus(None)
        self._hold(kept)
        self._window, self._views = window, wanted
        with self.app.batch_update():
            if gone:
                await self.remove_children(gone)
            await self._mount_new(wanted, {id(view) for view in kept})
            self._draw_ends()
        if focus is not None:
            focus.focus(scroll_visible=False)

    def _make(self, item: Item) -> View:
        if isinstance(item, Turn):
            view = TurnView(item)
            view.turn_folds(self._open)
            view.mark(self._needle, found=item is self._found)
            view.marks_drafts = self.marks_drafts
            return view
        return NoteView(item)

    async def _mount_new(self, wanted: Sequence[View], kept: set[int]) -> None:
        """Mount what is not there yet, neighbours together, before what follows them."""
        run: list[View] = []
        for view in (*wanted, None):
            if view is not None and id(view) not in kept:
                run.append(view)
            elif run:
                await self.mount_all(run, before=view or self._below)
                run = []

    def _focus_after(self, gone: Sequence[View], wanted: Sequence[View], old: Sequence[Item] | None) -> Widget | None:
        """What takes the focus over from a view that goes: that of the turn in its place, else the composer."""
        lost = next((view for view in gone if view.has_focus_within), None)
        if lost is None:
            return None
        turn = stand_in(lost.item, old, self._items) if old is not None else None
        return next((view for view in wanted if view.item is turn), None) or self._elsewhere()

    def _elsewhere(self) -> Widget | None:
        return next((node for node in reversed(self.screen.focus_chain) if self not in node.ancestors), None)

    def _draw_ends(self) -> None:
        """The lines that say what is beyond the window. The first is there, empty, also where nothing is."""
        before, after = self._items[: self._window.first], self._items[self._window.last :]
        self._above.display = bool(self._items)
        self._below.display = bool(after)
        self._above.update(Content(_more(before, "earlier", "scroll up, Ctrl+Home goes to the first")))
        self._below.update(Content(_more(after, "later", "scroll down, Ctrl+End goes to the end")))

    # Where the person reads.

    def arrange(self, size: Size, optimal: bool = False) -> DockArrangeResult:
        """Places the views, and scrolls in the same breath: so the text under the eye never jumps."""
        result = super().arrange(size, optimal)
        if not optimal:
            tops = {id(placed.widget): placed.region.y for placed in result.placements}
            self._tops = [(tops[id(view)], view) for view in self._views if id(view) in tops]
            self._height = result.total_region.bottom
            self._place(size.height)
        return result

    def _place(self, rows: int) -> None:
        end = max(0, self._height - rows)
        place = round(self.scroll_y)
        if self._follow:
            place = end
        elif self._held is not None:
            view, below = self._held
            place = next((top + below for top, other in self._tops if other is view), place)
            # Gone to something so near the end that the end is in view: what comes is meant to be seen.
            self._set_follow(self._at_end and place >= end)
        place = max(0, min(place, end))
        if place != self.scroll_y:
            self.set_scroll(None, place)
            self.set_reactive(_SCROLL_TARGET, place)
            if self.show_vertical_scrollbar:
                self.vertical_scrollbar.position = place
        self._slide_soon()

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        """The person scrolled: what they see from now on stays, or the end is followed again."""
        super().watch_scroll_y(old_value, new_value)
        self._sought = None
        self._hold(self._views)
        self._set_follow(self._at_end and new_value >= self.max_scroll_y)
        self._slide_soon()

    def _set_follow(self, follow: bool) -> None:
        if follow != self._follow:
            self._follow = follow
            self.post_message(self.FollowChanged())

    def _hold(self, views: Sequence[View]) -> None:
        """Keep the first of `views` that is in view where it is."""
        place = round(self.scroll_y)
        among = {id(view) for view in views}
        tops = [(top, view) for top, view in self._tops if id(view) in among]
        if tops:
            index = max(0, bisect_right([top for top, _ in tops], place) - 1)
            top, view = tops[index]
            self._held = (view, place - top)

    @property
    def _at_end(self) -> bool:
        return self._window.last == len(self._items)

    # Sliding.

    def _slide_soon(self) -> None:
        if not self._sliding and self._next_window() is not None:
            self._sliding = True
            self.call_later(self._slide)

    async def _slide(self) -> None:
        self._sliding = False
        async with self._changing:
            window = self._next_window()
            if window is not None:
                await self._change(window)

    def _next_window(self) -> Window | None:
        """The window that the place in view asks for, None for the one there is."""
        window, rows, place = self._window, self.size.height, round(self.scroll_y)
        if not rows or len(self._tops) != len(window):
            return None  # not laid out yet
        if place < rows and window.first:
            return earlier(window, sum(top > place + 2 * rows for top, _ in self._tops))
        if not self._at_end and self._height - place < 2 * rows:
            return later(window, len(self._items), sum(top < place - 2 * rows for top, _ in self._tops[1:]))
        trimmed = end_window(len(self._items))
        if self._follow and self._at_end and window.first < trimmed.first:
            # Only where what is left still fills the view, or it would come in again at once.
            left = self._height - self._tops[trimmed.first - window.first][0]
            return trimmed if left > 3 * rows else None
        return None

    # Going somewhere.

    def follow(self) -> None:
        """Go to the end and stay there."""
        self._set_follow(True)
        self.call_later(self._go_to_end)
        self.refresh(layout=True)

    async def _go_to_end(self) -> None:
        async with self._changing:
            if self._follow and not self._at_end:
                await self._change(end_window(len(self._items)))

    async def go_home(self) -> None:
        """To the very first line."""
        self._set_follow(False)
        async with self._changing:
            if self._window.first:
                await self._change(around(0, len(self._items)))
            if self._views:
                self._held = (self._views[0], -ROWS_ABOVE)
            self.refresh(layout=True)

    async def go_to(self, turn: Turn) -> TurnView | None:
        """Bring a turn into view, its beginning if not all of it fits; its view, or None if it is gone."""
        async with self._changing:
            index = next((place for place, item in enumerate(self._items) if item is turn), None)
            if index is None:
                return None
            if not self._window.first <= index < self._window.last:
                self._set_follow(False)
                await self._change(around(index, len(self._items)))
        view = self.view_of(turn)
        if view is not None:
            self._reveal(view)
        return view

    def _reveal(self, view: View) -> None:
        """Scroll as far as needed; where all of it is in view, not at all."""
        place, rows = round(self.scroll_y), self.size.height
        top = next((top for top, other in self._tops if other is view), None)
        if top is not None and view.size.height and place <= top and top + view.outer_size.height <= place + rows:
            return
        self._set_follow(False)
        self._held = (view, -ROWS_ABOVE)
        self.refresh(layout=True)

    def seek(self, view: TurnView, where: Callable[[], tuple[TextLines, int] | None]) -> None:
        """Bring a row inside `view` into sight, as soon as it is laid out: the widget and its row, as `where` says."""
        self._sought = (view, where)
        self._seek(self.screen)

    def _seek(self, screen: Screen[object]) -> None:
        """Called after every layout."""
        if self._sought is None:
            return
        view, where = self._sought
        found = where() if view in self._views else None
        if found is None:
            self._sought = None
            return
        lines, row = found
        if not lines.is_laid_out:
            return
        self._sought = None
        y = lines.content_region.y + row
        if not self.region.y <= y < self.region.bottom:
            self._set_follow(False)
            self._held = (view, y - view.region.y - self.size.height // 3)
            self.refresh(layout=True)

    def first_in_view(self) -> Turn | None:
        """The first turn that has its beginning in view, else the last one that has its beginning above."""
        place = round(self.scroll_y)
        turns = [(top, view.item) for top, view in self._tops if isinstance(view.item, Turn)]
        inside = [turn for top, turn in turns if top >= place]
        return inside[0] if inside else turns[-1][1] if turns else None

    def action_scroll_home(self) -> None:
        self.run_worker(self.go_home())

    def action_scroll_end(self) -> None:
        self.follow()

    # All turns.

    def turn_folds(self, open: bool) -> None:
        """Open or fold everything there is, and what will come."""
        self._open = open
        for view in self._views:
            if isinstance(view, TurnView):
                view.turn_folds(open)

    async def mark_drafts(self, on: bool) -> None:
        """Underline what drafts said, here and in what will come."""
        self.marks_drafts = on
        for view in self._views:
            if isinstance(view, TurnView):
                await view.mark_drafts(on)

    def mark(self, needle: str, found: Turn | None) -> None:
        """Mark what reads like `needle`, and the turn in which the place is that was found."""
        self._needle, self._found = needle, found
        for view in self._views:
            if isinstance(view, TurnView):
                view.mark(needle, found=view.item is found)


def _more(items: Sequence[Item], where: str, how: str) -> str:
    if not items:
        return ""
    turns = turns_in(items)
    what = f"{turns:,} {where} {'turn' if turns == 1 else 'turns'}" if turns else f"{where} lines"
    return f"… {what}, {how}"
