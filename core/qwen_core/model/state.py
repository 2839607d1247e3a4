"""What a model remembers of one sequence: recurrent state and convolution inputs of its linear layers, keys and
values of its full ones; and exact ways back to earlier points of it.

The mathematics that moves it forward is layers.py's; which tokens it stands for is session.py's business.
"""

from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass
from weakref import WeakSet, proxy

from qwen_core.checkpoint.config import ModelConfig
from qwen_core.device.backend import mx
from qwen_core.model.drafted_pass import DraftedPass, LinearLayerState, LinearStep

GROWTH = 256
"""Key and value buffers grow by whole multiples of this many tokens, or to what was reserved."""


@dataclass(eq=False)
class KeyValueBuffer:
    """Keys and values of one full layer, [1, heads, capacity, head_dim]; the first `State.length` rows count."""

    keys: mx.array
    values: mx.array

    @property
    def nbytes(self) -> int:
        return self.keys.nbytes + self.values.nbytes


class Lineage:
    """One run of appended rows, from its start to wherever it got.

    Rows never change while a run only grows, so every snapshot of it finds its keys and values in the live buffers
    and keeps none of its own. Only when the state leaves a run that has longer snapshots does the run keep the
    buffers it was left with, in `buffers`, for as long as those snapshots live.
    """

    def __init__(self) -> None:
        self.snapshots: WeakSet[Snapshot] = WeakSet()
        self.buffers: dict[int, KeyValueBuffer] | None = None

    @property
    def nbytes(self) -> int:
        """Bytes of keys and values that it keeps beside those of the run that goes on."""
        return sum(held.nbytes for held in (self.buffers or {}).values())


@dataclass(eq=False)
class Snapshot:
    """A point of a sequence that the `State` whose `snapshot` made it can return to exactly."""

    length: int
    linear: dict[int, LinearLayerState]
    lineage: Lineage
    mtp: "MtpPoint | None"
    logits: mx.array | None = None

    @property
    def nbytes(self) -> int:
        """Bytes that only this snapshot keeps alive: recurrent state and logits, not the keys and values it shares."""
        logits = 0 if self.logits is None else self.logits.nbytes
        return sum(layer.nbytes for layer in self.linear.values()) + logits


@dataclass(frozen=True, eq=False)
class MtpPoint:
    """Where an `MtpState` was: its pairs, of which run, and the hidden vector behind the last token."""

    run: int
    length: int
    hidden: mx.array


class MtpState:
    """What the MTP layer remembers: keys and values of `length` pairs (hidden vector of a token, the token after it),
    kept as one more full layer of its `State`; `waiting` pairs that it has not computed yet; and the `hidden` vector
    [1, 1, H] behind the last of the `seen` tokens, None before the first.

    Stands where a layer expects a `State`. It may lag behind: tokens that were fed without it end the run of pairs,
    and the next ones begin another.
    """

    def __init__(self, state: "State", layer: int) -> None:
        self.length = 0
        self.hidden: mx.array | None = None
        self.waiting: list[tuple[mx.array, mx.array]] = []
        self.layer = layer
        # The state owns this: a circle would keep its gigabytes until Python next looks for circles.
        self._state: State = proxy(state)
        self._seen = 0
        self._run = 0

    def append(self, layer: int, keys: mx.array, values: mx.array) -> tuple[mx.array, mx.array]:
        """As `State.append`, behind the `length` pairs."""
        return self._state.append_at(self.layer, keys, values, self.length)

    def take(self, ids: mx.array, hidden: mx.array) -> None:
        """`ids` [1, T] were the last tokens fed to the `State`, and `hidden` [1, T, H] are the vectors behind them."""
        fed = ids.shape[1]
        if self.hidden is None or self._seen + fed != self._state.length:
            self.begin_run()
            ids, before = ids[:, 1:], hidden[:, :-1]
        else:
            before = mx.concatenate([self.hidden, hidden[:, :-1]], axis=1)
        if ids.shape[1]:
            self.waiting.append((before, ids))
        # A view would keep the vectors of a whole prompt alive for its last one.
        self.hidden = mx.contiguous(hidden[:, -1:])
        self._seen = self._state.length

    def begin_run(self) -> None:
        """Forget all pairs."""
        self.length, self.hidden = 0, None
        self.waiting.clear()
        self._run += 1

    def point(self) -> MtpPoint | None:
        """Where this is, None where it lags behind the `State` or has pairs waiting."""
        if self.hidden is None or self.waiting or self._seen != self._state.length:
            return None
        return MtpPoint(self._run, self.length, self.hidden)

    def go_to(self, point: MtpPoint | None) -> None:
        """Back to a point of this run; the pairs of another one have been overwritten."""
        if point is None or point.run != self._run:
            self.begin_run()
            return
        self.waiting.clear()
        self.length, self.hidden, self._seen = point.length, point.hidden, self._state.length

    def adopt(self, length: int, hidden: mx.array) -> None:
        """Stand behind all tokens of the `State` with `length` pairs, whose rows it has."""
        self.length, self.hidden, self._seen = length, hidden, self._state.length


