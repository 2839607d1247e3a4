"""The ranks that share a model: what is told of each, the memory they take, and how long a token waits for others."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from qwen_core.protocol.stats import TurnStats

if TYPE_CHECKING:
    from qwen_core.protocol.events import ModelSummary


@dataclass(frozen=True)
class RankSummary:
    """One rank. `host`: as the host file names it; ranks of one name share a machine. `memory_bytes`: what its machine
    has for models, of all ranks there; 0: not told. `weight_bytes`: its part of the weights, as it is in memory.
    """

    rank: int
    host: str
    memory_bytes: int
    weight_bytes: int


def memory_in_use(hosts: Sequence[RankSummary], own: int) -> tuple[int, ...]:
    """Bytes in use by each of `hosts`, of which the first is this rank, with `own`. An estimate of the others: what is
    not weights is as much everywhere, because a state is split evenly."""
    if not hosts:
        return ()
    beside = max(0, own - hosts[0].weight_bytes)
    return (own or hosts[0].weight_bytes, *(host.weight_bytes + beside for host in hosts[1:]))


def free_memory(model: "ModelSummary", own: int) -> int | None:
    """Bytes that are left where `own` are in use by this rank, on the machine that has the fewest; None where no
    machine's memory is known."""
    alone = RankSummary(0, "", model.recommended_bytes or model.memory_bytes, model.weights_in_memory)
    left = _left(model.hosts or (alone,), own).values()
    return max(0, min(left)) if left else None


def without_room(model: "ModelSummary", own: int) -> RankSummary | None:
    """The first of `model.hosts` whose machine has less memory than its ranks need where this one needs `own` bytes."""
    left = _left(model.hosts, own)
    return next((host for host in model.hosts if left.get(host.host, 0) < 0), None)


def _left(hosts: Sequence[RankSummary], own: int) -> dict[str, int]:
    """By machine, of those whose memory is known: what its ranks leave of it, below 0 where that is not enough."""
    left = {host.host: host.memory_bytes for host in hosts if host.memory_bytes}
    for host, nbytes in zip(hosts, memory_in_use(hosts, own), strict=True):
        if host.host in left:
            left[host.host] -= nbytes
    return left


def waiting_s(stats: TurnStats, alone_token_s: float | None) -> float | None:
    """Seconds of each token in which this rank waited for the others, an estimate; None where that is not known.

    `alone_token_s`: seconds that this rank takes for `stats.weight_bytes_per_token` bytes with nothing to wait for.
    What a pass moves beside the weights is taken to cost as much a byte; what is left of the pass is waiting.
    """
    if alone_token_s is None or not stats.decode_tok_s or not stats.weight_bytes_per_token:
        return None
    alone_s = alone_token_s * stats.bytes_per_pass / stats.weight_bytes_per_token
    return max(0.0, 1 / stats.decode_tok_s - alone_s / stats.tokens_a_pass)
