"""The app on a stage: under Textual's test pilot, with a scripted engine, and the screen read back."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from textual.widget import Widget

from qwen_core.protocol.events import Event, GenerationSettings
from qwen_tui.app.app import QwenApp
from qwen_tui.app.first_start import first_start
from qwen_tui.layers.base_screen import LayersScreen
from qwen_tui.layers.screen import InspectorScreen
from qwen_tui.layers.tensor_screen import TensorScreen
from qwen_tui.settings.file import LoadedSettings
from qwen_tui.settings.tree import AppSettings, with_value
from qwen_tui.store.thread import StoreThread
from qwen_tui.widgets.colour_process import COLOUR_PROCESS
from support.fake_engine import MODEL, FakeEngine, Script
from support.pilot_stage import DEADLINE_S, IdlePilot, PilotStage


@dataclass
class Stage(PilotStage[QwenApp]):
    engines: list[FakeEngine]

    @property
    def engine(self) -> FakeEngine:
        return self.engines[0]

    async def settle(self) -> None:
        """Until everything that was fed or read is on the screen."""
        for _ in range(2):
            await self.pilot.pause()
            await self.wait(lambda: not self.app.chat.draw_due, "the drawing")
            # The drawing has begun by then; what comes after it in the same queue shows that it has ended.
            drawn = asyncio.Event()
            self.app.chat.call_later(drawn.set)
            await asyncio.wait_for(drawn.wait(), DEADLINE_S)
            await self.wait(lambda: not COLOUR_PROCESS.busy, "the colours of code")
            screen = self.app.screen
            if isinstance(screen, LayersScreen):
                await self.wait(lambda screen=screen: not screen.draw_due, "the drawing of the layers")
            if isinstance(screen, InspectorScreen | TensorScreen):
                await self.wait(lambda screen=screen: not screen.reader.busy, "the values")
        await self.pilot.pause()

    async def write(self, text: str) -> None:
        """`text` in the composer, as if written."""
        self.app.chat.editor.focus()
        self.app.chat.editor.set_text(text)
        await self.pilot.pause()

    async def enter(self, text: str) -> None:
        await self.write(text)
        await self.pilot.press("enter")
        await self.pilot.pause()

    async def ask(self, text: str) -> None:
        """Send `text`; returns when the engine has it."""
        before = len(self.engine.sent())
        await self.enter(text)
        await self.wait(lambda: len(self.engine.sent()) > before, f"{text!r} to be sent")

    def clock(self, at: float) -> None:
        """The conversation's clock stands at `at` seconds: what it times does not depend on the machine."""
        self.app.conversation.now = lambda: at

    async def feed(self, *events: Event) -> None:
        self.engine.feed(*events)
        await self.settle()

    def rows_of(self, widget: Widget) -> list[str]:
        """The rows of a widget with no others inside, also those scrolled out of view; none where it is hidden."""
        if widget.children or not widget.is_attached or not all(node.display for node in widget.ancestors_with_self):
            return []
        rows = range(widget.size.height) if widget.size else ()
        return ["".join(segment.text for segment in widget.render_line(y)) for y in rows]

    def transcript(self) -> str:
        """All text of the conversation in drawing order, also what is scrolled out of view."""
        widgets = [child for child in self.app.chat.transcript.walk_children() if isinstance(child, Widget)]
        return "\n".join(row.rstrip() for widget in widgets for row in self.rows_of(widget))


def loaded_with(settings: GenerationSettings, system: str | None = None) -> LoadedSettings:
    """Settings as a command line would give them."""
    names = {"max_new_tokens": "max_tokens"}
    tree = AppSettings()
    for name, value in {**asdict(settings), "system": system}.items():
        if value is not None and value is not False:
            tree = with_value(tree, f"generation.{names.get(name, name)}", value)
    return LoadedSettings(tree)


@asynccontextmanager
async def stage(
    script: Script | None = None,
    size: tuple[int, int] = (100, 30),
    *,
    settings: GenerationSettings | None = None,
    system: str | None = None,
    theme_folders: list[Path] | None = None,
    ready: bool = True,
    resume: int | None = None,
    store: StoreThread | None = None,
    first: bool = False,
    loaded: LoadedSettings | None = None,
) -> AsyncIterator[Stage]:
    """The app running at `size`, its model loaded unless `ready` is off. Closes the engine at the end."""
    engines: list[FakeEngine] = []

    def make(on_event: Callable[[Event], None]) -> FakeEngine:
        engines.append(FakeEngine(on_event, script))
        return engines[-1]

    if not first:
        first_start()
    app = QwenApp(
        MODEL.path,
        loaded or loaded_with(settings or GenerationSettings(), system),
        engine_factory=make,
        theme_folders=theme_folders,
        resume=resume,
        store=store,
    )
    try:
        async with app.run_test(size=size):
            here = Stage(app, IdlePilot(app), engines)
            await here.wait(lambda: engines, "the engine to be made")
            if ready:
                await here.wait(lambda: app.conversation.engine == "ready", "the model")
            await here.settle()
            yield here
    finally:
        app.close_engine()
