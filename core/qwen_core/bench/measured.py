"""What a benchmark has measured, as values; and what the times of some layers say of a model that has more. Pure."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace

from qwen_core.bench.drafts import DecodePair, PassCosts
from qwen_core.bench.workloads import Workload
from qwen_core.protocol.stats import TurnStats, bytes_per_token


@dataclass(frozen=True)
class Measured:
    """One size of prefill or decode at one depth: `seconds` of each repeat in which `workload.tokens` were processed,
    without drafts. `pairs`: decodes without and with them.

    `recurrent_bytes` and `kv_bytes` are those of the state at `context_tokens`: in the middle of a decode, at the end
    of a prefill.
    """

    workload: Workload
    depth: int
    seconds: tuple[float, ...]
    context_tokens: int
    recurrent_bytes: int
    kv_bytes: int
    peak_memory_bytes: int
    pairs: tuple[DecodePair, ...] = ()

    @property
    def rates(self) -> tuple[float, ...]:
        """Tokens per second of each repeat."""
        return tuple(self.workload.tokens / seconds for seconds in self.seconds)

    def bytes_per_token(self, weight_bytes: int) -> int:
        """Bytes that a decoded token moves at `context_tokens`."""
        return bytes_per_token(weight_bytes, self.recurrent_bytes, self.kv_bytes)


@dataclass(frozen=True)
class Conversation:
    """The figures of its turns, those that ended by themselves, and their tokens."""

    turns: tuple[TurnStats, ...]
    tokens: tuple[int, ...]


@dataclass(frozen=True)
class MeasuredCard:
    """The card's conversation: the figures of the turns of each repeat without drafts; and whole ones without and
    with drafts.
    """

    conversations: tuple[tuple[TurnStats, ...], ...]
    peak_memory_bytes: int
    pairs: tuple[tuple[Conversation, Conversation], ...] = ()


def extrapolated(measured: Measured, without_layers: Measured, layers: int, of_layers: int) -> Measured:
    """What a model of `of_layers` layers would take, from the same measurement of `layers` and of none.

    Embedding, head, sampling and the host's own work are in both; what is left is the layers' and grows with their
    number: seconds = none + (layers - none) * of_layers / layers. So do the bytes of the state.
    """
    if not without_layers.seconds or not measured.seconds:
        return replace(measured, seconds=())
    factor = of_layers / layers
    return replace(
        measured,
        seconds=_of_all(measured.seconds, without_layers.seconds, factor),
        recurrent_bytes=round(measured.recurrent_bytes * factor),
        kv_bytes=round(measured.kv_bytes * factor),
    )


def extrapolated_costs(costs: PassCosts, without_layers: PassCosts, layers: int, of_layers: int) -> PassCosts:
    """The same of what passes cost. A draft's layer is one, however many the model has."""
    factor = of_layers / layers
    passes = [_of_all(taken, none, factor) for taken, none in zip(costs.passes, without_layers.passes, strict=True)]
    return replace(costs, passes=tuple(passes))


def _of_all(seconds: Sequence[float], none: Sequence[float], factor: float) -> tuple[float, ...]:
    middle = statistics.median(none)
    return tuple(middle + max(0.0, taken - middle) * factor for taken in seconds)
