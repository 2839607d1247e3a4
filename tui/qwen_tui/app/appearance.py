"""How the app looks and which keys it has: themes, reloaded when their files are saved, and the settings of both."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from textual.binding import Binding
from textual.dom import DOMNode

from qwen_core.settings.tree import Settings
from qwen_tui.settings.key_bindings import checked_keys
from qwen_tui.settings.no_color import respect_no_color
from qwen_tui.settings.theme_watch import ThemesChanged, ThemeWatch
from qwen_tui.settings.themes import ANSI_THEME, DEFAULT_THEME, FALLBACK_THEME, theme_folders

if TYPE_CHECKING:
    from qwen_tui.app.app import QwenApp

WATCH_S = 1.0


class Looks:
    """Belongs to the app. Made before its first screen, so that this is drawn in the colours it keeps."""

    def __init__(self, app: "QwenApp", folders: Iterable[Path] | None) -> None:
        self._app = app
        self._watch = ThemeWatch(theme_folders() if folders is None else folders)
        builtin = list(app.available_themes)
        for theme in (FALLBACK_THEME, ANSI_THEME, *self._watch.current.themes):
            app.register_theme(theme)
        app.theme = DEFAULT_THEME
        for name in builtin:  # their colours were chosen without our contrast rules
            app.unregister_theme(name)
        respect_no_color(app)
        self.use_theme(app.loaded.settings)

    def begin(self) -> None:
        """Once the app runs: say what is wrong with themes, and look for saved ones."""
        self._tell(self._watch.current)
        wanted = self._app.loaded.settings.looks.theme
        if wanted not in self._app.available_themes:
            self._app.note(f"There is no theme {wanted}; there are {', '.join(sorted(self._app.available_themes))}.")
        problems = self.use_keys(self._app.loaded.settings)
        if problems:
            self._app.note("Keys that could not be bound: " + "; ".join(problems), "error")
        self._app.set_interval(WATCH_S, self.look)

    def look(self) -> None:
        """Take up themes that were saved since the last look."""
        changed = self._watch.poll()
        if changed is None:
            return
        app = self._app
        for theme in changed.themes:
            app.register_theme(theme)
        for name in changed.gone:
            if name == app.theme:
                app.theme = DEFAULT_THEME
            if name not in (FALLBACK_THEME.name, ANSI_THEME.name):
                app.unregister_theme(name)
        if app.theme in {theme.name for theme in changed.themes}:
            app.refresh_css(animate=False)
        self._tell(changed)

    def _tell(self, changed: ThemesChanged) -> None:
        if changed.problems:
            self._app.note(changed.notice, "error")

    def use_theme(self, settings: Settings) -> None:
        if settings.looks.theme in self._app.available_themes:
            self._app.theme = settings.looks.theme

    def use_keys(self, settings: Settings) -> list[str]:
        """Bind the keys of `settings` that can be bound; what is wrong with the others."""
        keys, problems = checked_keys(settings.keys, self._app.actions)
        self._app.set_keymap({action: ",".join(names) for action, names in keys.items()})
        return problems


def rebindable(nodes: Iterable[DOMNode | type[DOMNode]]) -> list[tuple[str, str, str]]:
    """(action, what it does, its built-in keys) of every binding that has a name of its own, in order."""
    found: dict[str, tuple[str, list[str]]] = {}
    for node in nodes:
        for entry in node.BINDINGS:
            if isinstance(entry, Binding) and entry.id:
                found.setdefault(entry.id, (entry.description, []))[1].append(entry.key)
    return [(name, what, ",".join(keys)) for name, (what, keys) in found.items()]
