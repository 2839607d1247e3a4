"""The ranks that share a model, seen from rank 0, which is this process: started, checked, told what to do, watched.

What they do is rank.py; how one of them is started and heard is rank_process.py. All of them end together: until they
are connected a rank that is lost is an error of what was asked, from then on it is the end of this process, because
nothing can call back a thread that waits for data of a rank that is gone. They say something every second, in both
directions, and after ten of silence each side takes the other for lost.
"""

import os
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

from qwen_core.engine.hosts import Hosts
from qwen_core.engine.joining import Listening, is_lost_connection, join, reach
from qwen_core.engine.log import RANK_LOST
from qwen_core.engine.rank_process import RankProcess, start_reaper
from qwen_core.errors import EngineError, QwenError, quote

SILENCE_S = 10.0
BEATS = 10
"""How often each side says something while the other may be silent."""
HELLO = 1
"""The number of what nobody asked a rank for: what it says of itself first."""
_LOOK_S = 0.1

Stopped = Callable[[], bool]
Lost = Callable[[str], NoReturn]
"""Told, in one line, which rank was lost and why, on a thread of its own; ends this process."""
Told = Callable[[int, int, int], None]
"""Takes a rank and how much of what it was asked is done, and of how much."""


def never() -> bool:
    """Nobody stops it."""
    return False


def end_process(line: str) -> NoReturn:
    """Make `line` the last words of this process, whatever MLX has to say of the broken connection, and end it."""
    words = os.dup(2)
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 2)
    os.write(words, f"\n{line}\n".encode("utf-8", "replace"))
    os._exit(RANK_LOST)


def leave_to_watch(error: Exception) -> None:
    """MLX can notice before the watch does that a rank is gone, and knows neither which nor why: where `error` is of
    that kind, wait for the watch to say so and to end this process. Returns at once for all others."""
    if not is_lost_connection(error):
        return
    for ranks in _connected:
        ranks.wait_for_the_end()


