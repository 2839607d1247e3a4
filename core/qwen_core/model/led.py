"""Rank 0's model and state: they tell the other ranks each operation, one short line, and do their own part of it.

What decides anything, sampling, drafts, templates, snapshots, is on rank 0 alone and knows nothing of the others:
they are told how many tokens are fed and never which; ids and vectors go from rank to rank inside the graph
(part.py). follow.py does what is told here.
"""

from collections import deque
from collections.abc import Callable, Mapping
from itertools import count
from pathlib import Path
from typing import Any, cast
from weakref import WeakKeyDictionary, finalize

from qwen_core.checkpoint.config import ModelConfig
from qwen_core.checkpoint.directory import Checkpoint, open_checkpoint
from qwen_core.device.backend import default_dtype, mx
from qwen_core.errors import QwenError
from qwen_core.model.collectives import Collectives
from qwen_core.model.kernels.proof import NONE, Kernels
from qwen_core.model.part import PartModel, load_part
from qwen_core.model.part_files import PartsName
from qwen_core.model.shard import check_split
from qwen_core.model.state import Snapshot, State
from qwen_core.model.weights import DTYPES, Weights
from qwen_core.protocol.events import LoadProgress

_PARTS = "parts"
"""The name among a state's arrays of what says where the other ranks have theirs."""
Tell = Callable[[dict[str, Any]], None]
"""Sends one command to every other rank, in order, and does not wait for it."""


class Leader:
    """Tells commands, and before each what has been dropped here since: a finalizer may run at any moment, and in the
    middle of a line. In a silenced `Collectives` it says nothing."""

    def __init__(self, tell: Tell, collectives: Collectives) -> None:
        self._tell = tell
        self._collectives = collectives
        self._numbers = count(1)
        self._dropped: deque[dict[str, Any]] = deque()

    def tell(self, do: str, **values: Any) -> None:
        """Have the others `do` something."""
        if self._collectives.silent:
            return
        while self._dropped:
            self._tell(self._dropped.popleft())
        self._tell({"do": do, **values})

    def failed(self) -> int:
        """The first rank that could not do what was told last, which must be something that they say it of; 0: none."""
        troubles = cast(list[int], self._collectives.gather(mx.zeros((1, 1, 1), mx.int32)).reshape(-1).tolist())
        return next((rank for rank, trouble in enumerate(troubles) if trouble), 0)

    def number(self, thing: object, drop: str) -> int:
        """A number to speak of `thing` by; once it is gone the others are told to `drop` theirs."""
        number = next(self._numbers)
        if not self._collectives.silent:
            finalize(thing, self._dropped.append, {"do": drop, "number": number}).atexit = False
        return number


class LedState(State):
    """What rank 0 remembers of a sequence; the others do the same to theirs."""

    def __init__(self, config: ModelConfig, dtype: mx.Dtype, mtp_heads: int, leader: Leader) -> None:
        super().__init__(config, dtype, mtp_heads)
        self.leader = leader
        self.number = leader.number(self, "forget_state")
        self._snapshots: WeakKeyDictionary[Snapshot, int] = WeakKeyDictionary()
        leader.tell("new_state", state=self.number)

    def begin_drafted(self) -> None:
        self.leader.tell("begin_drafted", state=self.number)
        super().begin_drafted()

    def keep(self, tokens: int) -> None:
        self.leader.tell("keep", state=self.number, tokens=tokens)
        super().keep(tokens)

    def reserve(self, tokens: int) -> None:
        self.leader.tell("reserve", state=self.number, tokens=tokens)
        super().reserve(tokens)

    def snapshot(self) -> Snapshot:
        snapshot = super().snapshot()
        self._snapshots[snapshot] = number = self.leader.number(snapshot, "forget_snapshot")
        self.leader.tell("snapshot", state=self.number, snapshot=number)
        return snapshot

    def begin_again(self) -> None:
        self.leader.tell("begin_again", state=self.number)
        super().begin_again()

    def restore(self, snapshot: Snapshot) -> None:
        self.leader.tell("restore", state=self.number, snapshot=self._snapshots[snapshot])
        super().restore(snapshot)

    def stored(self, name: str = "") -> dict[str, mx.array]:
        """As `State.stored`, of rank 0's part, when every other rank has written its own under `name` to a file of its
        own. Raises QwenError where one could not."""
        parts = PartsName.new(name)
        self.leader.tell("save", state=self.number, name=parts.name, mark=parts.mark)
        arrays = super().stored()
        if rank := self.leader.failed():
            raise QwenError(f"rank {rank} cannot write its part of the state")
        return {**arrays, _PARTS: parts.array()}

    def adopt(self, length: int, arrays: Mapping[str, mx.array]) -> None:
        """As `State.adopt`; ValueError also where another rank has no such part."""
        own = dict(arrays)
        parts = PartsName.of_array(own.pop(_PARTS, None))
        super().adopt(length, own)
        self.leader.tell("adopt", state=self.number, length=length, name=parts.name, mark=parts.mark)
        if rank := self.leader.failed():
            raise ValueError(f"rank {rank} has no part of it that fits")


