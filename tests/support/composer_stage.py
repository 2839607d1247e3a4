"""The composer alone under Textual's test pilot, in a small app that writes down what it is told."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import ClassVar

from textual import on
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.widgets import Static

from qwen_tui.composer.completion_list import CompletionList
from qwen_tui.composer.composer import Composer
from qwen_tui.composer.editor import Editor
from qwen_tui.composer.slash import SlashCommand
from qwen_tui.settings.themes import FALLBACK_THEME
from qwen_tui.store import Draft
from support.pilot_stage import IdlePilot, PilotStage

COMMANDS = (
    SlashCommand("help", "/help", "keys and commands", "Help"),
    SlashCommand("new", "/new", "a new conversation", "New"),
    SlashCommand("set", "/set [NAME VALUE]", "how answers are sampled", "Set", (), True),
    SlashCommand("settings", "/settings", "every setting", "Settings"),
    SlashCommand("theme", "/theme [NAME]", "choose colours", "Theme", (), True),
    SlashCommand("think", "/think LEVEL", "reasoning effort", "Think", ("none", "low", "medium", "high"), True),
    SlashCommand("inspect", "/inspect", "the layers", "Layers"),
    SlashCommand("quit", "/quit", "leave", "Quit"),
)


class ComposerApp(App[None]):
    """A transcript's place, the composer, and what it said."""

    CSS = "#above { height: 1fr; }"
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "stop", "Stop", show=False)]

    def __init__(self, suspends: bool) -> None:
        super().__init__()
        self.sent: list[str] = []
        self.drafts: list[Draft] = []
        self.troubles: list[str] = []
        self.stops = 0
        self.suspended = 0
        self._suspends = suspends
        self.register_theme(FALLBACK_THEME)
        self.theme = FALLBACK_THEME.name

    def get_theme_variable_defaults(self) -> dict[str, str]:
        return FALLBACK_THEME.variables

    def compose(self) -> ComposeResult:
        yield Static("above", id="above")
        yield Composer()
        below = Static("below")
        below.can_focus = True  # where Tab goes
        yield below

    @contextmanager
    def suspend(self) -> Iterator[None]:
        """As on a terminal that can be given away, where the test asks for one."""
        if not self._suspends:
            with super().suspend():
                yield
            return
        self.suspended += 1
        yield  # like the real one, no `finally`: an error in here would leave the terminal to nobody
        self.suspended -= 1

    @on(Editor.Submitted)
    def _submitted(self, event: Editor.Submitted) -> None:
        self.sent.append(event.text)

    @on(Editor.DraftChanged)
    def _draft(self) -> None:
        self.drafts.append(self.query_one(Editor).draft())

    @on(Editor.Trouble)
    def _trouble(self, event: Editor.Trouble) -> None:
        self.troubles.append(event.text)

    def action_stop(self) -> None:
        self.stops += 1


class ComposerStage(PilotStage[ComposerApp]):
    @property
    def composer(self) -> Composer:
        return self.app.query_one(Composer)

    @property
    def editor(self) -> Editor:
        return self.composer.editor

    @property
    def menu(self) -> CompletionList:
        return self.app.query_one(CompletionList)

    def taken(self) -> str:
        """What is written, in full, as it is once it was sent."""
        sent = self.editor.text
        full = self.editor.pastes.expand(sent)
        self.editor.take(sent)
        return full

    @property
    def offered(self) -> list[str]:
        """The names in the list, if it is open."""
        return [candidate.name for candidate in self.menu.candidates] if self.menu.display else []


@asynccontextmanager
async def composer_stage(
    size: tuple[int, int] = (60, 20), *, folder: Path | None = None, suspends: bool = True
) -> AsyncIterator[ComposerStage]:
    """The composer focused, with COMMANDS, four themes to choose from, and `folder` for paths."""
    app = ComposerApp(suspends)
    async with app.run_test(size=size):
        here = ComposerStage(app, IdlePilot(app))
        here.editor.focus()
        here.composer.commands = COMMANDS
        here.composer.choices = lambda name: {"theme": ["midnight", "moss", "paper"], "set": ["top_k", "top_p"]}.get(
            name, []
        )
        if folder is not None:
            here.composer.folder = folder
        await here.pilot.pause()
        yield here