class State:
    """The memory of one sequence, empty at first. `length` counts the tokens that were fed.

    `logits` [1, vocab] are those behind the last of them, None where whoever fed it put none there: with them a
    sequence goes on from here without feeding anything twice. Arrays may be lazy: `arrays()` lists what to evaluate
    beside `logits`. Not thread-safe.
    """

    def __init__(self, config: ModelConfig, dtype: mx.Dtype, mtp_heads: int | None = None) -> None:
        """`mtp_heads`: key-value heads of the MTP layer where the others have but a part of theirs here."""
        self.length = 0
        self.logits: mx.array | None = None
        self._reserved = 0
        channels = (
            2 * config.linear_num_key_heads * config.linear_key_head_dim
            + config.linear_num_value_heads * config.linear_value_head_dim
        )
        convolution = mx.zeros((1, config.linear_conv_kernel_dim - 1, channels), dtype)
        recurrent = mx.zeros(
            (1, config.linear_num_value_heads, config.linear_value_head_dim, config.linear_key_head_dim), mx.float32
        )
        self._linear = {
            index: LinearLayerState(convolution, recurrent)
            for index, kind in enumerate(config.layer_types)
            if kind == "linear_attention"
        }
        self._first = dict(self._linear)
        self._full_layers = [n for n, kind in enumerate(config.layer_types) if kind != "linear_attention"]
        self._heads, self._head_dim, self._dtype = config.num_key_value_heads, config.head_dim, dtype
        self._mtp_heads = self._heads if mtp_heads is None else mtp_heads
        self._hidden_size, self._vocab_size = config.hidden_size, config.vocab_size
        self._key_values: dict[int, KeyValueBuffer] = {}
        self._lineage = Lineage()
        self._drafted: DraftedPass | None = None
        self.mtp = MtpState(self, config.num_hidden_layers)

    @property
    def linear(self) -> dict[int, LinearLayerState]:
        """The linear layers by index. A layer puts its new state here; what is read is after `length` tokens."""
        if self._drafted is not None and self._drafted.kept is not None:
            self._linear = self._drafted.linear()
        return self._linear

    def begin_drafted(self) -> None:
        """The next tokens fed, until `advance`, are one pass that `keep` may cut back."""
        self._linear = dict(self.linear)
        self._drafted = DraftedPass(self.length)

    def take_step(self, layer: int, step: LinearStep) -> None:
        """A linear layer's step; remembered if it is part of a pass with drafts."""
        if self._drafted is not None and self._drafted.kept is None:
            self._drafted.take(layer, step)

    def keep(self, tokens: int) -> None:
        """Of the last pass, which fed drafts, the first `tokens` count. May be said again, until the next pass."""
        assert self._drafted is not None and 0 <= tokens <= self._drafted.fed
        self._drafted.kept = tokens
        self.length, self.logits = self._drafted.begin + tokens, None

    def reserve(self, tokens: int) -> None:
        """So many tokens will follow: buffers that grow from here on have room for all of them, and grow once."""
        self._reserved = self.length + tokens

    def append(self, layer: int, keys: mx.array, values: mx.array) -> tuple[mx.array, mx.array]:
        """Put keys and values [1, heads, T, head_dim] behind the `length` rows of a full layer; return all of them.

        `length` itself moves once for all layers, by `advance`.
        """
        return self.append_at(layer, keys, values, self.length)

    def append_at(self, layer: int, keys: mx.array, values: mx.array, begin: int) -> tuple[mx.array, mx.array]:
        """The same behind `begin` rows."""
        end = begin + keys.shape[2]
        held = self._key_values.get(layer)
        capacity = 0 if held is None else held.keys.shape[2]
        if held is None or end > capacity:
            needed = max(end, self._reserved)
            rows = -needed % GROWTH + needed - capacity
            spare_keys = mx.zeros((*keys.shape[:2], rows, keys.shape[3]), keys.dtype)
            spare_values = mx.zeros((*values.shape[:2], rows, values.shape[3]), values.dtype)
            if held is not None:
                spare_keys = mx.concatenate([held.keys, spare_keys], axis=2)
                spare_values = mx.concatenate([held.values, spare_values], axis=2)
            held = KeyValueBuffer(spare_keys, spare_values)
        # The copies are of the objects alone: assigning changes an array object, which a lineage left behind may share.
        written = KeyValueBuffer(copy(held.keys), copy(held.values))
        rows = (slice(None), slice(None), slice(begin, end))
        written.keys[rows], written.values[rows] = keys, values
        self._key_values[layer] = written
        return written.keys[:, :, :end], written.values[:, :, :end]

    def stored(self, name: str = "") -> dict[str, mx.array]:
        """Every array that `adopt` needs, by name, without the unused ends of the buffers. `name` is for what other
        ranks keep of the sequence meanwhile (led.py)."""
        named = {}
        for index, layer in self.linear.items():
            named[f"linear.{index}.convolution"] = layer.convolution
            named[f"linear.{index}.recurrent"] = layer.recurrent
        for index in self._full_layers:
            named |= self._stored_rows(index, f"full.{index}", self.length)
        mtp = self.mtp.point()
        if mtp is not None and mtp.length:
            named |= {"mtp.hidden": mtp.hidden, **self._stored_rows(self.mtp.layer, "mtp", mtp.length)}
        if self.logits is not None:
            named["logits"] = self.logits
        return named

    def _stored_rows(self, layer: int, name: str, rows: int) -> dict[str, mx.array]:
        held = self._key_values.get(layer)
        if held is None:
            return {}
        return {
            f"{name}.keys": mx.contiguous(held.keys[:, :, :rows]),
            f"{name}.values": mx.contiguous(held.values[:, :, :rows]),
        }

    def adopt(self, length: int, arrays: Mapping[str, mx.array]) -> None:
        """Become the state of `length` tokens that `stored` gave `arrays` of. Only for an empty state.

        Raises ValueError naming an array that is missing, of a wrong shape or type, or not finite.
        """
        linear, full = {}, {}
        for index, layer in self.linear.items():
            convolution = _like(arrays, f"linear.{index}.convolution", layer.convolution)
            linear[index] = LinearLayerState(convolution, _like(arrays, f"linear.{index}.recurrent", layer.recurrent))
        for index in self._full_layers:
            full[index] = self._rows_like(arrays, f"full.{index}", length, self._heads)
        hidden = arrays.get("mtp.hidden")
        pairs = 0
        if hidden is not None:
            rows = arrays.get("mtp.keys")
            pairs = min(rows.shape[2] if rows is not None and rows.ndim == 4 else 0, length - 1)
            hidden = _like(arrays, "mtp.hidden", mx.zeros((1, 1, self._hidden_size), self._dtype))
            full[self.mtp.layer] = self._rows_like(arrays, "mtp", pairs, self._mtp_heads)
        logits = arrays.get("logits")
        if logits is not None:
            logits = _like(arrays, "logits", mx.zeros((1, self._vocab_size), logits.dtype))
        if len(arrays) != 2 * (len(linear) + len(full)) + (hidden is not None) + (logits is not None):
            raise ValueError("it has arrays that this model's state does not have")
        self.length, self.logits = length, logits
        self._linear, self._key_values = linear, full
        if hidden is not None:
            self.mtp.adopt(pairs, hidden)

    def _rows_like(self, arrays: Mapping[str, mx.array], name: str, rows: int, heads: int) -> KeyValueBuffer:
        example = mx.zeros((1, heads, rows, self._head_dim), self._dtype)
        return KeyValueBuffer(_like(arrays, f"{name}.keys", example), _like(arrays, f"{name}.values", example))

    def advance(self, tokens: int) -> None:
        """Every layer has taken `tokens` more tokens."""
        self.length += tokens
        self.logits = None
        if self._drafted is None:
            return
        if self._drafted.kept is None:
            self._drafted.end(tokens, self._linear)
        else:
            self._drafted = None

    def arrays(self) -> list[mx.array]:
        """All arrays of the state, to be evaluated together."""
        linear = [array for layer in self.linear.values() for array in (layer.convolution, layer.recurrent)]
        full = [array for layer in self._key_values.values() for array in (layer.keys, layer.values)]
        return linear + full

    @property
    def recurrent_nbytes(self) -> int:
        """Bytes of linear-layer state, which every token reads and writes whole."""
        return sum(layer.nbytes for layer in self._linear.values())

    @property
    def kv_nbytes(self) -> int:
        """Bytes of the keys and values of the tokens fed so far, which the next token reads."""
        return sum(
            held.nbytes // held.keys.shape[2] * self.length
            for layer, held in self._key_values.items()
            if layer != self.mtp.layer
        )

    @property
    def nbytes(self) -> int:
        """Bytes of memory the state holds, the unused end of its buffers included."""
        return self.recurrent_nbytes + sum(layer.nbytes for layer in self._key_values.values())

    def snapshot(self) -> Snapshot:
        """This point, to return to with `restore`. Copies nothing: linear-layer arrays are never written in place,
        and keys and values are found again in the buffers that go on growing (see `Lineage`).
        """
        linear = {index: LinearLayerState(layer.convolution, layer.recurrent) for index, layer in self.linear.items()}
        snapshot = Snapshot(self.length, linear, self._lineage, self.mtp.point(), self.logits)
        self._lineage.snapshots.add(snapshot)
        return snapshot

    def begin_again(self) -> None:
        """Back to before the first token. Snapshots stay valid, and alone keep what was fed alive."""
        self._lineage.buffers = self._key_values
        self._lineage = Lineage()
        self._key_values, self._linear, self._drafted = {}, dict(self._first), None
        self.length, self.logits = 0, None
        self.mtp.begin_run()

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
        self.length, self.logits = snapshot.length, snapshot.logits
        self.mtp.go_to(snapshot.mtp)
        self._key_values = dict(buffers)
        self._drafted = None
        self._linear = {
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
