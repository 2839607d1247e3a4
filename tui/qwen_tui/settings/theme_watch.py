"""Themes that change while the program runs: looks at the files of theme folders and reads again what was saved.

Looking costs one stat a file. A file that became unreadable keeps its last good theme, so that a mistake in the middle
of trying colours is reported and costs nothing.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from textual.theme import Theme

from qwen_core.errors import QwenError
from qwen_tui.settings.themes import read_theme, theme_files

Mark = tuple[int, int, int]
"""What of a file changes when it is saved: its time, its size, and which file it is."""


@dataclass(frozen=True)
class ThemesChanged:
    """All themes as they are now, what is wrong with files, and the names that are no more."""

    themes: tuple[Theme, ...]
    problems: tuple[str, ...] = ()
    gone: tuple[str, ...] = ()

    @property
    def notice(self) -> str:
        """All problems in one line, "" where there are none."""
        return f"Themes that could not be read: {'; '.join(self.problems)}" if self.problems else ""


class ThemeWatch:
    """Reads everything once, as `current`; `poll` says what came of it since."""

    def __init__(self, folders: Iterable[Path]) -> None:
        self._folders = list(folders)
        self._marks: dict[Path, Mark | None] = {}
        self._good: dict[Path, Theme] = {}
        self._problems: dict[Path, str] = {}
        self.current = ThemesChanged(())
        self.poll()

    def poll(self) -> ThemesChanged | None:
        """None unless a file was saved, added or deleted since the last look."""
        marks = {path: _mark(path) for folder in self._folders for path in theme_files(folder)}
        if marks == self._marks:
            return None
        for path in self._marks.keys() - marks.keys():
            self._good.pop(path, None)
            self._problems.pop(path, None)
        for path, mark in marks.items():
            if path not in self._marks or self._marks[path] != mark:
                self._read(path)
        self._marks = marks
        # In the order of the folders: a later theme of the same name replaces an earlier one.
        themes = {theme.name: theme for path in marks if (theme := self._good.get(path)) is not None}
        gone = {theme.name for theme in self.current.themes} - themes.keys()
        problems = tuple(self._problems[path] for path in marks if path in self._problems)
        self.current = ThemesChanged(tuple(themes.values()), problems, tuple(sorted(gone)))
        return self.current

    def _read(self, path: Path) -> None:
        try:
            self._good[path] = read_theme(path)
        except QwenError as error:
            self._problems[path] = str(error)
        else:
            self._problems.pop(path, None)


def _mark(path: Path) -> Mark | None:
    try:
        status = path.stat()
    except OSError:
        return None  # a link to nothing, or gone between the listing and now
    return status.st_mtime_ns, status.st_size, status.st_ino
