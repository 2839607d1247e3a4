"""What the list of conversations works on: the conversations it lists, what a search found, and changes with undo.

Knows no screen. A change is in the list at once and handed to the store in the same moment, so that what the person
does next means what they see; what comes back from the store afterwards is what counts.
"""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

from qwen_tui.conversation_list.lines import Row, rows_of
from qwen_tui.store import ConversationSummary, Hit, Store
from qwen_tui.store.export_file import export_conversation
from qwen_tui.store.thread import StoreThread
from qwen_tui.text.safe import cells

PAGE = 200
MOST_HITS = 100
EVERYTHING = 1_000_000

Result = TypeVar("Result")


class ConversationBook:
    """The list and its changes. Every awaitable raises QwenError where the store could not do it."""

    def __init__(self, store: StoreThread, deleted: list[int] | None = None) -> None:
        """`deleted`: what was deleted before, the last one at the end; it is kept up to date."""
        self._store = store
        self.query = ""
        self.model: str | None = None
        self.titles: list[ConversationSummary] = []
        self.hits: list[Hit] = []
        self.models: list[str] = []
        self.more = False  # there are conversations beyond those in `titles`
        self.was_read = False
        self._deleted: list[int] = [] if deleted is None else deleted  # what undo brings back, the last one first
        self._generation = 0  # a reading that began before a change is not worth showing
        self._reading_more = False
        self._changes: set[asyncio.Task[Any]] = set()

    @property
    def deleted(self) -> frozenset[int]:
        """What was deleted here and not brought back."""
        return frozenset(self._deleted)

    @property
    def rows(self) -> list[Row]:
        searched = bool(self.query.strip())
        return rows_of(self.titles, self.hits, searched=searched, more=self.more, limit=MOST_HITS)

    @property
    def empty(self) -> str:
        """What to say where there are no rows."""
        of_model = " with this model" if self.model is not None else ""
        query = self.query.strip()
        if not query:
            return f"No conversations{of_model or ' yet'}."
        if not _searches_messages(query):
            return f"No title{of_model} has that. From two letters on, all messages are searched as well."
        return f"No title and no message{of_model} has that."

    # Reading.

    def search(self, query: str) -> None:
        """Another query, for the next look."""
        if query != self.query:
            self.query, self.titles = query, self.titles[:PAGE]

    async def look(self, *, room: int = 0) -> None:
        """Read the list again, as far as it was read and `room` further."""
        self._generation += 1
        generation = self._generation
        limit = max(PAGE, len(self.titles) + room)
        title, model = self.query.strip(), self.model

        def read(store: Store) -> tuple[list[ConversationSummary], list[Hit], list[str]]:
            titles = store.conversations.listed(model=model, title=title, limit=limit + 1)
            hits = store.search.find(title, model=model, limit=MOST_HITS) if _searches_messages(title) else []
            return titles, hits, store.conversations.models()

        titles, hits, models = await self._store.use(read)
        if generation == self._generation:
            self.titles, self.hits, self.models = titles[:limit], hits, models
            self.more = len(titles) > limit
            self.was_read = True

    async def read_more(self, *, everything: bool = False) -> None:
        """Another page of the list, or all that is left of it."""
        if not self.more or (self._reading_more and not everything):
            return
        generation, offset = self._generation, len(self.titles)
        limit = EVERYTHING if everything else PAGE
        title, model = self.query.strip(), self.model
        self._reading_more = True
        try:
            page = await self._store.use(
                lambda store: store.conversations.listed(model=model, title=title, limit=limit + 1, offset=offset)
            )
        finally:
            self._reading_more = False
        # Another page may have come before this one, and another program may have moved one from page to page.
        if generation == self._generation:
            known = {summary.id for summary in self.titles}
            self.titles = [*self.titles, *(summary for summary in page[:limit] if summary.id not in known)]
            self.more = len(page) > limit

    def next_model(self) -> str | None:
        """Choose the next model's conversations, after the last one those of all; its name."""
        choices = [None, *self.models]
        place = choices.index(self.model) if self.model in choices else -1
        self.model = choices[(place + 1) % len(choices)]
        self.titles = self.titles[:PAGE]
        return self.model

    # Changes. They are handed in when the function is called; what it returns waits for them and for the new list.

    def delete(self, conversation_id: int) -> Awaitable[None]:
        self._deleted.append(conversation_id)
        self.titles = [summary for summary in self.titles if summary.id != conversation_id]
        self.hits = [hit for hit in self.hits if hit.conversation_id != conversation_id]

        def failed() -> None:
            self._deleted[:] = [one for one in self._deleted if one != conversation_id]

        return self._change(lambda store: store.conversations.delete(conversation_id), failed)

    def undo(self) -> Awaitable[ConversationSummary]:
        """Bring the last deleted one back. IndexError if there is none."""
        conversation_id = self._deleted.pop()

        def restore(store: Store) -> ConversationSummary:
            store.conversations.restore(conversation_id)
            return store.conversations.get(conversation_id)

        return self._change(restore, lambda: self._deleted.append(conversation_id), room=1)

    def rename(self, conversation_id: int, title: str) -> Awaitable[None]:
        return self._change(lambda store: store.conversations.rename(conversation_id, title))

    def pin(self, conversation_id: int) -> Awaitable[bool]:
        """Pin it, or unpin it; returns whether it is pinned now."""

        def turn(store: Store) -> bool:
            pinned = not store.conversations.get(conversation_id).pinned
            store.conversations.pin(conversation_id, pinned)
            return pinned

        return self._change(turn)

    async def export(self, conversation_id: int, folder: Path) -> Path:
        """Write it as Markdown under a free name from its title; where."""
        return await self._store.use(lambda store: export_conversation(store, conversation_id, "markdown", folder, {}))

    async def settled(self) -> bool:
        """Wait for every change that is on its way; whether all of them were done."""
        results = await asyncio.gather(*self._changes, return_exceptions=True)
        return not any(isinstance(result, BaseException) for result in results)

    def _change(
        self, work: Callable[[Store], Result], failed: Callable[[], object] = lambda: None, *, room: int = 0
    ) -> Awaitable[Result]:
        """Hand a change in now, and read the list again after it: also if nobody waits for it any more."""
        self._generation += 1
        handed_in = self._store.submit(work)

        async def change() -> Result:
            try:
                return await asyncio.wrap_future(handed_in)
            except BaseException:
                failed()
                raise
            finally:
                await self.look(room=room)

        task = asyncio.get_running_loop().create_task(change())
        self._changes.add(task)
        task.add_done_callback(self._changes.discard)
        waiting = asyncio.shield(task)
        waiting.add_done_callback(_looked_at)
        return waiting


def _looked_at(future: "asyncio.Future[Any]") -> None:
    """Whoever waited for it may have left: an error then is nobody's."""
    if not future.cancelled():
        future.exception()


def _searches_messages(query: str) -> bool:
    """From two letters on, or one of a script whose letters are words."""
    return cells(query) >= 2
