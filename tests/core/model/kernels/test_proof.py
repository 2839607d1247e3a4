"""Kernels prove themselves: one that is right is used, any other is not and says why, and loading never fails of it."""

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from qwen_core import demo_model_path
from qwen_core.bench.synthetic_shapes import shape_config
from qwen_core.model.kernels import proof
from qwen_core.model.kernels.launch import Plan
from qwen_core.model.kernels.proof import NAMES, NONE, Case, Kernels, agree, cases, prove, proven
from qwen_core.model.model import load_model
from support.metal_on_cpu import MetalOnCpu

RIGHT = mx.array([[1.0, -2.0, 3.0]])
SHAPE = replace(shape_config("tiny"), head_dim=256, rotary_dim=64)


def case(name: str, fused: Callable[[], Any]) -> Case:
    return Case(name, fused, lambda: [RIGHT, RIGHT])


def fails() -> list[mx.array]:
    raise RuntimeError("[metal::Device] Unable to build metal library from source\nprogram_source:12:5: error")


@pytest.mark.parametrize(
    ("fused", "says"),
    [
        (fails, "RuntimeError: .*Unable to build metal library"),
        (lambda: [RIGHT, 2 * RIGHT], "something else than MLX's operations"),
        (lambda: [RIGHT, RIGHT * float("nan")], "something else"),
        (lambda: [RIGHT, RIGHT.astype(mx.bfloat16)], "something else"),
        (lambda: [RIGHT, RIGHT[0]], "something else"),
        (lambda: [RIGHT], "something else"),
        (lambda: 1 / 0, "ZeroDivisionError"),
    ],
)
def test_a_kernel_that_is_not_right_is_not_used_and_named(fused: Callable[[], Any], says: str) -> None:
    found = prove([case("good", lambda: [RIGHT, RIGHT]), case("bad", fused), case("good", lambda: [RIGHT, RIGHT])])
    assert found.names == {"good"}
    (fault,) = found.faults
    assert fault.startswith("the kernel bad is not used: ")
    assert "\n" not in fault
    assert re.search(says, fault)


def test_one_wrong_case_of_many_is_enough_and_is_told_once() -> None:
    wrong = case("kernel", lambda: [RIGHT, 2 * RIGHT])
    found = prove([case("kernel", lambda: [RIGHT, RIGHT]), wrong, wrong])
    assert (found.names, len(found.faults)) == (frozenset(), 1)


@pytest.mark.parametrize("dtype", [mx.bfloat16, mx.float16, mx.float32])
def test_a_rounding_is_no_fault_and_a_wrong_channel_is_one(dtype: mx.Dtype) -> None:
    values = mx.random.normal((1, 8, 256), key=mx.random.key(3))
    rounded = (values * (1 + 2**-8 if dtype == mx.bfloat16 else 1 + 2**-12)).astype(dtype)
    assert agree(rounded, values.astype(dtype))
    assert not agree(rounded[..., ::-1], values.astype(dtype))


def test_all_kernels_prove_right(metal_on_cpu: MetalOnCpu) -> None:
    assert prove(cases(SHAPE, mx.bfloat16)) == Kernels(frozenset(NAMES))


@pytest.mark.parametrize("name", NAMES)
def test_a_kernel_whose_body_is_wrong_is_found_out(
    metal_on_cpu: MetalOnCpu, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = Plan.run

    def broken(plan: Plan, *inputs: mx.array) -> list[mx.array]:
        first, *others = right(plan, *inputs)
        return [first[..., ::-1] if plan.kernel.name == name else first, *others]

    monkeypatch.setattr(Plan, "run", broken)
    found = prove(cases(SHAPE, mx.bfloat16))
    assert found.names == set(NAMES) - {name}
    assert found.faults == (f"the kernel {name} is not used: it computes something else than MLX's operations",)


def test_without_metal_there_is_nothing_to_prove() -> None:
    assert proven(SHAPE, mx.bfloat16) == NONE


@pytest.mark.skipif(mx.metal.is_available(), reason="Metal is here")
def test_a_model_loads_where_every_kernel_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """MLX without Metal refuses each of them, as a Metal compiler would that knows nothing of them."""
    monkeypatch.setattr(proof, "is_metal", lambda: True)
    model = load_model(demo_model_path(), "float32")
    assert model.kernels.names == frozenset()
    assert all("No Metal back-end" in fault for fault in model.kernels.faults)
    assert model.kernels.faults
    logits = model.last_logits(mx.array([[1, 2]]), model.new_state())
    assert np.isfinite(np.array(logits)).all()


def test_kernels_that_are_not_wanted_are_not_even_proven(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proof, "is_metal", lambda: True)
    assert load_model(demo_model_path(), "float32", kernels=False).kernels == NONE


def test_a_proof_leaves_the_random_numbers_of_the_program_alone(metal_on_cpu: MetalOnCpu) -> None:
    mx.random.seed(7)
    expected = mx.random.normal((4,)).tolist()
    mx.random.seed(7)
    prove(cases(SHAPE, mx.bfloat16, (1,)))
    assert mx.random.normal((4,)).tolist() == expected
