"""The process of one rank that follows, as rank 0 sees it: started by mlx.launch's machinery, heard, and ended.

That machinery is `mlx._distributed_utils.launch.RemoteProcess`: a shell on this machine, or ssh with a terminal on the
other end, so that what runs there ends with the connection. Who decides that a rank is lost is ranks.py.
"""

import os
import re
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, cast

from qwen_core.engine.hosts import LOCAL, Host
from qwen_core.engine.lines import Speaker, read_messages
from qwen_core.engine.log import MAX_LINE, describe_end, last_line
from qwen_core.errors import printable

BOOT = "from qwen_core.engine.rank import main; main()"
SSH_FAILED = 255
END_GRACE_S = 2.0
_STARTING = threading.Lock()
_PID_FILE = re.compile(r"/[A-Za-z0-9_./+-]{1,200}/tmp\.[A-Za-z0-9]{4,20}|/tmp/tmp\.[A-Za-z0-9]{4,20}")


class RankProcess:
    """One rank's process. `heard` is called with each message of it and `ended` when there will be none; both from a
    thread of its own. `words`: what it wrote beside messages, the last of it."""

    def __init__(
        self,
        rank: int,
        host: Host,
        variables: Mapping[str, str],
        silence_s: float,
        *,
        heard: Callable[["RankProcess", dict[str, Any]], None],
        ended: Callable[["RankProcess"], None],
    ) -> None:
        """Start it. Raises OSError if no process can be started, BackendError without MLX."""
        self.rank, self.host = rank, host
        self.words: deque[str] = deque(maxlen=50)
        self.pid_file = ""
        self._heard, self._ended = heard, ended
        self._spoke, self._over = False, False
        self._speaking = threading.Lock()
        self._popen = _launched(rank, host, {**_environment(host), **variables}, [str(silence_s)])
        self._speaker = Speaker(cast(BinaryIO, self._popen.stdin).fileno())
        self._readers = [threading.Thread(target=target, daemon=True) for target in (self._read, self._read_errors)]
        for reader in self._readers:
            reader.start()

    @property
    def is_local(self) -> bool:
        return self.host.name == LOCAL

    @property
    def pid(self) -> int:
        """Of the process here: the rank itself, or the ssh to it."""
        return self._popen.pid

    def say(self, message: Mapping[str, Any]) -> None:
        """Tell it something; one that is gone hears nothing, which its `ended` tells. Waits while its pipe is full."""
        with self._speaking, suppress(OSError):
            if not self._over:
                self._speaker.say(message)

    def why(self) -> str:
        """How it ended, for the middle of a sentence; it has, or is about to."""
        try:
            code = self._popen.wait(END_GRACE_S)
        except subprocess.TimeoutExpired:
            return "closed its connection"
        self._readers[1].join(END_GRACE_S)
        words = last_line(self.words)
        if not self.is_local and code == SSH_FAILED:
            how = f"ssh ended with exit code {code}"
            if self._spoke:
                return f"is gone: {how}"
            why = f"cannot be reached: {how}; see whether this works: ssh {self.host.name} true"
            return f"{why}; its last words: {words}" if words else why
        return describe_end(code, words)

    def end(self) -> None:
        """End it at once: the process here by a signal; one on another machine ends with its connection."""
        if self.is_local:
            self._popen.kill()
        else:
            self._popen.terminate()
        with self._speaking, suppress(OSError):
            self._over = True  # the number of its descriptor may be another's from now on
            cast(BinaryIO, self._popen.stdin).close()

    def wait(self, timeout_s: float = END_GRACE_S) -> None:
        """Until it has ended, and at most so long; then it is killed."""
        try:
            self._popen.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self._popen.kill()
            self._popen.wait()

    def _read(self) -> None:
        try:
            with cast(BinaryIO, self._popen.stdout) as file:
                for message in read_messages(file, self._other):
                    self._spoke = True
                    self._heard(self, message)
        except ValueError as error:
            self.words.append(printable(str(error), MAX_LINE))
        except OSError:
            pass
        self._ended(self)

    def _read_errors(self) -> None:
        with suppress(OSError, ValueError), cast(BinaryIO, self._popen.stderr) as file:
            while line := file.readline(4 * MAX_LINE):
                self._other(line.decode("utf-8", "replace"))

    def _other(self, line: str) -> None:
        """A line that is no message: the file of its pid, which the machinery names first, or words."""
        line = line.strip()
        if not self.pid_file and _PID_FILE.fullmatch(line):
            self.pid_file = line
            if self.is_local:
                with suppress(OSError):
                    Path(line).unlink()
        elif line:
            self.words.append(line)


def start_reaper(pids: Sequence[int]) -> "subprocess.Popen[bytes]":
    """A process that kills `pids` when this one has ended, whatever ended it and whatever they are doing, an ssh to
    another machine too: a rank there would else wait for SILENCE_S seconds, with its part in memory. Kill it to be rid
    of it. Raises OSError if none can be started."""
    command = ["/bin/sh", "-c", 'cat >/dev/null; kill -9 "$@"', "sh", *map(str, pids)]
    nothing = subprocess.DEVNULL
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=nothing, stderr=nothing, start_new_session=True)


def _launched(rank: int, host: Host, variables: Mapping[str, str], arguments: list[str]) -> "subprocess.Popen[bytes]":
    from mlx._distributed_utils.launch import RemoteProcess

    # -P: a module in the working directory is none of ours. / is a directory on every machine.
    command = ["-P", "-u", "-X", "faulthandler", "-c", BOOT, *arguments]
    env = [f"{name}={value}" for name, value in variables.items()]
    # Ctrl+C in the terminal is this process's to handle: a signal that is blocked here is blocked there.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        with _no_questions():
            return RemoteProcess(rank, host.name, sys.executable, "/", {}, env, command).process
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _no_questions() -> Iterator[None]:
    """An ssh that is started here puts no question on the terminal: what it asks has no answer."""
    told = {"SSH_ASKPASS": "/bin/false", "SSH_ASKPASS_REQUIRE": "force"}
    with _STARTING:
        before = {name: os.environ.get(name) for name in told}
        os.environ.update(told)
        try:
            yield
        finally:
            for name, value in before.items():
                os.environ.pop(name, None)
                if value is not None:
                    os.environ[name] = value


def _environment(host: Host) -> dict[str, str]:
    """On this machine modules are found where this process finds them; another one has its own installation."""
    if host.name != LOCAL:
        return {}
    home = str(Path(__file__).parents[2])
    return {"PYTHONPATH": os.pathsep.join(dict.fromkeys([*filter(None, sys.path), home]))}
