"""Runs launches of our own Metal kernels on a CPU: their bodies compiled by g++ with metal_on_cpu.h, logic only.

Sizes are arguments there and not constants, so that one compiled function serves every shape of a type.
"""

import ctypes
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np

from qwen_core.model.kernels.launch import HEADER, MOST_THREADS, SIMD_WIDTH, Plan

SHIM = Path(__file__).with_name("metal_on_cpu.h")
TYPES = {mx.bfloat16: "bfloat16_t", mx.float32: "float", mx.int32: "int"}
Pointers = ctypes.c_void_p * 16


@dataclass(frozen=True, eq=False)
class Launch:
    """What was asked of MLX."""

    plan: Plan
    inputs: Sequence[mx.array]


def without_compiler() -> str:
    """Why nothing can be compiled here; "" where it can."""
    if sys.platform != "linux":
        return "kernels run on a CPU where fibres are: on Linux. A Mac proves them when a model is loaded"
    return "" if shutil.which("g++") else "there is no g++ to compile the kernels with"


class MetalOnCpu:
    """The functions of some launches, compiled together; others are compiled when they are first run."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._functions: dict[str, Any] = {}
        self.copied: list[str] = []
        """Inputs that were no plain rows in memory: Metal would have copied them, a launch that nobody counts."""

    def compile(self, launches: Iterable[Launch]) -> None:
        sources = {_name(launch): _source(launch) for launch in launches}
        missing = {name: text for name, text in sources.items() if name not in self._functions}
        if missing:
            library = _built(self._folder, missing.values())
            self._functions |= {name: library[name] for name in missing}
            for name in missing:
                self._functions[name].restype = ctypes.c_char_p

    def run(self, launch: Launch) -> list[mx.array]:
        """What the launch gives. AssertionError for an access beside an array, an element written twice or never."""
        self.compile([launch])
        _check_sizes(launch)
        inputs = [
            self._numpy(name, array) for name, array in zip(launch.plan.kernel.inputs, launch.inputs, strict=True)
        ]
        outputs = [np.empty(shape, _stored(dtype)) for shape, dtype in launch.plan.outputs]
        shapes = [np.array(array.shape, np.int32) for array in inputs]
        sizes = np.array([array.size for array in [*inputs, *outputs]], np.int64)
        constants = np.array([value for value in launch.plan.constants.values() if isinstance(value, int)], np.int32)
        grid, group = (np.array(threads, np.uint32) for threads in (launch.plan.grid, launch.plan.threadgroup))
        fault = self._functions[_name(launch)](
            _pointers(inputs), _pointers(outputs), _pointers(shapes), *map(_pointer, (sizes, constants, grid, group))
        )
        assert not fault, f"{launch.plan.kernel.name}: {fault.decode()}"
        return [_array(array, dtype) for array, (_, dtype) in zip(outputs, launch.plan.outputs, strict=True)]

    def _numpy(self, name: str, array: mx.array) -> np.ndarray:
        array = array.view(mx.uint16) if array.dtype == mx.bfloat16 else array
        mx.eval(array)
        view = np.asarray(array)
        if not view.flags.c_contiguous:
            self.copied.append(name)
        return np.ascontiguousarray(view)


def _check_sizes(launch: Launch) -> None:
    """What Metal asks of a launch, and MLX of `dispatch_threads`: whole groups of whole simdgroups."""
    x, y, z = launch.plan.threadgroup
    assert x * y * z <= MOST_THREADS
    assert x % SIMD_WIDTH == 0
    assert all(
        whole % part == 0 and whole for whole, part in zip(launch.plan.grid, launch.plan.threadgroup, strict=True)
    )
    assert len({*launch.plan.kernel.inputs, *launch.plan.kernel.outputs}) == len(launch.inputs) + len(
        launch.plan.outputs
    )


def _name(launch: Launch) -> str:
    dtypes = [array.dtype for array in launch.inputs]
    return "_".join([launch.plan.kernel.name, *(TYPES[dtype][0] for dtype in dtypes)])


def _source(launch: Launch) -> str:
    """A function of the body: the signature that MLX would write, with checked arrays for pointers."""
    plan, kernel, lines = launch.plan, launch.plan.kernel, []
    for place, (name, array) in enumerate(zip(kernel.inputs, launch.inputs, strict=True)):
        kind = TYPES[array.dtype]
        lines.append(f'shim::Input<{kind}> {name}{{(const {kind}*)inputs_[{place}], sizes_[{place}], "{name}"}};')
        if f"{name}_shape" in kernel.body:
            lines.append(f"const int* {name}_shape = (const int*)shapes_[{place}];")
    for place, (name, (_, dtype)) in enumerate(zip(kernel.outputs, launch.plan.outputs, strict=True)):
        size = f"sizes_[{place + len(kernel.inputs)}]"
        lines.append(f'shim::Output<{TYPES[dtype]}> {name}(outputs_[{place}], {size}, "{name}");')
    numbers = [name for name, value in plan.constants.items() if isinstance(value, int)]
    lines += [f"const int {name} = constants_[{place}];" for place, name in enumerate(numbers)]
    lines += [f"using {name} = {TYPES[value]};" for name, value in plan.constants.items() if not isinstance(value, int)]
    return (
        f'extern "C" const char* {_name(launch)}(void** inputs_, void** outputs_, void** shapes_, const long* sizes_, '
        "const int* constants_, const uint* grid_, const uint* group_) {\n"
        f"shim::fault[0] = 0;\n{{\n{chr(10).join(lines)}\nshim::dispatch(grid_, group_, [&] {{{kernel.body}}});\n}}\n"
        "return shim::fault;\n}\n"
    )


def _built(folder: Path, sources: Iterable[str]) -> ctypes.CDLL:
    """The library of `sources`, compiled where the same ones were not before."""
    text = "\n".join([SHIM.read_text(), HEADER, *sources])
    library = folder / f"kernels-{hashlib.sha256(text.encode()).hexdigest()[:16]}.so"
    if not library.exists():
        made = library.with_suffix(f".{os.getpid()}")
        # No contraction: a GPU may fuse a product and a sum or not, and the twin's operations on a CPU do not.
        command = ["g++", "-std=c++17", "-O1", "-ffp-contract=off", "-w", "-shared", "-fPIC", "-x", "c++", "-"]
        subprocess.run([*command, "-o", str(made)], input=text, text=True, check=True)
        made.replace(library)
    return ctypes.CDLL(str(library))


def _stored(dtype: mx.Dtype) -> type[np.uint16] | type[np.float32]:
    return np.uint16 if dtype == mx.bfloat16 else np.float32


def _array(array: np.ndarray, dtype: mx.Dtype) -> mx.array:
    return mx.array(array).view(dtype)


def _pointer(array: np.ndarray) -> ctypes.c_void_p:
    return array.ctypes.data_as(ctypes.c_void_p)


def _pointers(arrays: Sequence[np.ndarray]) -> Any:
    return Pointers(*(array.ctypes.data for array in arrays))
