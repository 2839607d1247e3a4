"""Whether the hosts of a file can share a model: each asked as it is when a model is loaded, and nothing is loaded."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

from qwen_core.checkpoint.directory import Checkpoint
from qwen_core.checkpoint.fingerprint import fingerprint
from qwen_core.engine.hello import check_same, check_versions, introduction, place
from qwen_core.engine.hosts import Hosts
from qwen_core.engine.joining import check_first
from qwen_core.engine.ranks import Ranks
from qwen_core.errors import EngineError, QwenError
from qwen_core.figures import decimal_size


@dataclass
class HostCheck:
    """What is known of one rank's host. None: it did not come to that. `problem`: one line on what is wrong, or ""."""

    rank: int
    host: str
    reachable: bool = False
    same_version: bool | None = None
    same_model: bool | None = None
    memory_bytes: int | None = None
    problem: str = ""


def check_hosts(hosts: Hosts, checkpoint: Checkpoint) -> list[HostCheck]:
    """Every rank's host, all asked at once; each has SILENCE_S seconds to say something."""
    own = fingerprint(checkpoint)
    with ThreadPoolExecutor(len(hosts.ranks)) as pool:
        return list(pool.map(partial(_checked, hosts, checkpoint, own), range(len(hosts.ranks))))


def _checked(hosts: Hosts, checkpoint: Checkpoint, own: str, rank: int) -> HostCheck:
    check = HostCheck(rank, hosts.ranks[rank].name)
    try:
        if rank:
            _look_at(check, hosts, checkpoint, own)
        else:
            _look_here(check, hosts)
        _check_memory(check, hosts, checkpoint)
    except QwenError as error:
        check.problem = str(error)
    return check


def _look_here(check: HostCheck, hosts: Hosts) -> None:
    check.same_version = check.same_model = True
    check.memory_bytes = introduction()["memory_bytes"]
    check_first(hosts)
    check.reachable = True


def _look_at(check: HostCheck, hosts: Hosts, checkpoint: Checkpoint, own: str) -> None:
    ranks, called = Ranks(hosts, only=check.rank), hosts.called(check.rank)
    try:
        (said,) = ranks.start()
        check.reachable, check.memory_bytes, check.same_version = True, said.get("memory_bytes"), False
        check_versions(said, called)
        check.same_version, check.same_model = True, False
        (said,) = ranks.ask_all({"do": "open", "ranks": ranks.count, **place(checkpoint)})
        check_same(said, own, checkpoint.path, called)
        check.same_model = True
    finally:
        ranks.close()


def _check_memory(check: HostCheck, hosts: Hosts, checkpoint: Checkpoint) -> None:
    """EngineError where the weights of all ranks on this host are more than its memory."""
    there = sum(host.name == check.host for host in hosts.ranks)
    needed = checkpoint.text_bytes * there // len(hosts.ranks)
    if needed > (memory := check.memory_bytes or 0):
        raise EngineError(
            f"{hosts.called(check.rank)} has {decimal_size(memory)} of memory for models, and its part of the weights "
            f"takes {decimal_size(needed)}"
        )
