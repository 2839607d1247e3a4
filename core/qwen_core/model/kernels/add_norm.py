"""An addition to the residual stream and the norm behind it (FORMAT.md, steps 1 and 9): two launches, one here."""

from dataclasses import dataclass
from functools import cache

from qwen_core.device.backend import mx
from qwen_core.model.kernels.launch import EPSILON, FLOATS, MOST_THREADS, MOST_TOKENS, SIMD_WIDTH, Kernel, Plan
from qwen_core.model.norms import rms_norm

# A threadgroup takes a token, a thread every (32 SIMDGROUPS)-th element. The normed value is rounded before it is
# multiplied by the weight, as MLX's own norm does.
KERNEL = Kernel(
    "add_norm",
    ("stream", "added", "weight"),
    ("total", "normed"),
    f"""
    const int lane = thread_index_in_simdgroup, group = simdgroup_index_in_threadgroup;
    const int begin = int(thread_position_in_grid.y) * WIDTH, threads = 32 * SIMDGROUPS;
    const int first = group * 32 + lane, each = (WIDTH + threads - 1) / threads;
    threadgroup float parts[32];
    float x[each];
    float squares = 0.0f;
    for (int i = 0; i < each; i++) {{
        const int c = first + i * threads;
        if (c < WIDTH) {{
            const In sum = In(float(stream[begin + c]) + float(added[begin + c]));
            total[begin + c] = sum;
            x[i] = float(sum);
            squares += x[i] * x[i];
        }}
    }}
    squares = simd_sum(squares);
    if (lane == 0) parts[group] = squares;
    threadgroup_barrier(mem_flags::mem_threadgroup);
    squares = simd_sum(lane < SIMDGROUPS ? parts[lane] : 0.0f);
    const float root = metal::precise::rsqrt(squares / WIDTH + {EPSILON}f);
    for (int i = 0; i < each; i++) {{
        const int c = first + i * threads;
        if (c < WIDTH) normed[begin + c] = In(float(weight[c]) * float(In(x[i] * root)));
    }}
""",
)
_ELEMENTS = 4
"""At least, of a thread."""
MOST_WIDTH = 1 << 14


@dataclass(eq=False)
class AddNorm:
    """`weight` [H] in the compute type."""

    weight: mx.array
    epsilon: float
    on: bool = False
    name = KERNEL.name

    def __call__(self, stream: mx.array, added: mx.array) -> tuple[mx.array, mx.array]:
        """stream + added and its RMSNorm: all [1, T, H]."""
        if self.on and self.fits(stream):
            return self.fused(stream, added)
        return self.portable(stream, added)

    def fits(self, stream: mx.array) -> bool:
        """Whether the kernel takes it."""
        _, tokens, width = stream.shape
        typed = stream.dtype in FLOATS and self.epsilon == EPSILON
        return typed and tokens <= MOST_TOKENS and SIMD_WIDTH <= width <= MOST_WIDTH

    def portable(self, stream: mx.array, added: mx.array) -> tuple[mx.array, mx.array]:
        """The same by MLX's operations."""
        total = stream + added
        return total, rms_norm(total, self.weight, self.epsilon)

    def fused(self, stream: mx.array, added: mx.array) -> tuple[mx.array, mx.array]:
        """The same by the kernel."""
        total, normed = _plan(stream.shape[1], stream.shape[2], stream.dtype).run(stream, added, self.weight)
        return total, normed


@cache
def _plan(tokens: int, width: int, dtype: mx.Dtype) -> Plan:
    groups = min(MOST_THREADS // SIMD_WIDTH, -(-width // (SIMD_WIDTH * _ELEMENTS)))
    return Plan(
        KERNEL,
        {"In": dtype, "WIDTH": width, "SIMDGROUPS": groups},
        [((1, tokens, width), dtype)] * 2,
        (SIMD_WIDTH * groups, tokens, 1),
        (SIMD_WIDTH * groups, 1, 1),
    )
