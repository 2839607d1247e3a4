"""Real ranks on this machine: processes that compute one model together over MLX's ring, for tests.

Rank 0 does what a test asks of it, functions that are called with a `Led`; the others follow its commands. All of them
end with the `Ranks` that started them.
"""

import json
import multiprocessing
import os
import socket
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

if TYPE_CHECKING:
    from qwen_core.model.collectives import Collectives
    from qwen_core.model.led import LedModel

Result = TypeVar("Result")
PATIENCE_S = 240.0
"""Nothing here takes a tenth of it on a machine that has nothing else to do; what hangs ends then."""
_END = "end"


class Led:
    """What rank 0 has: its collectives, the way to the others' pipes, and the model that was loaded last."""

    def __init__(self, collectives: "Collectives", followers: Sequence[Connection]) -> None:
        self.collectives = collectives
        self.told: list[dict[str, Any]] = []
        self.loaded: list[dict[str, Any]] = []
        self._followers = followers
        self._loaded: tuple[Path, LedModel] | None = None

    def tell(self, command: dict[str, Any]) -> None:
        line = json.dumps(command)
        assert len(line) < 1000, "a terminal between two machines takes no longer line"
        self.told.append(command)
        for follower in self._followers:
            follower.send(line)

    def load(self, path: Path, dtype: str = "float32") -> "LedModel":
        """The model in `path`, of which every rank has loaded its part."""
        from qwen_core.model.led import load_led

        if self._loaded is None or (self._loaded[0], self._loaded[1].dtype) != (path, dtype):
            if self._loaded is not None:
                self._loaded[1].close()
            self._loaded = path, load_led(path, dtype, self.collectives, self.tell)
            self.loaded = self._answers()
        return self._loaded[1]

    def everywhere(self, function: Callable[..., Result], *arguments: Any) -> list[Result]:
        """What `function(collectives, *arguments)` gives on each rank, by rank."""
        for follower in self._followers:
            follower.send((function, arguments))
        return [function(self.collectives, *arguments), *self._answers()]

    def _answers(self) -> list[Any]:
        answers = [follower.recv() for follower in self._followers]
        assert not any(isinstance(answer, dict) and "error" in answer for answer in answers), answers
        return answers


class Ranks:
    """`count` ranks at work; `do` has rank 0 call a function of a module."""

    def __init__(self, count: int, folder: Path) -> None:
        """`folder` is for files of theirs."""
        self.count, self.folder = count, folder
        self._broken = ""
        context = multiprocessing.get_context("spawn")
        hosts = folder / "hosts.json"
        hosts.write_text(json.dumps([[f"127.0.0.1:{port}"] for port in _free_ports(count)]))
        self._here, there = context.Pipe()
        pairs = [context.Pipe() for _ in range(1, count)]
        leading, following = [ours for ours, _ in pairs], [theirs for _, theirs in pairs]
        works = [(_lead, (there, leading)), *((_follow, (pipe, folder)) for pipe in following)]
        self.processes = [
            context.Process(target=work, args=(rank, hosts, *arguments), daemon=True)
            for rank, (work, arguments) in enumerate(works)
        ]
        for process in self.processes:
            process.start()
        # A pipe ends for its reader when no process has its other end open.
        for end in (there, *leading, *following):
            end.close()

    def do(self, function: Callable[..., Result], *arguments: Any) -> Result:
        """What `function(led, *arguments)` gives in rank 0; a QwenError of it is raised here. All else that goes wrong
        is an AssertionError with its trace, behind which the ranks do nothing more."""
        from qwen_core.errors import QwenError

        assert not self._broken, f"the ranks ended before: {self._broken}"
        self._here.send((function, arguments))
        trouble, result = self._here.recv() if self._here.poll(PATIENCE_S) else ("it hangs", None)
        if isinstance(trouble, QwenError):
            raise trouble
        self._broken = trouble
        assert not trouble, f"{function.__name__}: {trouble}"
        return cast(Result, result)

    def close(self) -> None:
        """End them. AssertionError where one had to be killed."""
        with suppress(OSError):
            self._here.send((_END, ()))
        for process in self.processes:
            process.join(0 if self._broken else 20)
            process.kill()
            process.join()
        codes = [process.exitcode for process in self.processes]
        assert self._broken or codes == [0] * self.count, codes


@contextmanager
def ranks(count: int, folder: Path) -> Iterator[Ranks]:
    """So many ranks, which are gone at the end."""
    started = Ranks(count, folder)
    try:
        yield started
    finally:
        started.close()


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def _connected(rank: int, hosts: Path) -> "Collectives":
    os.environ |= {"MLX_RANK": str(rank), "MLX_HOSTFILE": str(hosts)}
    import mlx.core as mx

    from qwen_core.model.collectives import Collectives

    return Collectives(mx.distributed.init(strict=True, backend="ring"))


def _lead(rank: int, hosts: Path, pipe: Connection, followers: Sequence[Connection]) -> None:
    from qwen_core.errors import QwenError

    led = Led(_connected(rank, hosts), followers)
    while True:
        function, arguments = pipe.recv()
        if function == _END:
            break
        try:
            pipe.send(("", function(led, *arguments)))
        except QwenError as error:
            pipe.send((error, None))
        except BaseException:
            pipe.send((traceback.format_exc(), None))
    for follower in followers:
        follower.send(_END)


def _follow(rank: int, hosts: Path, pipe: Connection, folder: Path) -> None:
    from qwen_core.errors import QwenError
    from qwen_core.model.follow import Follower

    collectives = _connected(rank, hosts)
    follower = Follower(collectives, folder=folder / "states")
    with suppress(EOFError):
        while (told := pipe.recv()) != _END:
            try:
                if isinstance(told, str):
                    answer = follower.do(json.loads(told))
                else:
                    function, arguments = told
                    answer = function(collectives, *arguments)
            except QwenError as error:
                answer = {"error": str(error)}
            if answer is not None:
                pipe.send(answer)
