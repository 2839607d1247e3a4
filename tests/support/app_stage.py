"""The app on a stage: under Textual's test pilot, with a scripted engine, and the screen read back."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from string import ascii_letters
from typing import Any

from textual.pilot import Pilot

from qwen_core.protocol.events import Event, GenerationSettings
from qwen_tui.app.app import QwenApp
from qwen_tui.app.first_start import first_start
from qwen_tui.settings.file import LoadedSettings
from qwen_tui.settings.tree import AppSettings, with_value
from qwen_tui.store.thread import StoreThread
from support.fake_engine import MODEL, FakeEngine, Script

DEADLINE_S = 30.0


@dataclass
class Stage:
    app: QwenApp
    pilot: Pilot[None]
    engines: list[FakeEngine]

    @property
    def engine(self) -> FakeEngine:
        return self.engines[0]

    async def wait(self, condition: Callable[[], object], what: str = "") -> None:
        """Until `condition` holds; fails with the screen after the deadline."""
        loop = asyncio.get_running_loop()
        end = loop.time() + DEADLINE_S
        while not condition():
            if loop.time() > end:
                screen = "\n".join(self.lines())
                raise AssertionError(f"waited in vain for {what or condition}; the screen:\n{screen}")
            await self.pilot.pause(0.01)

    async def settle(self) -> None:
        """Until everything that was fed is on the screen."""
        for _ in range(2):
            await self.pilot.pause()
            await self.wait(lambda: not self.app.chat.draw_due, "the drawing")
            # The drawing has begun by then; what comes after it in the same queue shows that it has ended.
            drawn = asyncio.Event()
            self.app.chat.call_later(drawn.set)
            await self.wait(drawn.is_set, "the end of the drawing")
        await self.pilot.pause()

    async def type(self, text: str) -> None:
        """`text` in the composer, as if written."""
        self.app.chat.editor.focus()
        self.app.chat.editor.set_text(text)
        await self.pilot.pause()

    async def enter(self, text: str) -> None:
        await self.type(text)
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

    def lines(self) -> list[str]:
        """The screen as text, one string a row, without trailing blanks."""
        return [text.rstrip() for text, _ in _rows(self.app)]

    def text(self) -> str:
        return "\n".join(self.lines())

    def transcript(self) -> str:
        """All text of the conversation in drawing order, also what is scrolled out of view."""
        return "\n".join(
            line.rstrip() for widget in self.app.chat.transcript.walk_children() for line in _widget_lines(widget)
        )

    def snapshot(self) -> str:
        """Text, then one letter a cell for its style, then what each letter means."""
        rows = _rows(self.app)
        letters: dict[str, str] = {}
        grid: list[str] = []
        for _, styles in rows:
            for style in styles:
                letters.setdefault(style, ascii_letters[len(letters)] if len(letters) < len(ascii_letters) else "?")
            grid.append("".join(letters[style] for style in styles))
        legend = [f"{letter}  {style}" for style, letter in letters.items()]
        return "\n".join([*(text.rstrip() for text, _ in rows), "-" * 20, *grid, "-" * 20, *legend]) + "\n"


def _widget_lines(widget: Any) -> list[str]:
    if widget.children or not widget.is_attached or not all(node.display for node in widget.ancestors_with_self):
        return []
    return [
        "".join(segment.text for segment in widget.render_line(y)) for y in range(widget.size.height) if widget.size
    ]


def _rows(app: QwenApp) -> list[tuple[str, list[str]]]:
    rows = []
    for strip in app.screen._compositor.render_strips():
        styles: list[str] = []
        for segment in strip:
            style = segment.style
            name = "plain"
            if style is not None:
                fore = style.color.get_truecolor().hex if style.color else "-"
                back = style.bgcolor.get_truecolor().hex if style.bgcolor else "-"
                flags = [f for f in ("bold", "italic", "underline", "reverse", "strike") if getattr(style, f)]
                name = " ".join([fore, "on", back, *flags])
            styles += [name] * segment.cell_length
        rows.append((strip.text, styles))
    return rows


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
        async with app.run_test(size=size) as pilot:
            here = Stage(app, pilot, engines)
            await here.wait(lambda: engines, "the engine to be made")
            if ready:
                await here.wait(lambda: app.conversation.engine == "ready", "the model")
            await here.settle()
            yield here
    finally:
        app.close_engine()
