"""One SQLite file: opened with care, written in short transactions, its errors as one line, never lost silently.

Write-ahead logging, so that a reader and a writer of another program do not wait for each other; two writers wait at
most BUSY_S. Every commit is on disk before it returns. A damaged file is moved aside under the data directory, and
the line that says so names it.
"""

import fcntl
import os
import sqlite3
import stat
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from qwen_core.errors import quote
from qwen_tui.store.errors import StoreError
from qwen_tui.store.schema import APPLICATION_ID, LATEST, migrate, strange_part, strange_value, version_of

BUSY_S = 10.0
CHECKED_BYTES = 64 << 20
"""Files up to this size are checked whenever they are opened: some milliseconds a MiB. Larger ones on suspicion."""
CHECK_S, CHECK_S_PER_MIB = 10.0, 0.05
"""Of processor time that checking a file may take: a hundred times what a sound one needs."""
_STEPS = 100_000  # of SQLite's machine, between two looks at the clock: under a millisecond
_DAMAGED = "{} is damaged; the next start keeps it aside and begins a new one"
_LEAST_BYTES = 512  # of a database: one page of the smallest size
_DAMAGE = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


class _DamagedError(Exception):
    """The file is no database, or one that contradicts itself."""


class Database:
    """An open file. Of one thread; `read` and `write` raise StoreError for whatever SQLite refuses.

    `generation` is another number in each transaction before which something was written that none of these committed:
    by another program, or by one that was taken back. What was remembered of the file until then may not be so.
    """

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path = path
        self.generation = 0
        self._connection = connection
        self._data_version = -1

    def read(self, query: str, values: Sequence[Any] = ()) -> list[sqlite3.Row]:
        with self._told("read"):
            return self._connection.execute(query, values).fetchall()

    @contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """A transaction: all of it is on disk when this ends, or nothing of it. Not nested."""
        with self._told("kept"):
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                version = self._connection.execute("PRAGMA data_version").fetchone()[0]
                self.generation += version != self._data_version
                self._data_version = version
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                self.generation += 1
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    def function(self, name: str, arguments: int, function: Callable[..., Any] | None) -> None:
        """Make `function` available in SQL."""
        self._connection.create_function(name, arguments, function)

    def close(self) -> None:
        with suppress(sqlite3.Error):
            self._connection.close()

    @contextmanager
    def _told(self, done: str) -> Iterator[None]:
        try:
            yield
        except sqlite3.DatabaseError as error:
            code = _code(error)
            if code in _DAMAGE:
                _suspicion(self.path).touch()
            if isinstance(error, sqlite3.ProgrammingError):
                raise
            raise StoreError(f"the conversations cannot be {done}: {_reason(error, self.path)}") from error
        except UnicodeDecodeError as error:  # as in _connect
            _suspicion(self.path).touch()
            raise StoreError(f"the conversations cannot be {done}: {_DAMAGED.format(quote(self.path))}") from error


def open_database(path: Path) -> tuple[Database, str]:
    """The file at `path`, made if there is none, brought to the latest schema; and a line about damage, or "".

    Raises StoreError for a file that is not ours or newer than this program, and where nothing can be written.
    """
    try:
        return Database(path, _connect(path)), ""
    except _DamagedError:
        pass
    except OSError as error:
        raise StoreError(f"the conversations in {quote(path)} cannot be opened: {error.strerror or error}") from error
    with _alone(path):
        try:
            return Database(path, _connect(path)), ""  # another program has moved it aside meanwhile
        except _DamagedError as damage:
            kept = _move_aside(path)
            notice = f"the file of conversations was damaged ({damage}); it is kept as {quote(kept)}, a new one begins"
            return Database(path, _connect(path)), notice


