"""Our own kernels on a CPU."""

import os

import mlx.core as mx
import pytest

from qwen_core.bench.synthetic_shapes import shape_config
from qwen_core.model.kernels.launch import Plan
from qwen_core.model.kernels.proof import cases
from support.metal_on_cpu import Launch, MetalOnCpu, without_compiler

DTYPES = (mx.bfloat16, mx.float32)


def all_launches() -> list[Launch]:
    """One of every kernel in every type."""
    launches: list[Launch] = []

    def run(plan: Plan, *inputs: mx.array) -> list[mx.array]:
        launches.append(Launch(plan, inputs))
        return [mx.zeros(shape, dtype) for shape, dtype in plan.outputs]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Plan, "run", run)
        for dtype in DTYPES:
            for case in cases(shape_config("27b"), dtype, (1,)):
                case.fused()
    return launches


@pytest.fixture(scope="session")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> MetalOnCpu:
    """One for all tests, which are skipped where there is no compiler. Workers of one run share what it compiles."""
    if reason := without_compiler():
        pytest.skip(reason)
    base = tmp_path_factory.getbasetemp()
    found = MetalOnCpu(base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base)
    found.compile(all_launches())
    return found


@pytest.fixture
def metal_on_cpu(compiled: MetalOnCpu, monkeypatch: pytest.MonkeyPatch) -> MetalOnCpu:
    """Every launch goes there instead of to Metal."""
    monkeypatch.setattr(Plan, "run", lambda plan, *inputs: compiled.run(Launch(plan, inputs)))
    compiled.copied.clear()
    return compiled
