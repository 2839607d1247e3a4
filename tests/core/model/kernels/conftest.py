"""Our own kernels on a CPU."""

import os
from collections.abc import Callable, Sequence
from typing import Any

import mlx.core as mx
import pytest

from qwen_core.model.kernels import launch
from qwen_core.model.kernels.launch import Kernel, Launch
from support.metal_on_cpu import MetalOnCpu, without_compiler


@pytest.fixture(scope="session")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> MetalOnCpu:
    """One for all tests, which are skipped where there is no compiler. Workers of one run share what it compiles."""
    if reason := without_compiler():
        pytest.skip(reason)
    base = tmp_path_factory.getbasetemp()
    return MetalOnCpu(base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base)


@pytest.fixture
def metal_on_cpu(compiled: MetalOnCpu, monkeypatch: pytest.MonkeyPatch) -> MetalOnCpu:
    """Every launch goes there instead of to Metal."""

    def function(kernel: Kernel) -> Callable[..., list[mx.array]]:
        def run(*, output_shapes: Sequence[Any], output_dtypes: Sequence[mx.Dtype], **fields: Any) -> list[mx.array]:
            outputs = list(zip(output_shapes, output_dtypes, strict=True))
            return compiled.run(Launch(kernel, outputs=outputs, **fields))

        return run

    monkeypatch.setattr(launch, "function_of", function)
    compiled.copied.clear()
    return compiled
