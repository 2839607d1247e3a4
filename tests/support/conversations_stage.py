"""The list of conversations on the stage, over a real store in a temporary folder with a clock of its own."""

import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from qwen_core.protocol.events import GenerationSettings, Message
from qwen_tui.conversation_list.fields import SearchField
from qwen_tui.conversation_list.lines import Entry, Row
from qwen_tui.conversation_list.list_view import ConversationList
from qwen_tui.conversation_list.screen import ConversationsResult, ConversationsScreen
from qwen_tui.store import ConversationSummary, ModelIdentity, Store, open_store
from qwen_tui.store.thread import StoreThread
from support.app_stage import Stage, stage
from support.fake_engine import loads_only
from support.stores import MODEL, OTHER

NOW = 1_763_042_400.0  # 13 Nov 2025 14:00 UTC
MINUTE, HOUR, DAY = 60.0, 3600.0, 86_400.0
Result = TypeVar("Result")


@dataclass
class Shelf:
    """A store on its thread; `clock` is what the store takes for the time."""

    thread: StoreThread
    clock: list[float]

    def do(self, work: Callable[[Store], Result]) -> Result:
        return self.thread.submit(work).result()

    @contextmanager
    def held(self) -> Iterator[None]:
        """The store's thread gets to nothing until this ends."""
        go = threading.Event()
        self.thread.submit(lambda _: go.wait())
        try:
            yield
        finally:
            go.set()

    def add(
        self, title: str, ago: float = 0.0, *, turns: int = 1, model: ModelIdentity | None = MODEL, text: str = ""
    ) -> int:
        """A conversation that was used last `ago` seconds before `NOW`; its last answer is `text`."""
        self.clock[0] = NOW - ago

        def fill(store: Store) -> int:
            conversation = store.conversations.begin(None, model, title)
            for number in range(turns):
                question = store.answers.ask(conversation, f"Question {number}")
                answer = store.answers.begin(question, GenerationSettings(), model)
                said = text if number == turns - 1 and text else f"Answer {number}"
                store.answers.finish(answer, Message("assistant", said), "stop")
            return conversation

        made = self.do(fill)
        self.clock[0] = NOW
        return made

    def titles(self) -> list[str]:
        return [summary.title for summary in self.do(lambda store: store.conversations.listed())]


def shelf(folder: Path) -> Shelf:
    """Its thread is to be closed."""
    clock = [NOW]

    def make() -> Store:
        store = open_store(folder / "conversations.db", now=lambda: clock[0])
        store.database.read("PRAGMA synchronous = OFF")
        return store

    return Shelf(StoreThread(make), clock)


def furnish(here: Shelf) -> dict[str, int]:
    """A handful of conversations as people have them, by a short name."""
    made = {
        "formats": here.add(
            "Explain NVFP4 vs MXFP4",
            3 * MINUTE,
            turns=3,
            text="Each group of 16 weights shares one E4M3 scale, so that NVFP4 costs 4.5 bits a weight in all.",
        ),
        "dinner": here.add("東京での夕食の予約", 2 * HOUR, model=OTHER, text="駅の近くの静かな店はいかがでしょう。"),
        "sql": here.add("Why is my query slow?", DAY, turns=12, text="The index has the columns in another order."),
        "poem": here.add("A poem about scales and fish", 20 * DAY, turns=2, text="Silver scales, silver sea."),
        "trip": here.add("Packing list for Norway", 400 * DAY, turns=1234 // 100, model=None),
    }
    here.do(lambda store: store.conversations.pin(made["poem"]))

    def cut_short(store: Store) -> None:
        question = store.answers.ask(made["sql"], "And now?")
        store.answers.interrupt(store.answers.begin(question, GenerationSettings(), MODEL))

    here.clock[0] = NOW - DAY
    here.do(cut_short)
    here.clock[0] = NOW
    return made


@dataclass
class ConversationsStage(Stage):
    """The open screen and how it ended."""

    screen: ConversationsScreen
    results: list[ConversationsResult | None] = field(default_factory=list)

    @property
    def view(self) -> ConversationList:
        return self.screen.query_one(ConversationList)

    @property
    def search(self) -> SearchField:
        return self.screen.query_one(SearchField)

    @property
    def row(self) -> Entry:
        row = self.view.row
        assert row is not None
        return row

    @property
    def rows(self) -> list[Row]:
        return self.screen.book.rows

    @property
    def said(self) -> str:
        return self.screen.status.flash_text

    @property
    def result(self) -> ConversationsResult:
        """How it ended; fails while it is open."""
        (result,) = self.results
        assert result is not None
        return result

    async def settle(self) -> None:
        """Until the store has done everything and it is drawn."""
        for _ in range(2):
            await self.pilot.pause()
            await self.screen.workers.wait_for_complete()
            await super().settle()


async def opened(here: Stage, screen: ConversationsScreen) -> ConversationsStage:
    """`screen` over the chat, its list read."""
    found = ConversationsStage(here.app, here.pilot, here.engines, screen)
    await here.app.push_screen(screen, found.results.append)
    for editor in screen.query("Input"):
        setattr(editor, "cursor_blink", False)  # noqa: B010 - the query knows only widgets
    await found.settle()
    return found


@asynccontextmanager
async def conversations(
    here: Shelf,
    size: tuple[int, int] = (100, 30),
    *,
    current: int | None = None,
    query: str = "",
    folder: Path | None = None,
) -> AsyncIterator[ConversationsStage]:
    """The screen open over the chat, its list read."""
    async with stage(loads_only, size) as platform:
        screen = ConversationsScreen(
            here.thread, current, query, now=lambda: NOW, folder=lambda: folder if folder is not None else Path.cwd()
        )
        yield await opened(platform, screen)


ORDER = [
    "A poem about scales and fish",
    "Explain NVFP4 vs MXFP4",
    "東京での夕食の予約",
    "Why is my query slow?",
    "Packing list for Norway",
]
"""The titles of what `furnish` makes, as they are listed."""


def titles(here: ConversationsStage) -> list[str]:
    return [row.title for row in here.rows if isinstance(row, ConversationSummary)]
