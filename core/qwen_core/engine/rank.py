"""The process of a rank that follows: it does what rank 0 says, on its part of the model, and ends with it.

Its main thread owns everything of MLX; one small thread reads what rank 0 says and another says that this process
lives, so both go on while the main thread computes, or waits for data that never comes. It ends when its input ends, or
brings nothing for too long; one that is stopped is killed by rank_process.py's reaper.
"""

import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from functools import cached_property, partial
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from qwen_core.engine.hello import found_there, introduction
from qwen_core.engine.joining import Listening, is_lost_connection, join, reach
from qwen_core.engine.lines import Speaker, read_messages
from qwen_core.engine.ranks import BEATS, HELLO
from qwen_core.errors import CapacityError, EngineError, QwenError, quote
from qwen_core.protocol.events import LoadProgress

if TYPE_CHECKING:  # MLX behind it, which is not there on every machine that is asked
    from qwen_core.model.follow import Follower

PROGRESS_S = 0.2

Command = dict[str, Any]
Reply = dict[str, Any]


class Rank:
    """One follower: `hear` is the reading thread's, `live` the other's, `run` the main one's."""

    def __init__(self, rank: int, silence_s: float, output: int) -> None:
        self.rank = rank
        self._silence_s = silence_s
        self._speaker = Speaker(output)
        self._commands: SimpleQueue[tuple[int, Command]] = SimpleQueue()
        self._read, self._stopped = 0, 0  # so many commands were read, so many of them need not be finished
        self._doing, self._asked = 0, 0
        self._silent = 0
        self._told_at = 0.0
        self._listening: Listening | None = None
        self._path, self._ranks = "", 0
        self._mine: dict[str, Callable[[Command], Reply]] = {
            "open": self._open,
            "listen": self._listen,
            "reach": self._reach,
            "join": self._join,
        }

    def hear(self) -> None:
        """Read until there is nothing more to read, and end this process."""
        with suppress(OSError, ValueError):
            for message in read_messages(sys.stdin.buffer):
                self._silent = 0
                match message.get("do"):
                    case "beat":
                        pass
                    case "stop":
                        self._stopped = self._read
                    case "tidy":
                        _tidy(str(message.get("pid_file")))
                    case "leave":
                        break
                    case _:
                        self._read += 1
                        self._commands.put((self._read, message))
        os._exit(0)

    def live(self) -> None:
        """Say so again and again, and count how often rank 0 has said nothing."""
        while self._silent <= BEATS:
            time.sleep(self._silence_s / BEATS)
            self._silent += 1
            self.say({"beat": self._silent})
        os._exit(1)

    def say(self, message: Reply) -> None:
        try:
            self._speaker.say(message)
        except OSError:  # rank 0 is gone
            os._exit(0)

    def run(self) -> None:
        """Introduce this process, then do what is said."""
        self._answer(HELLO, introduction)
        while True:
            self._doing, command = self._commands.get()
            self._asked = command.pop("n", 0)
            self._answer(self._asked, partial(self._do, command))

    def _answer(self, asked: int, action: Callable[[], Reply | None]) -> None:
        """Reply with what comes of `action`, where somebody asked. A failure nobody waits for ends all ranks."""
        try:
            reply = action() or {}
        except QwenError as error:
            reply = {"failed": str(error)}
        except MemoryError:
            traceback.print_exc()
            reply = {"failed": str(CapacityError("memory ran out"))}
        except Exception as error:
            if is_lost_connection(error):  # rank 0 knows which one, and ends this process too
                time.sleep(2 * self._silence_s)
            traceback.print_exc()
            reply = {"failed": f"internal error: {type(error).__name__}: {quote(error)}"}
        if asked:
            self.say({"n": asked, **reply})
        elif "failed" in reply:
            self.say({"broken": reply["failed"]})
            os._exit(1)

    def _do(self, command: Command) -> Reply | None:
        if own := self._mine.get(str(command.get("do"))):
            return own(command)
        if command.get("do") == "load":
            command["path"] = self._path
        return self._following.do(command)

    def _open(self, command: Command) -> Reply:
        """Which checkpoint is there: nothing is loaded for that."""
        self._ranks = command["ranks"]
        self._path, found = found_there(command["path"], command["below_home"])
        return {"fingerprint": found}

    def _listen(self, command: Command) -> Reply:
        self._listening = Listening(command["ips"])
        return {"addresses": self._listening.addresses}

    def _reach(self, command: Command) -> Reply:
        reach(command["addresses"], command["of"], command["timeout_s"])
        return {}

    def _join(self, command: Command) -> Reply:
        if self._listening is not None:
            self._listening.close()
        self._following.collectives.connect(join(self.rank, command, self._silence_s))
        return {}

    @cached_property
    def _following(self) -> "Follower":
        """What does the work of a model, from the first command on that needs it."""
        from qwen_core.model.collectives import Collectives
        from qwen_core.model.follow import Follower

        collectives = Collectives(rank=self.rank, ranks=self._ranks)
        return Follower(collectives, progress=self._report)

    def _report(self, latest: LoadProgress) -> None:
        """Tell how far a load is, and end it here where it was stopped."""
        if self._doing <= self._stopped:
            raise EngineError("loading was stopped")
        now = time.monotonic()
        if self._asked and now - self._told_at >= PROGRESS_S:
            self._told_at = now
            self.say({"n": self._asked, "progress": [latest.done_bytes, latest.total_bytes]})


def _tidy(pid_file: str) -> None:
    """Remove the file that mlx.launch's machinery wrote this process's id to, and nothing else."""
    with suppress(OSError):
        if Path(pid_file).read_text().strip() == str(os.getpid()):
            Path(pid_file).unlink()


def main() -> None:
    """What the process does: `sys.argv[1]` is how long rank 0 may be silent, in seconds."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # ctrl+c is rank 0's to handle
    output = os.dup(1)
    os.dup2(2, 1)  # what others print is no message
    rank = Rank(int(os.environ.pop("MLX_RANK")), float(sys.argv[1]), output)
    for target in (rank.hear, rank.live):
        threading.Thread(target=target, daemon=True).start()
    rank.run()
