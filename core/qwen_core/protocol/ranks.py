"""The ranks that share a model: what is told of each, and how long a token waits for the others."""

from dataclasses import dataclass

from qwen_core.protocol.stats import TurnStats


@dataclass(frozen=True)
class RankSummary:
    """One rank. `host`: as the host file names it; ranks of one name share a machine. `memory_bytes`: what its machine
    has for models, of all ranks there; 0: not told. `weight_bytes`: its part of the weights, as it is in memory.
    """

    rank: int
    host: str
    memory_bytes: int
    weight_bytes: int


def waiting_s(stats: TurnStats, alone_token_s: float | None) -> float | None:
    """Seconds of each token in which this rank waited for the others, an estimate; None where that is not known.

    `alone_token_s`: seconds that this rank takes for `stats.weight_bytes_per_token` bytes with nothing to wait for.
    What a pass moves beside the weights is taken to cost as much a byte; what is left of the pass is waiting.
    """
    if alone_token_s is None or not stats.decode_tok_s or not stats.weight_bytes_per_token:
        return None
    alone_s = alone_token_s * stats.bytes_per_pass / stats.weight_bytes_per_token
    return max(0.0, 1 / stats.decode_tok_s - alone_s / stats.tokens_a_pass)
