"""The log file that takes the engine process's stdout and stderr, and what its end says about a death.

Opening, bounding and reading it back; who writes there is worker.py and whatever native code it runs.
"""

import io
import os
import signal
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from qwen_core.errors import QwenError, printable
from qwen_core.settings.paths import engine_log_path, state_dir

RANK_LOST = 4
"""What the engine process ends with when its last words say which other rank was lost."""
MAX_BYTES = 1 << 20
TAIL_BYTES = 16 << 10
MAX_LINE = 300
FATAL = "Fatal Python error"
NOTE = "note: "
"""How a line begins that says nothing of an end."""
UNEXPLAINED = {
    "SIGKILL": "killed from outside, by the system if memory ran out",
    "SIGBUS": "a mapped weight file became shorter or unreadable",
}


@dataclass(frozen=True)
class EngineLog:
    """One process's part of the log: the file and where this process's part of it begins. No path: nowhere to write."""

    path: Path | None
    start: int = 0

    def append(self, text: str) -> None:
        """Add `text`; a log that cannot be written is no reason to fail."""
        if self.path is None:
            return
        try:
            with self.path.open("a", encoding="utf-8", errors="backslashreplace") as file:
                file.write(text)
        except OSError:
            return

    def last_words(self) -> str:
        """The last line that this process wrote, printable and bounded; empty if it wrote none.

        Of the interpreter's own crash report only its heading counts, and before that the line that native code wrote
        about the reason.
        """
        if self.path is None:
            return ""
        try:
            with self.path.open("rb") as file:
                size = file.seek(0, os.SEEK_END)
                start = self.start if self.start <= size else 0
                file.seek(max(start, size - TAIL_BYTES))
                text = file.read(TAIL_BYTES).decode("utf-8", "replace")
        except OSError:
            return ""
        return last_line(line.strip() for line in text.splitlines())


def last_line(lines: Iterable[str]) -> str:
    """The last of a process's lines that says something of its end, printable and bounded; empty if there is none."""
    said = [line for line in lines if line and not line.startswith(NOTE)]
    fatal = next((number for number, line in enumerate(said) if line.startswith(FATAL)), None)
    if fatal is not None:
        said = said[: max(fatal, 1)]
    return printable(said[-1], MAX_LINE) if said else ""


def open_engine_log() -> tuple[EngineLog, int]:
    """The log, rotated if it has grown, and a descriptor that appends to it; the caller closes the descriptor.

    Where no log can be written the words go nowhere: they must not reach the terminal, nor keep a model from loading.
    """
    try:
        state_dir()
        path = engine_log_path()
        if path.exists() and path.stat().st_size > MAX_BYTES:
            path.replace(path.with_name(f"{path.name}.1"))
        flags = (
            os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NONBLOCK
        )  # a named pipe would be waited for
        descriptor = os.open(path, flags, 0o600)
        os.fchmod(descriptor, 0o600)  # whoever made it
        return EngineLog(path, os.fstat(descriptor).st_size), descriptor
    except (OSError, QwenError):
        return EngineLog(None), os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)


def divert_native_words() -> None:
    """Have the log take what native code writes on this process's standard error from now on, as MLX does of a broken
    ring; Python's own words go where they went."""
    _, descriptor = open_engine_log()
    words = os.dup(2)
    os.dup2(descriptor, 2)
    os.close(descriptor)
    stream = sys.stderr
    if isinstance(stream, io.TextIOWrapper) and stream.fileno() == 2:
        stream.flush()
        sys.stderr = os.fdopen(words, "w", 1, stream.encoding, stream.errors)
    else:
        os.close(words)


def bound_log(descriptor: int) -> None:
    """Empty the log behind `descriptor` if one process has filled it: it is appended to, so it goes on from zero."""
    try:
        if os.fstat(descriptor).st_size > MAX_BYTES:
            os.ftruncate(descriptor, 0)
    except OSError:
        return


def describe_death(exit_code: int, last_words: str) -> str:
    """One line for people on a process that ended by itself. A negative `exit_code` is a signal's number."""
    if exit_code == RANK_LOST and last_words:
        return last_words
    return f"the engine process {describe_end(exit_code, last_words)}"


def describe_end(exit_code: int, last_words: str) -> str:
    """The same of any process, from its verb on."""
    if exit_code < 0:
        try:
            name = signal.Signals(-exit_code).name
        except ValueError:
            name = f"signal {-exit_code}"
        how = f"was ended by {name}"
        if name in UNEXPLAINED:
            how += f" ({UNEXPLAINED[name]})"
    else:
        how = f"ended with exit code {exit_code}"
    return f"{how}; its last words: {last_words}" if last_words else how
