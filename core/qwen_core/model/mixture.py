"""The mixture of experts in place of a feed-forward part (FORMAT.md, step 12): a router, its experts, a shared one.

The experts' matrices are stacks [experts, rows, columns]. A token meets the few that the router chooses, so the unit of
work is a row: one token before one expert. A row is computed by itself, which is why rows may be put in any order and
dealt out to processors.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from qwen_core.checkpoint.quantization import QuantSpec
from qwen_core.device.backend import is_gpu, mx
from qwen_core.model.layers import FeedForward, TensorSource, swiglu, times_sigmoid
from qwen_core.model.row_parallel import cut_rows, shares, side_by_side

# Rows from which they are sorted by expert: one read of its matrices then serves all of them.
_LEAST_SORTED = 64
# Elements of experts' matrices that are copied at a time where MLX cannot multiply by them in place.
_MOST_COPIED = 32 << 20


@dataclass
class LinearStack:
    """y = x W_e^T with plain weights [experts, out, in]: rows x [N, 1, in] and experts [N] give [N, 1, out]."""

    weight: mx.array

    def __call__(self, x: mx.array, experts: mx.array, sorted_rows: bool, stream: mx.Stream | None) -> mx.array:
        if self.weight.dtype != mx.float32 and not is_gpu():
            return self._by_copies(x, experts)
        transposed = mx.swapaxes(self.weight, -1, -2)
        return mx.gather_mm(x, transposed, rhs_indices=experts, sorted_indices=sorted_rows, stream=stream)

    def _by_copies(self, x: mx.array, experts: mx.array) -> mx.array:
        """MLX's `gather_mm` on a CPU takes float32 alone."""
        step = max(1, _MOST_COPIED // (self.rows * x.shape[-1]))
        pieces = [slice(begin, begin + step) for begin in range(0, x.shape[0], step)]
        return mx.concatenate([x[piece] @ mx.swapaxes(self.weight[experts[piece]], -1, -2) for piece in pieces])

    @property
    def rows(self) -> int:
        return self.weight.shape[1]


@dataclass
class QuantizedStack:
    """The same with packed weights, multiplied without unpacking them."""

    weight: mx.array
    scales: mx.array
    biases: mx.array | None
    spec: QuantSpec

    def __call__(self, x: mx.array, experts: mx.array, sorted_rows: bool, stream: mx.Stream | None) -> mx.array:
        return mx.gather_qmm(
            x,
            self.weight,
            self.scales,
            self.biases,
            rhs_indices=experts,
            transpose=True,
            group_size=self.spec.group_size,
            bits=self.spec.bits,
            mode=self.spec.mode,
            sorted_indices=sorted_rows,
            stream=stream,
        )

    @property
    def rows(self) -> int:
        return self.weight.shape[1]


Stack = LinearStack | QuantizedStack


def _joined(gate: Stack, up: Stack) -> Stack | None:
    """One stack whose outputs are gate's and then up's; None where their formats differ."""
    if isinstance(gate, LinearStack) and isinstance(up, LinearStack):
        return LinearStack(mx.concatenate([gate.weight, up.weight], axis=1))
    if not (isinstance(gate, QuantizedStack) and isinstance(up, QuantizedStack)) or gate.spec != up.spec:
        return None
    biases = None
    if gate.biases is not None and up.biases is not None:
        biases = mx.concatenate([gate.biases, up.biases], axis=1)
    return QuantizedStack(
        mx.concatenate([gate.weight, up.weight], axis=1),
        mx.concatenate([gate.scales, up.scales], axis=1),
        biases,
        gate.spec,
    )


def _stack(source: TensorSource, module: str) -> Stack:
    """The stack of a module. Raw files name it without ".weight"."""
    spec = source.specs.get(module)
    if spec is None:
        return LinearStack(source.take(module if module in source.arrays else f"{module}.weight"))
    biases = source.arrays.pop(f"{module}.biases", None)
    return QuantizedStack(source.take(f"{module}.weight"), source.take(f"{module}.scales"), biases, spec)


class Experts:
    """down_e(silu(gate_e x) * up_e x) of one expert a row: rows x [N, 1, hidden] and experts [N] give the shape of x.

    gate and up are one stack in raw files, and become one here where `TensorSource.join` allows to copy them.
    """

    def __init__(self, source: TensorSource, prefix: str) -> None:
        if f"{prefix}experts.gate_up_proj" in source.arrays:
            self.gate_up: tuple[Stack, ...] = (_stack(source, f"{prefix}experts.gate_up_proj"),)
            self.down = _stack(source, f"{prefix}experts.down_proj")
            return
        names = [f"{prefix}switch_mlp.{name}_proj" for name in ("gate", "up")]
        gate, up = (_stack(source, name) for name in names)
        joined = _joined(gate, up) if all(map(source.join, names)) else None
        if joined is None:
            self.gate_up = (gate, up)
        else:
            mx.eval([getattr(joined, name, None) for name in ("weight", "scales", "biases")])
            self.gate_up = (joined,)
        self.down = _stack(source, f"{prefix}switch_mlp.down_proj")

    def __call__(self, x: mx.array, experts: mx.array, sorted_rows: bool, stream: mx.Stream | None = None) -> mx.array:
        parts = [stack(x, experts, sorted_rows, stream) for stack in self.gate_up]
        gate, up = parts if len(parts) == 2 else mx.split(parts[0], 2, axis=-1, stream=stream)
        return self.down(swiglu(gate, up), experts, sorted_rows, stream)

    @property
    def elements(self) -> int:
        """Elements of one expert's matrices."""
        rows = sum(stack.rows for stack in self.gate_up)
        return rows * self.down.rows * 3 // 2


class Mixture:
    """x [1, T, hidden] gives the same shape: each token's `used` likeliest experts, weighted, and the shared one."""

    def __init__(self, source: TensorSource, prefix: str, used: int) -> None:
        self.used = used
        self.watched = False
        self.chosen: mx.array | None = None
        """The experts of the last pass [1, T, used], while `watched`."""
        self.router = source.projection(f"{prefix}gate")
        self.experts = Experts(source, prefix)
        self.shared = FeedForward(source, f"{prefix}shared_expert.")
        self.shared_gate = source.projection(f"{prefix}shared_expert_gate")

    def __call__(self, x: mx.array) -> mx.array:
        chosen, weights = self.choose(x)
        self.chosen = chosen if self.watched else None
        outputs = self._outputs(x, chosen)
        mixed = mx.sum(outputs * weights[..., None], axis=-2).astype(x.dtype)
        return mixed + times_sigmoid(self.shared(x), self.shared_gate(x))

    def choose(self, x: mx.array) -> tuple[mx.array, mx.array]:
        """The experts of each token [1, T, used] and their weights, float32, which sum to 1.

        softmax over all experts in float32, then the largest, whatever the compute type: transformers,
        modeling_qwen3_5_moe.py, `Qwen3_5MoeTopKRouter`.
        """
        p = mx.softmax(self.router(x).astype(mx.float32), axis=-1)
        chosen = mx.argpartition(-p, kth=self.used - 1, axis=-1)[..., : self.used]
        weights = mx.take_along_axis(p, chosen, axis=-1)
        return chosen, weights / mx.sum(weights, axis=-1, keepdims=True)

    def _outputs(self, x: mx.array, chosen: mx.array) -> mx.array:
        """What each chosen expert makes of its token: [1, T, used, hidden]."""
        experts = chosen.reshape(-1)
        rows = experts.size
        if rows < _LEAST_SORTED:
            taken = mx.repeat(x[0], self.used, axis=0)[:, None]
            return self._rows(taken, experts, False).reshape(*chosen.shape, -1)
        order = mx.argsort(experts)
        outputs = self._rows(x[0][order // self.used][:, None], experts[order], True)
        return outputs[mx.argsort(order)].reshape(*chosen.shape, -1)

    def _rows(self, x: mx.array, experts: mx.array, sorted_rows: bool) -> mx.array:
        """Rows [N, 1, hidden] through their experts [N], on as many processors as pays on a CPU."""
        parts = shares(len(experts), self.experts.elements, 1)
        if parts == 1:
            return self.experts(x, experts, sorted_rows)
        work: list[Callable[[mx.Stream], mx.array]] = [
            partial(self.experts, x[cut], experts[cut], sorted_rows) for cut in cut_rows(len(experts), parts)
        ]
        return side_by_side(work, axis=0)
