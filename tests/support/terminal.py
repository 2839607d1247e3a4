"""The installed program in a real terminal: tmux holds it, presses its keys, and says what stands on the screen."""

import os
import shutil
import subprocess
import sysconfig
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from support.engines import wait_until

DEADLINE_S = 90.0
POLL_S = 0.05
PROGRAM = Path(sysconfig.get_path("scripts")) / "qwen-tui"
# The exit code goes to a file, because tmux can miss the end of a child. The window stays open until tmux is ended.
RUN = 'status=$0; "$@"; echo $? >"$status"; read line'
# As a wrapper that keeps the terminal's hang-up to itself: the program must see by itself that its terminal is gone.
KEEPS_HANGUP = f"trap : HUP; {RUN}"


def tmux_is_there() -> bool:
    return shutil.which("tmux") is not None


class RealTerminal:
    """One tmux server with one window, in which the program runs. `folder` is for its socket and the exit code."""

    def __init__(self, folder: Path) -> None:
        self._socket = folder / "tmux"
        self._status = folder / "status"

    def start(self, *arguments: str, size: tuple[int, int], run: str) -> None:
        columns, rows = size
        command = ("sh", "-c", run, str(self._status), str(PROGRAM), *arguments)
        self._tmux("new-session", "-d", "-x", str(columns), "-y", str(rows), "--", *command)

    def end(self) -> None:
        """Take the terminal away, as closing its window does."""
        subprocess.run(["tmux", "-S", str(self._socket), "kill-server"], capture_output=True, check=False)

    def screen(self) -> str:
        return self._tmux("capture-pane", "-p")

    def cursor(self) -> tuple[int, int]:
        """Column and row of the terminal's cursor."""
        column, row = self._tmux("display-message", "-p", "#{cursor_x} #{cursor_y}").split()
        return int(column), int(row)

    def modes(self) -> str:
        """Whether the alternate screen is shown, the mouse is reported, the cursor is seen: "110"."""
        return self._tmux("display-message", "-p", "#{alternate_on}#{mouse_any_flag}#{cursor_flag}").strip()

    def write(self, text: str) -> None:
        """`text` as if typed."""
        self._tmux("send-keys", "-l", "--", text)

    def press(self, *keys: str) -> None:
        """Keys by tmux's names for them: Enter, Escape, C-q."""
        self._tmux("send-keys", *keys)

    def resize(self, columns: int, rows: int) -> None:
        self._tmux("resize-window", "-x", str(columns), "-y", str(rows))

    def wait(self, condition: Callable[[str], object], what: str) -> str:
        """The screen once `condition` holds for it; fails with the screen after the deadline."""
        end = time.monotonic() + DEADLINE_S
        while not condition(screen := self.screen()):
            if time.monotonic() > end:
                raise AssertionError(f"waited in vain for {what}; the screen:\n{screen}")
            time.sleep(POLL_S)
        return screen

    def exit_code(self) -> int:
        """Wait until the program has ended; its exit code. Also where the terminal is gone."""
        wait_until(lambda: self._status.exists() and self._status.read_text().endswith("\n"), "the program to end")
        return int(self._status.read_text())

    def processes(self) -> list[int]:
        """The program's process and all that it started."""
        table = subprocess.run(["ps", "-axo", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
        parents = {int(pid): int(parent) for pid, parent in (line.split() for line in table.splitlines())}
        found = [int(self._tmux("display-message", "-p", "#{pane_pid}"))]
        for pid in found:  # grows while it is walked: children, then theirs
            found += [child for child, parent in parents.items() if parent == pid]
        return found[1:]

    def _tmux(self, *arguments: str) -> str:
        """What one tmux command prints; CalledProcessError if it fails."""
        # -u: UTF-8 whatever the locale says. No configuration of the person's, and not the tmux that runs the tests.
        command = ["tmux", "-S", str(self._socket), "-u", "-f", os.devnull, *arguments]
        # Nor the size of another terminal, which the program would believe more than this one's.
        others = ("TMUX", "COLUMNS", "LINES")
        environment = {name: value for name, value in os.environ.items() if not name.startswith(others)}
        done = subprocess.run(
            command, capture_output=True, text=True, encoding="utf-8", env=environment, check=True, timeout=DEADLINE_S
        )
        return done.stdout


@contextmanager
def real_terminal(*arguments: str, size: tuple[int, int] = (100, 30), run: str = RUN) -> Iterator[RealTerminal]:
    """`qwen-tui` with these arguments in a terminal of this size, which is gone at the end. `run`: RUN or its like."""
    # Not pytest's folder: a socket's path may have about 100 characters.
    with TemporaryDirectory(prefix="qwen-tui-") as folder:
        terminal = RealTerminal(Path(folder))
        try:
            terminal.start(*arguments, size=size, run=run)
            yield terminal
        finally:
            terminal.end()
