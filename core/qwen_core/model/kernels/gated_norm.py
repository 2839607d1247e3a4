"""The norm behind the delta rule and its gate (FORMAT.md, step 6): three launches as MLX's operations, one here."""

from dataclasses import dataclass
from functools import cache

from qwen_core.device.backend import mx
from qwen_core.model.gated_delta import gated_norm
from qwen_core.model.kernels.launch import (
    EPSILON,
    FLOATS,
    HEAD_SIZES,
    MOST_HEADS,
    MOST_TOKENS,
    SIMD_WIDTH,
    Kernel,
    Plan,
)
from qwen_core.model.products import Products

# A simdgroup takes a head of a token, each lane as many neighbouring channels.
KERNEL = Kernel(
    "gated_norm",
    ("outputs", "z", "weight"),
    ("normed",),
    f"""
    const int lane = thread_index_in_simdgroup, head = thread_position_in_grid.y, t = thread_position_in_grid.z;
    const int each = SIZE / 32, from = (t * HEADS + head) * SIZE + lane * each;
    const int gates = t * z_shape[2] + Z_BEGIN + head * SIZE + lane * each;
    float x[each];
    float squares = 0.0f;
    for (int i = 0; i < each; i++) {{
        x[i] = outputs[from + i];
        squares += x[i] * x[i];
    }}
    const float root = metal::precise::rsqrt(simd_sum(squares) / SIZE + {EPSILON}f);
    for (int i = 0; i < each; i++) {{
        const float gate = float(z[gates + i]);
        normed[from + i] = In(x[i] * root * weight[lane * each + i] * (gate * qwen_sigmoid(gate)));
    }}
""",
)


@dataclass(eq=False)
class GatedNorm:
    """`weight` [D] float32, of Hv heads."""

    weight: mx.array
    epsilon: float
    on: bool = False
    name = KERNEL.name

    def __call__(self, outputs: mx.array, qkv_z: Products) -> mx.array:
        """rmsnorm(o) * weight * silu(z) of `outputs` [1, T, Hv, D] and the second part of `qkv_z`: [1, T, Hv D] in the
        type of z."""
        if self.on and self.fits(outputs, qkv_z):
            return self.fused(outputs, qkv_z)
        return self.portable(outputs, qkv_z)

    def fits(self, outputs: mx.array, qkv_z: Products) -> bool:
        """Whether the kernel takes them."""
        _, tokens, heads, size = outputs.shape
        sized = heads <= MOST_HEADS and size in HEAD_SIZES and self.epsilon == EPSILON
        return sized and tokens <= MOST_TOKENS and qkv_z.arrays[0].dtype in FLOATS

    def portable(self, outputs: mx.array, qkv_z: Products) -> mx.array:
        """The same by MLX's operations."""
        z = qkv_z.views[1]
        return gated_norm(outputs, z.reshape(outputs.shape), self.weight, self.epsilon).reshape(z.shape)

    def fused(self, outputs: mx.array, qkv_z: Products) -> mx.array:
        """The same by the kernel."""
        z, begin = qkv_z.place(1)
        return _plan(*outputs.shape[1:], begin, z.dtype).run(outputs, z, self.weight)[0]


@cache
def _plan(tokens: int, heads: int, size: int, begin: int, dtype: mx.Dtype) -> Plan:
    return Plan(
        KERNEL,
        {"In": dtype, "HEADS": heads, "SIZE": size, "Z_BEGIN": begin},
        [((1, tokens, heads * size), dtype)],
        (SIMD_WIDTH, heads, tokens),
        (SIMD_WIDTH, 1, 1),
    )