class Ranks:
    """Rank 0's side of all others. Its methods belong to the thread that loads the model."""

    def __init__(self, hosts: Hosts, lost: Lost = end_process, *, only: int | None = None) -> None:
        """`only`: start this one of them, to ask it something."""
        self.hosts = hosts
        self._others = range(1, self.count) if only is None else (only,)
        self.group: Any = None
        self._lost_how = lost
        self._met: dict[str, Any] = {}
        self._listening = Listening(())
        self._reaper: subprocess.Popen[bytes] | None = None
        self._silence_s = SILENCE_S
        self._processes: list[RankProcess] = []
        self._changed = threading.Condition()
        self._silent: dict[int, int] = {}
        self._asked = HELLO
        self._replies: dict[int, dict[str, Any]] = {}
        self._progress: dict[int, tuple[int, int]] = {}
        self.lost = ""
        self._closed = threading.Event()

    @property
    def count(self) -> int:
        """How many ranks there are, with this one."""
        return len(self.hosts.ranks)

    @property
    def connected(self) -> bool:
        return self.group is not None

    def start(self, stop: Stopped = never) -> list[dict[str, Any]]:
        """Start every other rank; what each says of itself: its versions and memory. EngineError names one that cannot
        be started, ends, or has said nothing for SILENCE_S seconds."""
        for rank in self._others:
            self._silent[rank] = 0
            self._processes.append(self._started(rank))
        self._reaper = start_reaper([process.pid for process in self._processes])
        for target in (self._beat, self._watch):
            threading.Thread(target=target, name=f"ranks{target.__name__}", daemon=True).start()
        return self._all_replies(stop, None)

    def _started(self, rank: int) -> RankProcess:
        variables = dict(self.hosts.variables)
        try:
            return RankProcess(
                rank, self.hosts.ranks[rank], variables, self._silence_s, heard=self._heard, ended=self._ended
            )
        except OSError as error:
            raise EngineError(f"{self.hosts.called(rank)} cannot be started: {error.strerror or error}") from None

    def meet(self, stop: Stopped) -> None:
        """Find an address for every rank and have each try that of the next, as MLX's ring will; nothing of a model
        need be loaded for that. Raises EngineError that names a rank that cannot be reached."""
        ring = self.hosts.backend == "ring"
        here = Listening(self.hosts.ranks[0].ips[: None if ring else 1])
        self._met = {"backend": self.hosts.backend, "ring": [here.addresses] * self.count}
        self._listening = here
        if ring:
            commands = [{"do": "listen", "ips": host.ips} for host in self.hosts.ranks[1:]]
            self._met["ring"] = [here.addresses, *(reply["addresses"] for reply in self.ask(commands, stop))]
            self._reach_all(self._met["ring"], stop)
        else:
            self._met |= {"coordinator": here.addresses[0], "rdma": [host.rdma for host in self.hosts.ranks]}

    def connect(self, stop: Stopped) -> None:
        """Make all ranks, which have met, one group of `mx.distributed`. Raises EngineError where they do not become
        one."""
        self._listening.close()
        self._ask_only([{"do": "join", **self._met}] * len(self._processes))
        try:
            group = join(0, self._met, self._silence_s)
        except QwenError as error:
            self._all_replies(stop, None)  # a rank that can say why, says it better
            raise EngineError(f"{self.hosts.called(0)}: {error}") from None
        with self._changed:
            self.group = group
        _connected.append(self)
        try:
            self._all_replies(never, None)
        except QwenError as error:  # this process is in a group that never came to be, and can join no other
            self._lost_how(str(error))

    def wait_for_the_end(self) -> None:
        """Until a rank that is lost has been told, which ends this process, and no longer than one may be silent."""
        self._closed.wait(2 * self._silence_s)

    def tell(self, command: Mapping[str, Any]) -> None:
        """Have all others do `command`, in order, without waiting for them."""
        for process in self._processes:
            process.say(command)

    def ask(
        self, commands: Sequence[Mapping[str, Any]], stop: Stopped, progress: Told | None = None
    ) -> list[dict[str, Any]]:
        """Have each of the others do its own of `commands`; their replies. EngineError names one that cannot do it."""
        self._ask_only(commands)
        return self._all_replies(stop, progress)

    def ask_all(
        self, command: Mapping[str, Any], stop: Stopped = never, progress: Told | None = None
    ) -> list[dict[str, Any]]:
        """`ask` with the same command for all."""
        return self.ask([command] * len(self._processes), stop, progress)

    def begin(self, command: Mapping[str, Any]) -> None:
        """As `ask_all`, whose replies `finish` waits for."""
        self._ask_only([command] * len(self._processes))

    def finish(self, stop: Stopped, progress: Told | None = None) -> list[dict[str, Any]]:
        """The replies to what was begun."""
        return self._all_replies(stop, progress)

    def stop(self) -> None:
        """Have the others stop what they were asked to do; nobody waits for their replies any more."""
        with self._changed:
            self._asked += 1
        self.tell({"do": "stop"})

    def close(self) -> None:
        """End all other ranks."""
        self._closed.set()
        self._listening.close()
        self.tell({"do": "leave"})
        for process in self._processes:
            process.end()
        for process in self._processes:
            process.wait()
        if self._reaper is not None:
            with self._reaper:
                self._reaper.kill()

    def _reach_all(self, ring: list[list[str]], stop: Stopped) -> None:
        """Every rank tries the addresses of the next one, as MLX's ring will."""
        timeout_s = self._silence_s / 2
        commands = [
            {"do": "reach", "addresses": ring[other], "of": self.hosts.called(other), "timeout_s": timeout_s}
            for other in (*range(2, self.count), 0)
        ]
        self._ask_only(commands)
        try:
            reach(ring[1], self.hosts.called(1), timeout_s)
        except QwenError as error:
            raise EngineError(f"{self.hosts.called(0)}: {error}") from None
        self._all_replies(stop, None)

    def _ask_only(self, commands: Sequence[Mapping[str, Any]]) -> None:
        with self._changed:
            self._asked += 1
            self._replies.clear()
            self._progress.clear()
        for process, command in zip(self._processes, commands, strict=True):
            process.say({**command, "n": self._asked})

    def _all_replies(self, stop: Stopped, progress: Told | None) -> list[dict[str, Any]]:
        """The replies to what was asked last, by rank. Raises EngineError for a rank that is lost, or cannot do it."""
        told: dict[int, tuple[int, int]] = {}
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self.lost or len(self._replies) == len(self._processes), _LOOK_S)
                lost, replies, latest = self.lost, dict(self._replies), dict(self._progress)
            if lost:
                raise EngineError(lost)
            for rank, reply in sorted(replies.items()):
                if "failed" in reply:
                    raise EngineError(f"{self.hosts.called(rank)}: {reply['failed']}")
            if len(replies) == len(self._processes):
                return [replies[process.rank] for process in self._processes]
            if stop():
                raise EngineError("loading was stopped")
            for rank in (rank for rank in latest if progress is not None and told.get(rank) != latest[rank]):
                told[rank] = latest[rank]
                assert progress is not None
                progress(rank, *latest[rank])

    def _heard(self, process: RankProcess, message: dict[str, Any]) -> None:
        if "pid" in message and process.pid_file:
            process.say({"do": "tidy", "pid_file": process.pid_file})
        with self._changed:
            self._silent[process.rank] = 0
            if message.get("n") == self._asked:
                match message.get("progress"):
                    case [int(done), int(total)]:
                        self._progress[process.rank] = (done, total)
                    case _:
                        self._replies[process.rank] = message
                self._changed.notify_all()
        if "broken" in message:
            self._lose(process, f"failed: {quote(message['broken'])}")

    def _ended(self, process: RankProcess) -> None:
        if not self._closed.is_set():
            self._lose(process, process.why())

    def _lose(self, process: RankProcess, why: str) -> None:
        """One rank is lost, and with it all."""
        with self._changed:
            if self.lost or self._closed.is_set():
                return
            self.lost = f"{self.hosts.called(process.rank)} {why}"
            connected = self.connected
            self._changed.notify_all()
        for other in self._processes:
            other.end()
        if connected:
            self._lost_how(self.lost)

    def _beat(self) -> None:
        while not self._closed.wait(self._silence_s / BEATS):
            self.tell({"do": "beat"})

    def _watch(self) -> None:
        """Counts beats instead of looking at a clock: while this process is stopped itself, no time passes."""
        while not self._closed.wait(self._silence_s / BEATS):
            with self._changed:
                self._silent = {rank: beats + 1 for rank, beats in self._silent.items()}
                late = [process for process in self._processes if self._silent[process.rank] > BEATS]
            for process in late:
                self._lose(process, f"has not answered for {self._silence_s:g} s")


_connected: list[Ranks] = []
"""Those of this process: MLX joins one group in its life."""