def _connect(path: Path) -> sqlite3.Connection:
    if path.exists() and not stat.S_ISREG(path.stat().st_mode):
        raise StoreError(f"{quote(path)} is not a regular file: move it away to keep conversations there")
    if path.exists() and 0 < path.stat().st_size < _LEAST_BYTES:
        raise _DamagedError("it is too short")  # SQLite would begin anew in the same file
    # Made here for its mode; SQLite gives its other two files the same.
    descriptor = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "rb") as file:
        if file.read(19)[18:] > b"\2":
            raise _DamagedError("its format is unknown")  # SQLite would read it, and say that it may not be written
    try:
        connection = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None)
    except sqlite3.Error as error:
        raise StoreError(f"the conversations cannot be opened: {_reason(error, path)}") from error
    try:
        with _deadline(connection, path):
            _prepare(connection, path)
    except sqlite3.Error as error:
        connection.close()
        # SQLite has no error code for a header that names an unknown format, only these words.
        if _code(error) in _DAMAGE or "unsupported file format" in str(error):
            raise _DamagedError(quote(error)) from error
        raise StoreError(f"the conversations cannot be opened: {_reason(error, path)}") from error
    except UnicodeDecodeError as error:  # SQLite's own message, quoting bytes that are no longer text
        connection.close()
        raise _DamagedError("its tables have no names") from error
    except BaseException:
        connection.close()
        raise
    return connection


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    connection.row_factory = sqlite3.Row
    connection.text_factory = lambda data: data.decode("utf-8", "replace")
    application = connection.execute("PRAGMA application_id").fetchone()[0]
    tables = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
    if application != APPLICATION_ID and tables:
        raise StoreError(f"{quote(path)} is a database of another program: move it away to keep conversations there")
    version = version_of(connection)
    if version > LATEST:
        raise StoreError(
            f"{quote(path)} was written by a newer qwen-tui (schema {version}, this one knows {LATEST}): "
            "update qwen-tui"
        )
    suspicion = _suspicion(path)
    if tables and (strange := strange_part(connection)):
        raise _DamagedError(quote(strange))
    if suspicion.exists() or path.stat().st_size <= CHECKED_BYTES:
        problems = connection.execute("PRAGMA integrity_check(1)").fetchone()[0]
        if problems != "ok":
            raise _DamagedError(quote(problems))
        if strange := strange_value(connection):
            raise _DamagedError(strange)
        suspicion.unlink(missing_ok=True)
    _patiently(lambda: connection.execute("PRAGMA journal_mode = WAL"))
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA trusted_schema = OFF")
    migrate(connection)


@contextmanager
def _deadline(connection: sqlite3.Connection, path: Path) -> Iterator[None]:
    """End what SQLite does in here when it has used its time: such a file is damaged."""
    end = time.thread_time() + CHECK_S + CHECK_S_PER_MIB * path.stat().st_size / 2**20
    connection.set_progress_handler(lambda: time.thread_time() > end, _STEPS)
    try:
        yield
    except sqlite3.OperationalError as error:
        if _code(error) == sqlite3.SQLITE_INTERRUPT:
            raise _DamagedError("checking it takes too long") from error
        raise
    finally:
        connection.set_progress_handler(None, 0)


def _patiently(action: Callable[[], object]) -> None:
    """Again while another program is in the way: SQLite itself does not wait when it changes the journal's kind."""
    deadline = time.monotonic() + BUSY_S
    while True:
        try:
            action()
            return
        except sqlite3.OperationalError as error:
            if _code(error) != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.02)


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Only one program at a time moves a damaged file: the second would move the new one."""
    descriptor = os.open(f"{path}.lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        with suppress(OSError):  # a file system without locks
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _move_aside(path: Path) -> Path:
    """Rename the file and its log together, so that SQLite's own tools can still rescue both."""
    stamp = time.strftime("%Y%m%d-%H%M%S")
    names = (path.with_name(f"{path.name}.damaged-{stamp}{f'-{n}' if n else ''}") for n in range(1000))
    kept = next(name for name in names if not name.exists())
    try:
        for end in ("", "-wal", "-shm"):
            with suppress(FileNotFoundError):
                Path(f"{path}{end}").rename(f"{kept}{end}")
    except OSError as error:
        raise StoreError(f"{quote(path)} is damaged and cannot be moved aside: {error.strerror or error}") from error
    _suspicion(path).unlink(missing_ok=True)
    return kept


def _suspicion(path: Path) -> Path:
    """A file that says: check before use."""
    return path.with_name(f"{path.name}.suspect")


def _code(error: sqlite3.Error) -> int:
    """SQLite's primary error code; 0 where the error is not one of SQLite's."""
    return (getattr(error, "sqlite_errorcode", 0) or 0) & 0xFF


def _reason(error: sqlite3.Error, path: Path) -> str:
    match _code(error):
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return f"another program has kept {quote(path)} busy for {BUSY_S:g} s"
        case sqlite3.SQLITE_FULL:
            return f"no space is left for {quote(path)}"
        case sqlite3.SQLITE_READONLY | sqlite3.SQLITE_PERM | sqlite3.SQLITE_CANTOPEN:
            return f"{quote(path)} cannot be written: look at its permissions"
        case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_NOTADB:
            return _DAMAGED.format(quote(path))
        case sqlite3.SQLITE_CONSTRAINT:
            return "what it belongs to is not there any more; another program may have deleted it"
        case _:
            return f"{quote(path)}: {quote(error)}"
