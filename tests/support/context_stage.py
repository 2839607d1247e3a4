"""The parts of the app without the app: their context, over a real store in a folder and a scripted engine."""

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from qwen_core.protocol.events import Event, Load, Notice
from qwen_tui.app.context import AppContext
from qwen_tui.app.conversation_actions import ConversationActions
from qwen_tui.app.copying import Copying
from qwen_tui.app.drafts import Drafts
from qwen_tui.app.engine_link import EngineLink
from qwen_tui.app.making_room import MakingRoom
from qwen_tui.app.token_count import TokenCount
from qwen_tui.app.turn_actions import TurnActions
from qwen_tui.conversation.recorder import Recorder
from qwen_tui.conversation.turns import Note
from qwen_tui.settings.file import LoadedSettings
from qwen_tui.settings.tree import AppSettings
from qwen_tui.store import open_store
from qwen_tui.store.thread import StoreThread
from support.fake_engine import MODEL, FakeEngine, Script


@dataclass
class ContextStage:
    """A context and what came of it: the engine, and the texts that were copied to the terminal."""

    context: AppContext
    engine: FakeEngine
    events: list[Event]
    copied: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.drafts = Drafts(self.context)
        self.conversations = ConversationActions(self.context, self.drafts)
        self.copying = Copying(self.context, self.copied.append)
        tokens = TokenCount(self.context, self.drafts)
        self.turns = TurnActions(self.context, self.drafts, self.conversations, self.copying, tokens)
        self.room = MakingRoom(self.context, self.drafts, self.conversations, self.turns, tokens)

    @property
    def said(self) -> str:
        """The short word in the status line."""
        return self.context.chat.status.flash_text

    @property
    def notes(self) -> list[str]:
        return [item.text for item in self.context.conversation.items if isinstance(item, Note)]

    @property
    def written(self) -> str:
        """What stands in the composer."""
        return self.context.chat.editor.text

    async def settle(self) -> None:
        """Until the engine has answered, the screen's state knows it, and the store has it."""
        done = threading.Event()
        self.context.link.send(first=done.set)
        await asyncio.to_thread(done.wait)
        while self.events:
            command = self.context.conversation.apply(self.events.pop(0))
            assert command is None
        await self.context.store.use(lambda store: None)

    async def ask(self, *questions: str) -> None:
        for question in questions:
            await self.turns.submit(question, question)
            await self.settle()


@asynccontextmanager
async def context_stage(folder: Path, script: Script | None = None) -> AsyncIterator[ContextStage]:
    """The model loaded, the store in `folder`."""
    events: list[Event] = []
    store = StoreThread(lambda: open_store(folder / "conversations.db"))

    def receive(event: Event) -> None:
        recorder.record(event)
        events.append(event)

    engine = FakeEngine(receive, script)
    recorder = Recorder(store, lambda line: events.append(Notice(line)))
    context = AppContext(
        LoadedSettings(AppSettings()), Load(MODEL.path, None), store, recorder, EngineLink(lambda _: engine, receive)
    )
    here = ContextStage(context, engine, events)
    context.link.start(context.load)
    try:
        await here.settle()
        yield here
    finally:
        await asyncio.to_thread(context.link.close)
        store.close()
