"""The layers of a Qwen3.5, 3.6 or 3.8 text model, built from its tensors: projections in every format, the two mixers
and the feed-forward part (FORMAT.md, "The model").

The block around them is in block.py, the mixture of experts in mixture.py, the gated delta rule itself in
gated_delta.py; what is remembered between calls lives in `State`. Activations are
[1, T, width] in the compute type. `last` asks a layer for the output of the last token only: every token still
moves the state, but nothing is computed that only the others' outputs would need.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import accumulate
from typing import cast

from qwen_core.checkpoint.config import ModelConfig
from qwen_core.checkpoint.quantization import QuantSpec
from qwen_core.checkpoint.tensor_scale import factor_of, tensor_scale_of
from qwen_core.device.backend import elementwise, mx
from qwen_core.model.drafted_pass import LinearLayerState, LinearStep
from qwen_core.model.gated_delta import Taken
from qwen_core.model.kernels.add_norm import AddNorm
from qwen_core.model.kernels.attention_front import AttentionFront
from qwen_core.model.kernels.delta_rule import DeltaRule
from qwen_core.model.kernels.gated_norm import GatedNorm
from qwen_core.model.kernels.linear_front import LinearFront
from qwen_core.model.norms import rms_norm
from qwen_core.model.numpy_products import LEAST_ROWS, causal_attention, pays, times_transposed, times_unpacked
from qwen_core.model.products import Products
from qwen_core.model.rotation import frequencies, stretched_norm, stretched_wavelengths
from qwen_core.model.row_parallel import cut_rows, shares, side_by_side
from qwen_core.model.state import MtpState, State

# Tokens from which a CPU multiplies faster by the unpacked weight: of 1,536 x 512 unpacking costs 8 ms in these modes
# and 1 to 9 in others, a token 0.43 ms in place of 0.02, in others 0.75 to 1.9.
# Of mxfp8 a token costs twice as much as of others; no pass with drafts is as long as this.
_UNPACKED_TOKENS = {"nvfp4": 24, "mxfp4": 24, "mxfp8": 9}


@elementwise
def _scaled(product: mx.array, factor: mx.array) -> mx.array:
    return (product * factor).astype(product.dtype)


@dataclass
class Linear:
    """y = x W^T with a plain weight [out, in]: x [1, T, in] gives [1, T, out]."""

    weight: mx.array

    def __post_init__(self) -> None:
        self.rows = self.weight.shape[0]
        # [1, in, out]: the host makes three operations of a product with a matrix of two dimensions.
        self._transposed = self.weight.T[None]

    def __call__(self, x: mx.array) -> mx.array:
        if pays(x, self.weight.size, 1):
            return times_transposed(x, self.weight)
        return x @ self._transposed


@dataclass
class QuantizedLinear:
    """The same with a packed weight (shapes: FORMAT.md's table), multiplied without unpacking it.

    `factor`, float32, is that of the whole weight, [out]. Not one number for all rows: MLX would make that a part of a
    replayed layer's kernels, and build those of each layer anew.
    """

    weight: mx.array
    scales: mx.array
    biases: mx.array | None
    spec: QuantSpec
    factor: mx.array | None = None

    def __post_init__(self) -> None:
        self.rows = self.weight.shape[0]
        self._least_unpacked = _UNPACKED_TOKENS.get(self.spec.mode, LEAST_ROWS)

    def __call__(self, x: mx.array) -> mx.array:
        if x.shape[1] > 1 and pays(x, self.rows * x.shape[-1], self._least_unpacked):
            return times_unpacked(x, self.rows, lambda rows: self.part(rows).dequantized(mx.float32))
        if self.factor is None:
            return self._packed(x)
        # MLX 0.32.4 takes no factor in this product. Before it, an output may be more than float16 holds.
        wide = x.astype(mx.float32) if x.dtype == mx.float16 else x
        return _scaled(self._packed(wide), self.factor).astype(x.dtype)

    def _packed(self, x: mx.array) -> mx.array:
        """The product without the factor, its rows shared out where that pays."""
        parts = shares(self.rows, x.shape[1], x.shape[-1])
        if parts == 1:
            return self._product(x)
        return side_by_side([partial(self.part(rows)._product, x) for rows in cut_rows(self.rows, parts)])

    def _product(self, x: mx.array, stream: mx.Stream | None = None) -> mx.array:
        return mx.quantized_matmul(
            x,
            self.weight,
            self.scales,
            self.biases,
            group_size=self.spec.group_size,
            bits=self.spec.bits,
            mode=self.spec.mode,
            stream=stream,
        )

    def part(self, rows: slice | mx.array) -> "QuantizedLinear":
        """The rows of a run, a view, or those of some ids [...], a copy: the packed weight is then [..., in packed]."""
        biases = None if self.biases is None else self.biases[rows]
        factor = None if self.factor is None else self.factor[rows]
        return QuantizedLinear(self.weight[rows], self.scales[rows], biases, self.spec, factor)

    def dequantized(self, dtype: mx.Dtype) -> mx.array:
        """The weight unpacked, [out, in]; with a factor each value is rounded once to float32, then to `dtype`."""
        unpacked = mx.dequantize(
            self.weight,
            self.scales,
            self.biases,
            group_size=self.spec.group_size,
            bits=self.spec.bits,
            mode=self.spec.mode,
            dtype=dtype if self.factor is None else mx.float32,
        )
        return unpacked if self.factor is None else (unpacked * self.factor[..., None]).astype(dtype)


Projection = Linear | QuantizedLinear


def packed_projection(arrays: dict[str, mx.array], module: str, spec: QuantSpec) -> QuantizedLinear:
    """The projection of a quantised module, whose parts are taken out of `arrays`."""
    weight, scales = arrays.pop(f"{module}.weight"), arrays.pop(f"{module}.scales")
    name = tensor_scale_of(arrays, module)
    factor = None
    if name is not None:
        factor = mx.full(weight.shape[0], factor_of(name, cast(float, arrays.pop(name).item())), mx.float32)
    return QuantizedLinear(weight, scales, arrays.pop(f"{module}.biases", None), spec, factor)


def joined(parts: Sequence[Projection]) -> Projection | None:
    """One projection whose outputs are those of `parts` one after the other; None where their formats differ.

    Each output row is computed from its own row of the weight alone, so the values stay what they were.
    """
    if all(isinstance(part, Linear) for part in parts):
        return Linear(mx.concatenate([part.weight for part in parts]))
    quantized = [part for part in parts if isinstance(part, QuantizedLinear)]
    if len(quantized) < len(parts) or len({part.spec for part in quantized}) > 1:
        return None
    biases = [part.biases for part in quantized if part.biases is not None]
    return QuantizedLinear(
        mx.concatenate([part.weight for part in quantized]),
        mx.concatenate([part.scales for part in quantized]),
        mx.concatenate(biases) if biases else None,
        quantized[0].spec,
        _joined_factor(quantized),
    )


def _joined_factor(parts: Sequence[QuantizedLinear]) -> mx.array | None:
    if all(part.factor is None for part in parts):
        return None
    return mx.concatenate([mx.ones(part.rows) if part.factor is None else part.factor for part in parts])


class Group:
    """Several projections of one input, in as few matrix multiplications as their formats allow.

    x [1, T, in] gives a list, [1, T, out of the part] for each of `parts`.
    """

    def __init__(self, parts: Sequence[Projection], combined: Projection | None = None) -> None:
        self.ends = list(accumulate(part.rows for part in parts))
        self.parts = [] if combined else list(parts)
        self.combined = combined

    def __call__(self, x: mx.array) -> Sequence[mx.array]:
        return self.products(x).views

    def products(self, x: mx.array) -> Products:
        """The same, joined as the projections are."""
        return Products([part(x) for part in self.parts] if self.combined is None else [self.combined(x)], self.ends)


class TensorSource:
    """Hands out the tensors of a checkpoint by canonical name, each once, so that nothing is held twice.

    `join` says whether neighbours may be concatenated, which copies them: not where they are mapped. `kernels`: the
    names of the kernels of our own that layers may use.
    """

    def __init__(
        self,
        arrays: dict[str, mx.array],
        specs: Mapping[str, QuantSpec],
        join: Callable[[str], bool],
        kernels: frozenset[str] = frozenset(),
    ) -> None:
        self.arrays = arrays
        self.specs = specs
        self.join = join
        self.kernels = kernels

    def take(self, name: str) -> mx.array:
        return self.arrays.pop(name)

    def projection(self, module: str) -> Projection:
        spec = self.specs.get(module)
        if spec is None:
            return Linear(self.take(f"{module}.weight"))
        return packed_projection(self.arrays, module, spec)

    def group(self, prefix: str, *names: str) -> Group:
        """The projections `prefix` + each name, joined where possible.

        The parts are released before it returns, so that at most one group is ever in memory twice.
        """
        modules = [prefix + name for name in names]
        parts = [self.projection(module) for module in modules]
        combined = joined(parts) if all(map(self.join, modules)) else None
        if combined is not None:
            mx.eval([getattr(combined, name, None) for name in ("weight", "scales", "biases", "factor")])
        return Group(parts, combined)


class Embedding:
    """Token ids [1, T] to vectors [1, T, hidden]; `head` [vocab, hidden] gives logits where the model ties it."""

    def __init__(self, source: TensorSource, dtype: mx.Dtype) -> None:
        self.head = source.projection("embed_tokens")
        self.dtype = dtype

    def __call__(self, ids: mx.array) -> mx.array:
        if isinstance(self.head, Linear):
            return self.head.weight[ids]
        return self.head.part(ids).dequantized(self.dtype)


class Norm:
    """RMSNorm over the last axis of x [..., D] with weight [D], float32 inside (step 1)."""

    def __init__(self, weight: mx.array, epsilon: float, kernels: frozenset[str] = frozenset()) -> None:
        self.weight = weight
        self.epsilon = epsilon
        self._of_sum = AddNorm(weight, epsilon, AddNorm.name in kernels)

    def __call__(self, x: mx.array) -> mx.array:
        return rms_norm(x, self.weight, self.epsilon)

    def of_sum(self, stream: mx.array, added: mx.array | None) -> tuple[mx.array, mx.array]:
        """stream + added, all [1, T, D], and the norm of that; `added` None: nothing."""
        return (stream, self(stream)) if added is None else self._of_sum(stream, added)


@elementwise
def swiglu(gate: mx.array, up: mx.array) -> mx.array:
    return gate * mx.sigmoid(gate) * up


@elementwise
def times_sigmoid(x: mx.array, gate: mx.array) -> mx.array:
    return x * mx.sigmoid(gate)


class FeedForward:
    """down(silu(gate(x)) * up(x)) (step 9): x [1, T, hidden] gives the same shape."""

    def __init__(self, source: TensorSource, prefix: str) -> None:
        self.gate_up = source.group(prefix, "gate_proj", "up_proj")
        self.down = source.projection(prefix + "down_proj")

    def __call__(self, x: mx.array) -> mx.array:
        gate, up = self.gate_up(x)
        return self.down(swiglu(gate, up))


class GatedDeltaNet:
    """The mixer of a linear layer (steps 2 to 6): x [1, T, hidden] gives [1, T, hidden], [1, 1, hidden] if `last`.

    Inside, with Hk key heads of Dk and Hv value heads of Dv: queries and keys [1, T, Hk, Dk], values and z
    [1, T, Hv, Dv], a and b [1, T, Hv]. Replaces the layer's convolution inputs and its S [1, Hv, Dv, Dk] in the state.
    """

    def __init__(self, source: TensorSource, prefix: str, index: int, config: ModelConfig) -> None:
        self.index = index
        self.qkv_z = source.group(prefix, "in_proj_qkv", "in_proj_z")
        self.a_b = source.group(prefix, "in_proj_a", "in_proj_b")
        self.out = source.projection(prefix + "out_proj")
        taps = source.take(prefix + "conv1d.weight").astype(mx.float32)  # [C, K, 1]
        negative_rate = -mx.exp(source.take(prefix + "A_log").astype(mx.float32))
        dt_bias = source.take(prefix + "dt_bias").astype(mx.float32)
        self.front = LinearFront(
            config.linear_num_key_heads,
            config.linear_key_head_dim,
            config.linear_num_value_heads,
            config.linear_value_head_dim,
            mx.contiguous(taps[:, :, 0].T),
            dt_bias,
            negative_rate,
            LinearFront.name in source.kernels,
        )
        self.rule = DeltaRule(DeltaRule.name in source.kernels)
        norm_weight = source.take(prefix + "norm.weight").astype(mx.float32)
        self.norm = GatedNorm(norm_weight, config.rms_norm_eps, GatedNorm.name in source.kernels)

    def __call__(self, x: mx.array, state: State, last: bool) -> mx.array:
        held = state.linear[self.index]
        mixed, after, qkv_z, taken = self.step(x, held, last)
        self.keep(state, held, after, qkv_z, taken)
        return mixed

    def step(
        self, x: mx.array, held: LinearLayerState, last: bool
    ) -> tuple[mx.array, LinearLayerState, Products, Taken]:
        """The output, the state behind the T tokens, and what `keep` remembers of them beside it."""
        qkv_z = self.qkv_z.products(x)
        taken, convolution = self.front(qkv_z, self.a_b.products(x), held.convolution)
        outputs, recurrent = self.rule(*taken, held.recurrent)
        z = qkv_z.last() if last else qkv_z
        mixed = self.out(self.norm(outputs[:, -1:] if last else outputs, z))
        return mixed, LinearLayerState(convolution, recurrent), qkv_z, taken

    def keep(
        self, state: State, held: LinearLayerState, after: LinearLayerState, qkv_z: Products, taken: Taken
    ) -> None:
        """Put a step from `held` to `after` into the state."""
        state.take_step(self.index, LinearStep(qkv_z, taken, held, self.rule))
        state.linear[self.index] = after


class Attention:
    """The mixer of a full layer (steps 7 and 8): x [1, T, hidden] gives [1, T, hidden], [1, 1, hidden] if `last`.

    Inside, heads come before tokens: queries [1, heads, T, D], keys and values [1, key-value heads, T, D], which are
    appended to those of the state. The gate is [1, T, heads, D].
    """

    def __init__(self, source: TensorSource, prefix: str, index: int, config: ModelConfig) -> None:
        self.index = index
        self.heads, self.key_value_heads = config.num_attention_heads, config.num_key_value_heads
        self.head_size = config.head_dim
        self.qkv = source.group(prefix, "q_proj", "k_proj", "v_proj")
        self.out = source.projection(prefix + "o_proj")
        query_weight, key_weight = (
            stretched_norm(source.take(f"{prefix}{which}_norm.weight"), config) for which in "qk"
        )
        self.front = AttentionFront(
            self.heads,
            self.key_value_heads,
            config.rotary_dim,
            query_weight,
            key_weight,
            config.rms_norm_eps,
            config.rope_theta,
            stretched_wavelengths(config),
            frequencies(config),
            AttentionFront.name in source.kernels,
        )

    def __call__(self, x: mx.array, state: State | MtpState, last: bool) -> mx.array:
        qkv = self.qkv.products(x)
        queries, keys = self.front(qkv, state.length, last)
        rows, _, values = qkv.views
        values = values.reshape(1, qkv.tokens, self.key_value_heads, self.head_size).transpose(0, 2, 1, 3)
        all_keys, all_values = state.append(self.index, keys, values)
        length, scale = queries.shape[2], self.head_size**-0.5
        if pays(x, self.heads * self.head_size * all_keys.shape[2]) and not last:
            mixed = causal_attention(queries, all_keys, all_values, scale)
        else:
            mask = "causal" if length > 1 else None
            mixed = mx.fast.scaled_dot_product_attention(queries, all_keys, all_values, scale=scale, mask=mask)
        rows = rows if length == qkv.tokens else rows[:, -length:]
        gate = rows.reshape(1, length, self.heads, 2 * self.head_size)[..., self.head_size :]
        return self.out(times_sigmoid(mixed.transpose(0, 2, 1, 3), gate).reshape(1, length, -1))
