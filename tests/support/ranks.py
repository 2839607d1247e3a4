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
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, TypeVar

Result = TypeVar("Result")
PATIENCE_S = 60.0
"""Nothing here takes a tenth of it; what hangs ends then."""
_END = "end"


@dataclass
class Led:
    """What rank 0 has: its collectives, and the way to the others' pipes."""

    collectives: Any
    followers: Sequence[Connection]

    def tell(self, command: dict[str, Any]) -> None:
        line = json.dumps(command)
        assert len(line) < 1000, "a terminal between two machines takes no longer line"
        for follower in self.followers:
            follower.send(line)

    def load(self, path: Path, dtype: str = "float32") -> Any:
        """The model in `path`, of which every rank has loaded its part."""
        from qwen_core.model.led import load_led

        model = load_led(path, dtype, self.collectives, self.tell)
        for follower in self.followers:
            answer = follower.recv()
            assert "loaded" in answer, answer
        return model


class Ranks:
    """`count` ranks at work; `do` has rank 0 call a function of a module."""

    def __init__(self, count: int, folder: Path) -> None:
        self.count = count
        context = multiprocessing.get_context("spawn")
        hosts = folder / "hosts.json"
        hosts.write_text(json.dumps([[f"127.0.0.1:{port}"] for port in _free_ports(count)]))
        self._here, there = context.Pipe()
        pairs = [context.Pipe() for _ in range(count - 1)]
        environment = [{"MLX_RANK": str(rank), "MLX_HOSTFILE": str(hosts)} for rank in range(count)]
        leading, following = [ours for ours, _ in pairs], [theirs for _, theirs in pairs]
        self.processes = [
            context.Process(target=_lead, args=(environment[0], there, leading), daemon=True),
            *(
                context.Process(target=_follow, args=(environment[rank], following[rank - 1]), daemon=True)
                for rank in range(1, count)
            ),
        ]
        for process in self.processes:
            process.start()
        # A pipe ends for its reader when no process has its other end open.
        for end in (there, *leading, *following):
            end.close()

    def do(self, function: Callable[..., Result], *arguments: Any) -> Result:
        """What `function(led, *arguments)` gives in rank 0."""
        self._here.send((function, arguments))
        if not self._here.poll(PATIENCE_S):
            raise TimeoutError(f"{function.__name__} takes more than {PATIENCE_S} s")
        error, result = self._here.recv()
        assert not error, error
        return result

    def close(self) -> None:
        with suppress(OSError):
            self._here.send((_END, ()))
        for process in self.processes:
            process.join(2)
            if process.is_alive():
                process.kill()
                process.join()


@contextmanager
def ranks(count: int, folder: Path) -> Iterator[Ranks]:
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


def _connected(environment: dict[str, str]) -> Any:
    os.environ |= environment
    import mlx.core as mx

    from qwen_core.model.collectives import Collectives

    return Collectives(mx.distributed.init(strict=True, backend="ring"))


def _lead(environment: dict[str, str], pipe: Connection, followers: Sequence[Connection]) -> None:
    led = Led(_connected(environment), followers)
    while True:
        function, arguments = pipe.recv()
        if function == _END:
            break
        try:
            pipe.send(("", function(led, *arguments)))
        except BaseException:
            pipe.send((traceback.format_exc(), None))
    for follower in followers:
        follower.send(_END)


def _follow(environment: dict[str, str], pipe: Connection) -> None:
    from qwen_core.errors import QwenError
    from qwen_core.model.follow import Follower

    follower = Follower(_connected(environment))
    with suppress(EOFError):
        while (line := pipe.recv()) != _END:
            try:
                answer = follower.do(json.loads(line))
            except QwenError as error:
                answer = {"error": str(error)}
            if answer is not None:
                pipe.send(answer)
