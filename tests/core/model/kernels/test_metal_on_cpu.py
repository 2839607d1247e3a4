"""The library that kernels are run with here tells what a GPU would not: access beside an array, elements that two
threads write or none, threads that wait apart.
"""

import mlx.core as mx
import numpy as np
import pytest

from qwen_core.model.kernels.launch import Kernel, Plan
from support.metal_on_cpu import Launch, MetalOnCpu

SUMS = """
    const int lane = thread_index_in_simdgroup, group = simdgroup_index_in_threadgroup;
    threadgroup float parts[32];
    const float sum = simd_sum(x[thread_position_in_grid.x]);
    if (lane == 0) parts[group] = sum;
    threadgroup_barrier(mem_flags::mem_threadgroup);
    y[thread_position_in_grid.x] = simd_sum(lane < 2 ? parts[lane] : 0.0f);
"""
ROUNDS = "y[thread_position_in_grid.x] = T(float(x[thread_position_in_grid.x]) * 1.0f);"


WRONG = {
    "reads": ("y[thread_position_in_grid.x] = x[thread_position_in_grid.x + 1];", r"read beside x\[64\]"),
    "writes": ("y[thread_position_in_grid.x + 1] = 0;", r"written beside y\[64\]"),
    "twice": ("y[thread_position_in_grid.x / 2] = 0;", r"written twice y\[0\]"),
    "never": ("if (thread_position_in_grid.x) y[thread_position_in_grid.x] = 0;", r"never written y\[0\]"),
    "apart": ("y[thread_position_in_grid.x] = thread_index_in_simdgroup ? simd_sum(1) : 0;", "some lanes alone"),
}
BODIES = {"sums": SUMS, "rounds": ROUNDS, **{name: body for name, (body, _) in WRONG.items()}}


def launch(name: str, x: mx.array, out: mx.Dtype = mx.float32) -> Launch:
    kernel = Kernel(name, ("x",), ("y",), BODIES[name])
    return Launch(Plan(kernel, {"T": out}, [(x.shape, out)], (x.size, 1, 1), (64, 1, 1)), [x])


@pytest.fixture(scope="module")
def metal(compiled: MetalOnCpu) -> MetalOnCpu:
    x = mx.zeros((64,))
    compiled.compile(launch(name, x, mx.bfloat16 if name == "rounds" else mx.float32) for name in BODIES)
    return compiled


def test_simdgroups_add_up_and_meet(metal: MetalOnCpu) -> None:
    (sums,) = metal.run(launch("sums", mx.arange(128).astype(mx.float32)))
    np.testing.assert_array_equal(np.array(sums), np.repeat([sum(range(64)), sum(range(64, 128))], 64))


def test_bfloat16_is_rounded_as_mlx_rounds_it(metal: MetalOnCpu) -> None:
    halfway = mx.array([1.00390625, 1.01171875, -0.0, 3.4e38])
    x = mx.concatenate([mx.random.normal((8192 - halfway.size,), key=mx.random.key(1)), halfway])
    (rounded,) = metal.run(launch("rounds", x, mx.bfloat16))
    assert mx.array_equal(rounded, x.astype(mx.bfloat16)).item()


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_with_a_body_is_told(metal: MetalOnCpu, name: str) -> None:
    with pytest.raises(AssertionError, match=f"{name}: {WRONG[name][1]}"):
        metal.run(launch(name, mx.zeros((64,))))
    (sums,) = metal.run(launch("sums", mx.ones((64,))))
    assert sums[0].item() == 64, "what runs next is touched by it"
