"""Which programs are writing answers: one locked file each, so that a dead one is told from one that is busy.

The lock ends with the process, however it ends; a process id could belong to another process by now.
"""

import fcntl
import os
import secrets
from contextlib import suppress
from pathlib import Path

from qwen_core.files import private_folder


class Writer:
    """This program's own file, locked until `close` or the end of the process."""

    def __init__(self, folder: Path) -> None:
        private_folder(folder)
        self._folder = folder
        self.name = ""
        while not self.name:
            name = f"{os.getpid()}-{secrets.token_hex(6)}"
            path = folder / name
            self._descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600)
            # On a file system without locks an answer may be marked as interrupted while it runs, until it ends.
            with suppress(OSError):
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Between making and locking it, another program may have found it unlocked and swept it away.
            if _is_same(path, self._descriptor):
                self.name = name
            else:
                os.close(self._descriptor)

    def close(self) -> None:
        if self.name:
            with suppress(OSError):
                (self._folder / self.name).unlink()
            os.close(self._descriptor)
            self.name = ""


def is_gone(folder: Path, name: str) -> bool:
    """Whether the program that wrote under `name` has ended; its file is swept away."""
    if not name or "/" in name:
        return True
    path = folder / name
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return True
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:
            return True
        with suppress(OSError):
            path.unlink()
        return True
    finally:
        os.close(descriptor)


def sweep(folder: Path) -> None:
    """Take away the files of programs that have ended."""
    with suppress(OSError):
        for path in list(folder.iterdir()):
            is_gone(folder, path.name)


def _is_same(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except OSError:
        return False