class LedModel(PartModel):
    """Rank 0's part of a model, called like any `Model`; every call is one of all ranks."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        weights: Weights,
        dtype: str,
        collectives: Collectives,
        leader: Leader,
        *,
        kernels: Kernels = NONE,
    ) -> None:
        super().__init__(checkpoint, weights, dtype, collectives, kernels=kernels)
        self.leader = leader

    def new_state(self) -> State:
        heads = self.checkpoint.config.num_key_value_heads
        return LedState(self.config, DTYPES[self.dtype], heads, self.leader)

    def embed(self, ids: mx.array) -> mx.array:
        self.leader.tell("embed", tokens=ids.shape[1])
        return self._run(super().embed(ids))

    def head(self, hidden: mx.array) -> mx.array:
        self.leader.tell("head", tokens=hidden.shape[1])
        return self._run(super().head(hidden))

    def __call__(self, ids: mx.array, state: State) -> mx.array:
        self._tell_pass("logits", ids, state)
        return self._run(super().__call__(ids, state))

    def last_logits(self, ids: mx.array, state: State) -> mx.array:
        self._tell_pass("last_logits", ids, state)
        return self._run(super().last_logits(ids, state))

    def hidden(self, ids: mx.array, state: State) -> mx.array:
        self._tell_pass("hidden", ids, state)
        return self._run(super().hidden(ids, state))

    def hidden_and_logits(self, ids: mx.array, state: State) -> tuple[mx.array, mx.array]:
        self._tell_pass("hidden_and_logits", ids, state)
        return self._run(super().hidden_and_logits(ids, state))

    def hidden_and_last_logits(self, ids: mx.array, state: State) -> tuple[mx.array, mx.array]:
        self._tell_pass("hidden_and_last_logits", ids, state)
        return self._run(super().hidden_and_last_logits(ids, state))

    def feed(self, ids: mx.array, state: State) -> None:
        self._tell_pass("feed", ids, state)
        self._run(super().feed(ids, state))

    def close(self) -> None:
        self.leader.tell("close")
        super().close()

    def _tell_pass(self, outputs: str, ids: mx.array, state: State) -> None:
        assert isinstance(state, LedState)
        self.leader.tell("pass", outputs=outputs, state=state.number, tokens=ids.shape[1])

    def _run(self, result: Any) -> Any:
        """`result`, on the way: what the others were told they wait for, also where nobody here reads it."""
        self.collectives.run()
        return result


def load_led(
    path: str | Path | Checkpoint,
    dtype: str | None,
    collectives: Collectives,
    tell: Tell,
    *,
    progress: Callable[[LoadProgress], None] | None = None,
    stop: Callable[[], bool] | None = None,
    kernels: bool = True,
) -> LedModel:
    """As `load_model`, of rank 0's part, when the others were told to load theirs; it does not wait for them.

    `collectives` need not be connected before the first call of the model.
    """
    checkpoint = path if isinstance(path, Checkpoint) else open_checkpoint(path)
    dtype = dtype or default_dtype()
    check_split(checkpoint.config, checkpoint.specs, collectives.ranks)
    leader = Leader(tell, collectives)
    leader.tell("load", path=str(checkpoint.path), dtype=dtype, kernels=kernels)

    def build(weights: Weights, chosen: Kernels) -> LedModel:
        return LedModel(checkpoint, weights, dtype, collectives, leader, kernels=chosen)

    return load_part(checkpoint, dtype, collectives, build, progress=progress, stop=stop, kernels=kernels)
