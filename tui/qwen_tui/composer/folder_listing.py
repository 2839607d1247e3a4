"""The names in a folder, for completing a path: read in threads, so that no slow disk holds up the screen."""

import os
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from unicodedata import normalize

MAX_ENTRIES = 20_000
"""More are not looked at: a folder of millions must come to an end."""
MAX_THREADS = 4


@dataclass(frozen=True)
class FolderEntry:
    """A file or a folder; anything else cannot be attached."""

    name: str
    is_folder: bool
    size: int = 0
    key: str = ""  # for comparing


def folded(text: str) -> str:
    """The same for the same letters in whatever case and composition: file systems take letters apart."""
    return text.lower() if text.isascii() else normalize("NFC", normalize("NFC", text).casefold())


def list_folder(folder: Path) -> tuple[FolderEntry, ...]:
    """What is in `folder`, folders first; nothing where it cannot be read."""
    found: list[FolderEntry] = []
    with suppress(OSError, ValueError), os.scandir(folder) as entries:
        for _, entry in zip(range(MAX_ENTRIES), entries, strict=False):
            with suppress(OSError):
                if entry.is_dir():
                    found.append(FolderEntry(entry.name, True, 0, folded(entry.name)))
                elif entry.is_file():
                    found.append(FolderEntry(entry.name, False, entry.stat().st_size, folded(entry.name)))
    return tuple(sorted(found, key=lambda entry: (not entry.is_folder, entry.key, entry.name)))


class FolderLister:
    """Reads folders, the last one that was wanted in any case. `done` is called in a thread.

    The threads are daemons: the program does not wait for a disk that never answers, and neither do the others.
    """

    def __init__(self, done: Callable[[Path, tuple[FolderEntry, ...]], None]) -> None:
        self._done = done
        self._lock = threading.Lock()
        self._reading: set[Path] = set()
        self._waiting: Path | None = None

    def want(self, folder: Path) -> None:
        """Have `folder` read, unless that is going on."""
        with self._lock:
            if folder in self._reading:
                return
            if len(self._reading) >= MAX_THREADS:
                self._waiting = folder
                return
            self._reading.add(folder)
        threading.Thread(target=self._read, args=(folder,), name="listing", daemon=True).start()

    def _read(self, folder: Path) -> None:
        entries = list_folder(folder)
        with self._lock:
            self._reading.discard(folder)
            waiting, self._waiting = self._waiting, None
        with suppress(RuntimeError):  # the loop is closed: the app is gone
            self._done(folder, entries)
        if waiting is not None:
            self.want(waiting)
