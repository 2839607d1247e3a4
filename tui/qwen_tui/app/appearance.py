"""How the app looks and which keys it has: themes, reloaded when their files are saved, and the settings of both."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from textual.app import App
from textual.binding import Binding
from textual.dom import DOMNode

from qwen_tui.settings.key_bindings import checked_keys
from qwen_tui.settings.no_color import respect_no_color
from qwen_tui.settings.rows import Action
from qwen_tui.settings.theme_watch import ThemesChanged, ThemeWatch
from qwen_tui.settings.themes import ANSI_THEME, DEFAULT_THEME, FALLBACK_THEME, theme_folders
from qwen_tui.settings.tree import AppSettings

WATCH_S = 1.0


class Appearance:
    """Made before the first screen of `app`, so that this is drawn in the colours it keeps.

    `actions`: what keys can be bound to. `note` takes a line for the transcript, and "error" for what is wrong.
    """

    def __init__(
        self,
        app: App[Any],
        settings: AppSettings,
        actions: Sequence[Action],
        note: Callable[..., None],
        folders: Iterable[Path] | None = None,
    ) -> None:
        self._app = app
        self._settings = settings
        self._actions = actions
        self._note = note
        self._watch = ThemeWatch(theme_folders() if folders is None else folders)
        builtin = list(app.available_themes)
        for theme in (FALLBACK_THEME, ANSI_THEME, *self._watch.current.themes):
            app.register_theme(theme)
        app.theme = DEFAULT_THEME
        for name in builtin:  # their colours were chosen without our contrast rules
            app.unregister_theme(name)
        respect_no_color(app)
        self.use_theme(settings.looks.theme)

    def begin(self) -> None:
        """Once the app runs: say what is wrong with themes and keys, and look for saved themes."""
        self._tell(self._watch.current)
        wanted = self._settings.looks.theme
        if wanted not in self._app.available_themes:
            self._note(f"There is no theme called {wanted}; there are {', '.join(self.themes())}.")
        problems = self.use_keys(self._settings.keys)
        if problems:
            self._note("Keys that could not be bound: " + "; ".join(problems), "error")
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
            self._note(changed.notice, "error")

    def themes(self) -> list[str]:
        """The names of the themes there are."""
        return sorted(self._app.available_themes)

    def use_theme(self, name: str) -> None:
        if name in self._app.available_themes:
            self._app.theme = name

    def use_keys(self, keys: Mapping[str, Sequence[str]]) -> list[str]:
        """Bind those of `keys`, the keys of each action, that can be bound; what is wrong with the others."""
        bound, problems = checked_keys(keys, self._actions)
        self._app.set_keymap({action: ",".join(names) for action, names in bound.items()})
        return problems


def rebindable(nodes: Iterable[DOMNode | type[DOMNode]]) -> list[Action]:
    """(action, what it does, its built-in keys) of every binding that has a name of its own, in order."""
    found: dict[str, tuple[str, list[str]]] = {}
    for node in nodes:
        for entry in node.BINDINGS:
            if isinstance(entry, Binding) and entry.id:
                found.setdefault(entry.id, (entry.description, []))[1].append(entry.key)
    return [(name, what, ",".join(keys)) for name, (what, keys) in found.items()]
