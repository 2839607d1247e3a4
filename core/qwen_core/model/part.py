"""A model of which each rank computes a part: its heads, its columns, its share of the vocabulary.

Twice a layer the ranks add up what their parts give, behind the mixer and behind the feed-forward part. All of them
hold the same vectors then, so norms and routers are computed by each for itself.
"""

from collections.abc import Callable
from typing import TypeVar

from qwen_core.checkpoint.directory import Checkpoint
from qwen_core.device.backend import mx
from qwen_core.device.hardware import memory_bytes
from qwen_core.model.collectives import Collectives
from qwen_core.model.kernels.proof import NONE, Kernels, proven
from qwen_core.model.model import Model, assembled
from qwen_core.model.part_plans import part_plans
from qwen_core.model.shard import Shard, check_split, split_config
from qwen_core.model.weights import DTYPES, Weights, check_capacity, load_plans
from qwen_core.protocol.events import LoadProgress


class SharedEmbedding:
    """Ids [1, T] to vectors [1, T, hidden], each looked up by the rank that has its row."""

    def __init__(self, own: Callable[[mx.array], mx.array], rows: int, collectives: Collectives) -> None:
        self._own = own
        self._rows = rows
        self._collectives = collectives

    def __call__(self, ids: mx.array) -> mx.array:
        places = self._collectives.sum(ids.astype(mx.int32)) - self._rows * self._collectives.rank
        here = mx.logical_and(places >= 0, places < self._rows)
        vectors = self._own(mx.where(here, places, 0))
        return self._collectives.sum(mx.where(here[..., None], vectors, mx.zeros((), vectors.dtype)))


class PartModel(Model):
    """One rank's part. Called like a `Model`, by every rank at once; what it gives is the same on each. Ids and vectors
    that go in are those of rank 0, the others give zeros in their place.

    `config` has the sizes of the part, `checkpoint.config` those of the whole.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        weights: Weights,
        dtype: str,
        collectives: Collectives,
        *,
        kernels: Kernels = NONE,
    ) -> None:
        config = split_config(checkpoint.config, collectives.ranks)
        super().__init__(checkpoint, weights, checkpoint.specs, dtype, config=config, kernels=kernels)
        self.collectives = collectives
        own = self._head
        self._embedding = SharedEmbedding(self._embedding, config.vocab_size // collectives.ranks, collectives)
        self._head = lambda hidden: collectives.gather(own(hidden))
        for block in self._blocks:
            block.share(collectives.sum)

    def head(self, hidden: mx.array) -> mx.array:
        return super().head(self.collectives.sum(hidden))


AnyPart = TypeVar("AnyPart", bound=PartModel)


def load_part(
    checkpoint: Checkpoint,
    dtype: str,
    collectives: Collectives,
    build: Callable[[Weights, Kernels], AnyPart],
    *,
    progress: Callable[[LoadProgress], None] | None = None,
    stop: Callable[[], bool] | None = None,
    kernels: bool = True,
) -> AnyPart:
    """Bring this rank's part into memory, no more of the files than that, and have `build` make the model of it.

    Raises as `load_model`, and SettingsError where the model cannot be split over so many ranks.
    """
    check_split(checkpoint.config, checkpoint.specs, collectives.ranks)
    plans = part_plans(checkpoint, dtype, Shard(collectives.rank, collectives.ranks))
    check_capacity(plans, dtype, memory_bytes())
    config = split_config(checkpoint.config, collectives.ranks)

    def built(weights: Weights) -> AnyPart:
        return build(weights, proven(config, DTYPES[dtype]) if kernels else NONE)

    return assembled(lambda: load_plans(plans, progress=progress, stop=stop), built)
