"""The settings screen on a stage of its own: a small app that has nothing else, its file in a folder of the test."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from textual import on
from textual.app import App
from textual.binding import Binding, BindingType

from qwen_tui.app.help_screen import HelpScreen
from qwen_tui.settings.editors import ValueEditor
from qwen_tui.settings.file import LoadedSettings, load_settings
from qwen_tui.settings.no_color import respect_no_color
from qwen_tui.settings.rows import Action
from qwen_tui.settings.screen import SettingsScreen
from qwen_tui.settings.theme_watch import ThemeWatch
from qwen_tui.settings.themes import ANSI_THEME, FALLBACK_THEME, theme_folder
from support.pilot_stage import IdlePilot, PilotStage

ACTIONS: tuple[Action, ...] = (
    ("help", "the keys of where you are", "f1,ctrl+g"),
    ("inspect", "the layers of the model", "f2,ctrl+l"),
    ("new", "a new conversation", "ctrl+n"),
    ("quit", "leave", "ctrl+q"),
    ("turn_edit", "edit the question", "e"),
)
WORDS = {"looks.theme": ("midnight", "paper", "ansi")}


class Host(App[None]):
    """Keys that act before any widget, as the real app has them; they are held while a key is to be bound."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+q", "note_quit", "Quit", priority=True),
        Binding("f1,ctrl+g", "help", "Help"),
    ]

    def __init__(self) -> None:
        super().__init__()
        for theme in (FALLBACK_THEME, ANSI_THEME, *ThemeWatch([theme_folder()]).current.themes):
            self.register_theme(theme)
        self.theme = FALLBACK_THEME.name
        respect_no_color(self)
        self.changes: list[tuple[str, LoadedSettings]] = []
        self.quits = 0

    def get_theme_variable_defaults(self) -> dict[str, str]:
        return FALLBACK_THEME.variables

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        return not getattr(self.screen, "capturing", False)

    def action_note_quit(self) -> None:
        self.quits += 1

    def action_help(self) -> None:
        self.push_screen(HelpScreen())

    @on(SettingsScreen.Changed)
    def _changed(self, message: SettingsScreen.Changed) -> None:
        self.changes.append((message.key, message.loaded))


@dataclass
class SettingsStage(PilotStage[Host]):
    screen: SettingsScreen
    path: Path
    left: list[bool] = field(default_factory=list)

    async def to(self, name: str) -> None:
        """The cursor onto the setting of that name."""
        await self.press("home")
        for _ in range(100):
            row = self.screen._list.row
            if row is not None and row.field.name == name:
                return
            await self.pilot.press("down")
        raise AssertionError(f"there is no row {name}")

    async def told(self, text: str) -> None:
        """Until the status says it."""
        await self.wait(lambda: text in self.screen.status.flash_text, repr(text))
        await self.pilot.pause()

    def file(self) -> LoadedSettings:
        """What a program that starts now would read from the file."""
        return load_settings(self.path, {})


@asynccontextmanager
async def settings_stage(
    folder: Path,
    size: tuple[int, int] = (100, 30),
    *,
    content: str = "",
    environ: Mapping[str, str] | None = None,
    overrides: Mapping[str, Any] | None = None,
    actions: Sequence[Action] = ACTIONS,
    theme: str = FALLBACK_THEME.name,
) -> AsyncIterator[SettingsStage]:
    """The screen open at `size` on `content` as the file, which lies in `folder`."""
    path = folder / "config.toml"
    if content:
        path.write_text(content, encoding="utf-8")
    app = Host()
    async with app.run_test(size=size):
        app.theme = theme
        screen = SettingsScreen(load_settings(path, environ or {}, overrides), actions, words=WORDS, path=path)
        left: list[bool] = []
        app.push_screen(screen, lambda _: left.append(True))
        here = SettingsStage(app, IdlePilot(app), screen, path, left)
        await here.wait(lambda: screen.is_mounted and screen.focused is not None, "the screen")
        screen.query_one(ValueEditor).cursor_blink = False
        await here.pilot.pause()
        yield here
