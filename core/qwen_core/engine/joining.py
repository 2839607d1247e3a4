"""How a rank becomes one of a group of `mx.distributed`: its addresses, whether it reaches its neighbour, joining.

Rank 0 and those that follow it do the same. MLX holds the interpreter while it connects, for half a minute where nobody
answers, and for ever where nobody calls: so what can fail is tried before, with a limit.
"""

import os
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from qwen_core.engine.hosts import Hosts
from qwen_core.errors import EngineError, QwenError, quote
from qwen_core.files import json_text

_AGAIN_S = 0.25
_FIRST_S = 0.05
"""Who calls first waits so long: one that calls before the other listens waits a second."""


class Listening:
    """A free port of each of a rank's addresses, held until it joins."""

    def __init__(self, ips: Sequence[str]) -> None:
        """Raises EngineError for an address that is none of this machine's."""
        self._sockets: list[socket.socket] = []
        for ip in ips:
            try:
                listener = socket.create_server((ip, 0))
            except OSError as error:
                self.close()
                raise EngineError(
                    f"{quote(ip)} is no address of this machine: {os.strerror(error.errno or 0)}"
                ) from None
            self._sockets.append(listener)

    @property
    def addresses(self) -> list[str]:
        """Each as ip:port."""
        return ["{}:{}".format(*listener.getsockname()[:2]) for listener in self._sockets]

    def close(self) -> None:
        while self._sockets:
            self._sockets.pop().close()


def check_first(hosts: Hosts) -> None:
    """EngineError where the first host is another machine: rank 0 is this one."""
    try:
        Listening(hosts.ranks[0].ips).close()
    except QwenError as error:
        raise EngineError(f"{hosts.called(0)}: {error}; the first host must be the machine you start from") from None


def reach(addresses: Sequence[str], called: str, timeout_s: float) -> None:
    """Connect to each address of the rank that is `called` so, and let go. Raises EngineError where one is silent."""
    for address in addresses:
        ip, _, port = address.rpartition(":")
        try:
            socket.create_connection((ip, int(port)), timeout_s).close()
        except OSError as error:
            why = "no answer" if isinstance(error, TimeoutError) else error.strerror or str(error)
            raise EngineError(f"{called} cannot be reached at {address} ({why}); is a firewall in between?") from None


def join(rank: int, said: dict[str, Any], limit_s: float) -> Any:
    """The group of all ranks, as `mx.distributed.init` gives it. Blocks until all of them have called.

    `said`: the backend; of the ring each rank's addresses, of JACCL the coordinator's and the devices. Raises
    EngineError where they do not connect, after `limit_s` seconds if this is the main thread.
    """
    from qwen_core.device.backend import mx

    backend = "ring" if said["backend"] == "ring" else "jaccl"
    if not mx.distributed.is_available(backend):
        raise EngineError(f"MLX has no {backend} here: JACCL needs macOS 26.2 and Thunderbolt 5")
    if rank == len(said["ring"]) - 1:
        time.sleep(_FIRST_S)
    with _environment(rank, said), _limited(limit_s):
        try:
            return mx.distributed.init(strict=True, backend=backend)
        except RuntimeError as error:
            raise EngineError(f"it did not connect to the others: {quote(error)}") from None


def is_lost_connection(error: Exception) -> bool:
    """Whether MLX says by it that another rank is gone, or does not answer."""
    return isinstance(error, RuntimeError) and str(error).startswith(("[ring]", "[jaccl]"))


@contextmanager
def _environment(rank: int, said: dict[str, Any]) -> Iterator[None]:
    """What mlx.launch tells a rank, in files and variables, while it joins."""
    ring = said["backend"] == "ring"
    variable, content = ("MLX_HOSTFILE", said["ring"]) if ring else ("MLX_IBV_DEVICES", said["rdma"])
    descriptor, name = tempfile.mkstemp()
    told = {"MLX_RANK": str(rank), variable: name}
    if not ring:
        told["MLX_JACCL_COORDINATOR"] = said["coordinator"]
    if said["backend"] == "jaccl-ring":
        told["MLX_JACCL_RING"] = "1"
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(json_text(content))
        os.environ.update(told)
        yield
    finally:
        for variable in told:
            os.environ.pop(variable, None)
        with suppress(OSError):
            Path(name).unlink()


@contextmanager
def _limited(limit_s: float) -> Iterator[None]:
    """From `limit_s` seconds on signals end what this, the main thread, waits for in a call of the system."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGALRM, lambda *_: None)
    signal.setitimer(signal.ITIMER_REAL, limit_s, _AGAIN_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
