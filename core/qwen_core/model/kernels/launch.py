"""What a kernel of our own is, and how it is launched: `mx.fast.metal_kernel` makes the function around its body.

A body is Metal's C++, with the names of `inputs` and `outputs` as pointers and of a plan's `constants` as such; a
simdgroup is 32 threads. It may not read or write beside its arrays: nobody checks that on a GPU. MLX passes an input of
fewer than eight elements in another address space, so that bodies index inputs and never point into them. What a body
needs to compile on a CPU, for the tests, is in tests/support.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, cast

from qwen_core.device.backend import mx

SIMD_WIDTH = 32
MOST_THREADS = 1024
"""Of one threadgroup, on every Apple GPU."""
MOST_TOKENS = 8
"""Of a pass that these kernels take: one token with its drafts. MLX's delta rule goes token by token up to here."""
MOST_HEADS = 1 << 10
"""So that places in all arrays are small numbers."""
HEAD_SIZES = (32, 64, 128, 256)
EPSILON = 1e-6
"""Of the norms that these kernels compute, as in every released model."""
TYPES = {mx.bfloat16: "bfloat16_t", mx.float16: "float16_t", mx.float32: "float"}
"""What these kernels compute of, by MLX's names in Metal."""
FLOATS = tuple(TYPES)

HEADER = """
inline float qwen_sigmoid(float x) { return 1.0f / (1.0f + metal::exp(-x)); }

// log(1 + exp(x)), which Metal's library has no function for: exact where exp(-|x|) vanishes beside 1.
inline float qwen_softplus(float x) {
    float small = metal::exp(-metal::abs(x));
    float beside_one = 1.0f + small;
    float logarithm = beside_one == 1.0f ? small : metal::log(beside_one) * (small / (beside_one - 1.0f));
    return metal::max(x, 0.0f) + logarithm;
}
"""


@dataclass(frozen=True)
class Kernel:
    """A kernel by its body. Its shapes come with a `Plan`."""

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    body: str


@dataclass(frozen=True, eq=False)
class Plan:
    """How a kernel is launched, but for its inputs: constants, outputs as (shape, type), threads in all and in a group.

    Made once for a shape and kept: most of what a launch costs the host is to say this.
    """

    kernel: Kernel
    constants: Mapping[str, int | mx.Dtype]
    outputs: Sequence[tuple[Sequence[int], mx.Dtype]]
    grid: tuple[int, int, int]
    threadgroup: tuple[int, int, int]

    @cached_property
    def name(self) -> str:
        """One of its own for every source: Metal's compiled functions are found by it."""
        values = (TYPES[value] if isinstance(value, mx.Dtype) else value for value in self.constants.values())
        return "_".join(map(str, ("qwen_tui", self.kernel.name, *values)))

    @cached_property
    def source(self) -> str:
        """The body behind its constants. MLX would take them as template arguments too, and read them at every call."""
        lines = (
            f"using {name} = {TYPES[value]};" if isinstance(value, mx.Dtype) else f"constexpr int {name} = {value};"
            for name, value in self.constants.items()
        )
        return "\n".join(["", *lines]) + self.kernel.body

    @cached_property
    def function(self) -> Callable[..., list[mx.array]]:
        """What launches it, as MLX makes it."""
        kernel = self.kernel
        made = mx.fast.metal_kernel(self.name, kernel.inputs, kernel.outputs, self.source, HEADER)
        return partial(
            cast(Any, made),
            output_shapes=[shape for shape, _ in self.outputs],
            output_dtypes=[dtype for _, dtype in self.outputs],
            grid=self.grid,
            threadgroup=self.threadgroup,
        )

    def run(self, *inputs: mx.array) -> list[mx.array]:
        """The outputs, lazy as all else; Metal compiles the kernel when one of its shape is first evaluated."""
        return self.function(inputs=inputs)
