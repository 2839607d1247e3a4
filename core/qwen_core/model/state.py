"""What a model remembers of one sequence: recurrent state and convolution inputs of its linear layers, keys and
values of its full ones; and exact ways back to earlier points of it.

The mathematics that moves it forward is layers.py's; which tokens it stands for is session.py's business.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from weakref import WeakSet

from qwen_core.checkpoint.config import ModelConfig
from qwen_core.device.backend import mx

GROWTH = 256
"""Key and value buffers grow by whole multiples of this many tokens."""


@dataclass(eq=False)
class KeyValueBuffer:
    """Keys and values of one full layer, [1, heads, capacity, head_dim]; the first `State.length` rows count."""

    keys: mx.array
    values: mx.array

    @property
    def nbytes(self) -> int:
        return self.keys.nbytes + self.values.nbytes


@dataclass(eq=False)
class LinearLayerState:
    """convolution: the last K - 1 inputs [1, K - 1, C]; recurrent: S [1, Hv, Dv, Dk], float32."""

    convolution: mx.array
    recurrent: mx.array

    @property
    def nbytes(self) -> int:
        return self.convolution.nbytes + self.recurrent.nbytes


class Lineage:
    """One run of appended rows, from its start to wherever it got.

    Rows never change while a run only grows, so every snapshot of it finds its keys and values in the live buffers
    and keeps none of its own. Only when the state leaves a run that has longer snapshots does the run keep the
    buffers it was left with, in `buffers`, for as long as those snapshots live.
    """

    def __init__(self) -> None:
        self.snapshots: WeakSet[Snapshot] = WeakSet()
        self.buffers: dict[int, KeyValueBuffer] | None = None


@dataclass(eq=False)
class Snapshot:
    """A point of a sequence that the `State` whose `snapshot` made it can return to exactly."""

    length: int
    linear: dict[int, LinearLayerState]
    lineage: Lineage

    @property
    def nbytes(self) -> int:
        """Bytes that only this snapshot keeps alive: recurrent state, not the keys and values it shares."""
        return sum(layer.nbytes for layer in self.linear.values())


class State:
    """The memory of one sequence, empty at first. `length` counts the tokens that were fed.

    Arrays may be lazy: `arrays()` lists what to evaluate. Not thread-safe.
    """

    def __init__(self, config: ModelConfig, dtype: mx.Dtype) -> None:
        self.length = 0
        channels = (
            2 * config.linear_num_key_heads * config.linear_key_head_dim
            + config.linear_num_value_heads * config.linear_value_head_dim
        )
        convolution = mx.zeros((1, config.linear_conv_kernel_dim - 1, channels), dtype)
        recurrent = mx.zeros(
            (1, config.linear_num_value_heads, config.linear_value_head_dim, config.linear_key_head_dim), mx.float32
        )
        self.linear = {
            index: LinearLayerState(convolution, recurrent)
            for index, kind in enumerate(config.layer_types)
            if kind == "linear_attention"
        }
        self._full_layers = [n for n, kind in enumerate(config.layer_types) if kind != "linear_attention"]
        self._heads, self._head_dim, self._dtype = config.num_key_value_heads, config.head_dim, dtype
        self._end = mx.array([0])
        self._key_values: dict[int, KeyValueBuffer] = {}
        self._lineage = Lineage()

    def append(self, layer: int, keys: mx.array, values: mx.array) -> tuple[mx.array, mx.array]:
        """Put keys and values [1, heads, T, head_dim] behind the `length` rows of a full layer; return all of them.

        `length` itself moves once for all layers, by `advance`.
        """
        end = self.length + keys.shape[2]
        held = self._key_values.get(layer)
        capacity = 0 if held is None else held.keys.shape[2]
        if held is None or end > capacity:
            rows = -end % GROWTH + end - capacity
            spare_keys = mx.zeros((*keys.shape[:2], rows, keys.shape[3]), keys.dtype)
            spare_values = mx.zeros((*values.shape[:2], rows, values.shape[3]), values.dtype)
            if held is not None:
                spare_keys = mx.concatenate([held.keys, spare_keys], axis=2)
                spare_values = mx.concatenate([held.values, spare_values], axis=2)
            held = KeyValueBuffer(spare_keys, spare_values)
        # Not `buffer[..., a:b, :] = x`: that changes the array object itself, which a lineage left behind may share.
        held = KeyValueBuffer(
            mx.slice_update(held.keys, keys, self._end, (2,)), mx.slice_update(held.values, values, self._end, (2,))
        )
        self._key_values[layer] = held
        return held.keys[:, :, :end], held.values[:, :, :end]

    def stored(self) -> dict[str, mx.array]:
        """Every array that `adopt` needs, by name, without the unused ends of the buffers."""
        named = {}
        for index, layer in self.linear.items():
            named[f"linear.{index}.convolution"] = layer.convolution
            named[f"linear.{index}.recurrent"] = layer.recurrent
        for index, held in self._key_values.items():
            named[f"full.{index}.keys"] = mx.contiguous(held.keys[:, :, : self.length])
            named[f"full.{index}.values"] = mx.contiguous(held.values[:, :, : self.length])
        return named

    def adopt(self, length: int, arrays: Mapping[str, mx.array]) -> None:
        """Become the state of `length` tokens that `stored` gave `arrays` of. Only for an empty state.

        Raises ValueError naming an array that is missing, of a wrong shape or type, or not finite.
        """
        linear, full = {}, {}
        for index, layer in self.linear.items():
            convolution = _like(arrays, f"linear.{index}.convolution", layer.convolution)
            linear[index] = LinearLayerState(convolution, _like(arrays, f"linear.{index}.recurrent", layer.recurrent))
        for index in self._full_layers:
            shape = (1, self._heads, length, self._head_dim)
            keys, values = (
                _like(arrays, f"full.{index}.{part}", mx.zeros(shape, self._dtype)) for part in ("keys", "values")
            )
            full[index] = KeyValueBuffer(keys, values)
        if len(arrays) != 2 * (len(linear) + len(full)):
            raise ValueError("it has arrays that this model's state does not have")
        self.length = length
        self._end = mx.array([length])
        self.linear, self._key_values = linear, full

    def advance(self, tokens: int) -> None:
        """Every layer has taken `tokens` more tokens."""
        self.length += tokens
        self._end = mx.array([self.length])

    def arrays(self) -> list[mx.array]:
        """All arrays of the state, to be evaluated together."""
        linear = [array for layer in self.linear.values() for array in (layer.convolution, layer.recurrent)]
        full = [array for layer in self._key_values.values() for array in (layer.keys, layer.values)]
        return linear + full

    @property
    def recurrent_nbytes(self) -> int:
        """Bytes of linear-layer state, which every token reads and writes whole."""
        return sum(layer.nbytes for layer in self.linear.values())

    @property
    def kv_nbytes(self) -> int:
        """Bytes of the keys and values of the tokens fed so far, which the next token reads."""
        return sum(layer.nbytes // layer.keys.shape[2] * self.length for layer in self._key_values.values())

    @property
    def nbytes(self) -> int:
        """Bytes of memory the state holds, the unused end of its buffers included."""
        return self.recurrent_nbytes + sum(layer.nbytes for layer in self._key_values.values())

    def snapshot(self) -> Snapshot:
        """This point, to return to with `restore`. Copies nothing: linear-layer arrays are never written in place,
        and keys and values are found again in the buffers that go on growing (see `Lineage`).
        """
        linear = {index: LinearLayerState(layer.convolution, layer.recurrent) for index, layer in self.linear.items()}
        snapshot = Snapshot(self.length, linear, self._lineage)
        self._lineage.snapshots.add(snapshot)
        return snapshot

    def restore(self, snapshot: Snapshot) -> None:
        """Go back to `snapshot`, which stays valid, as do all others. Copies nothing by itself.

        If snapshots of more tokens than this one are alive, the next token fed copies the keys and values once, and
        the old ones stay in memory until those snapshots are dropped: drop them first where they are not wanted.
        """
        left, target = self._lineage, snapshot.lineage
        buffers = self._key_values if target is left else target.buffers
        assert buffers is not None, "a snapshot goes back into the state it was taken of"
        if target is not left:
            left.buffers = self._key_values
        if target is not left or any(other.length > snapshot.length for other in target.snapshots):
            target.buffers = buffers
            self._lineage = Lineage()
            # What both runs have in common moves along, so that it does not keep the old rows alive.
            shared = [other for other in target.snapshots if other.length <= snapshot.length]
            for other in shared:
                target.snapshots.discard(other)
                other.lineage = self._lineage
                self._lineage.snapshots.add(other)
        self.length = snapshot.length
        self._end = mx.array([self.length])
        self._key_values = dict(buffers)
        self.linear = {
            index: LinearLayerState(layer.convolution, layer.recurrent) for index, layer in snapshot.linear.items()
        }


def _like(arrays: Mapping[str, mx.array], name: str, example: mx.array) -> mx.array:
    """The array of that name, if it has the shape and type of `example` and only finite values."""
    array = arrays.get(name)
    if array is None:
        raise ValueError(f"{name} is missing")
    if array.shape != example.shape or array.dtype != example.dtype:
        raise ValueError(f"{name} has another shape or type than this model's")
    if not mx.all(mx.isfinite(array)).item():
        raise ValueError(f"{name} has values that are not finite")
    return array
