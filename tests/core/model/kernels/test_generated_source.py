"""What MLX makes of a kernel for Metal's compiler, read by g++ as far as that goes: sizes are constants there, inputs
and outputs are pointers, and everything that a body names exists in Metal's library or in ours.

MLX generates it without Metal while a function is exported.
"""

import re
import subprocess
from pathlib import Path

import mlx.core as mx
import pytest

from qwen_core.bench.synthetic_shapes import shape_config
from qwen_core.model.kernels.launch import Plan
from qwen_core.model.kernels.proof import NAMES, cases
from support.metal_on_cpu import SHIM, without_compiler

pytestmark = pytest.mark.skipif(bool(without_compiler()), reason=without_compiler())

# Those of MLX's generated signature are parameters.
OWN_NAMES = ("thread_position_in_grid", "thread_index_in_simdgroup", "simdgroup_index_in_threadgroup")
SPACES = "#define device\n#define constant\n" + "".join(f"#undef {name}\n" for name in OWN_NAMES)


class Done(Exception):
    """Everything has been printed; nothing is exported."""


def generated(
    path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, dtype: mx.Dtype
) -> list[str]:
    """The source of every kernel, as MLX prints it where it is asked to."""

    def run(plan: Plan, *inputs: mx.array) -> list[mx.array]:
        return plan.function(inputs=inputs, verbose=True)

    def export(x: mx.array) -> mx.array:
        for case in cases(shape_config("27b"), dtype, (1,)):
            case.fused()
        raise Done

    monkeypatch.setattr(Plan, "run", run)
    capfd.readouterr()
    with pytest.raises(Done):
        mx.export_function(str(path / "kernels.mlxfn"), export, mx.zeros((1,)))
    return re.findall(r"```\n(.*?)\n```", capfd.readouterr().out, re.DOTALL)


@pytest.mark.skipif(mx.metal.is_available(), reason="a Mac compiles the kernels themselves when a model is loaded")
@pytest.mark.parametrize("dtype", [mx.bfloat16, mx.float32])
def test_what_mlx_generates_is_cpp_with_constant_sizes(
    dtype: mx.Dtype, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    sources = generated(tmp_path, capfd, monkeypatch, dtype)
    assert {
        match[1]
        for source in sources
        if (match := re.search("custom_kernel_qwen_tui_([a-z_]+?)_(?:bfloat|float|[0-9])", source))
    } == set(NAMES)
    # Each has the same helpers before it.
    bodies = [f"namespace kernel_{n} {{\n{source}\n}}" for n, source in enumerate(sources)]
    text = SHIM.read_text() + SPACES + re.sub(r"\[\[[^\]]*\]\]", "", "\n".join(bodies))
    command = ["g++", "-std=c++14", "-fsyntax-only", "-Wall", "-Werror", "-Wvla", "-Wno-unused-function", "-x", "c++"]
    done = subprocess.run([*command, "-"], input=text, text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
