"""Which conversation each program has open: a byte of one file, locked for as long as it is.

The lock ends with the process, however it ends. Record locks: a byte of one file for each conversation leaves no files
behind, and a lock that cannot be made stronger stays what it was.
"""

import fcntl
import os
from contextlib import suppress
from pathlib import Path

MOST = 1 << 62


class OpenMarks:
    """This program's mark, in the file at `path`, which is made at the first look. No method raises."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: int | None = None
        self._marked: int | None = None

    def look(self, conversation_id: int | None) -> bool:
        """Mark this conversation as open here (None: none is); whether another program has it open as well.

        False as well where the file system knows no locks.
        """
        try:
            if conversation_id != self._marked:
                self._release()
            if conversation_id is None or not 0 <= conversation_id < MOST:
                return False
            if self._file is None:
                self._file = os.open(self._path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
            self._marked = conversation_id
            return self._is_shared(self._file, conversation_id)
        except OSError:
            return False

    def close(self) -> None:
        if self._file is not None:
            with suppress(OSError):
                os.close(self._file)
            self._file = self._marked = None

    def _release(self) -> None:
        if self._file is not None and self._marked is not None:
            fcntl.lockf(self._file, fcntl.LOCK_UN, 1, self._marked)
        self._marked = None

    @staticmethod
    def _is_shared(file: int, byte: int) -> bool:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, byte)
            shared = False
        except (BlockingIOError, PermissionError):
            shared = True
        fcntl.lockf(file, fcntl.LOCK_SH | fcntl.LOCK_NB, 1, byte)
        return shared
