"""MLX itself, or one line that says which extra to install; and what this machine's device is and prefers.

Importing this file is the check: without a backend it raises `BackendError`, and so does everything that imports
`mx` from here. It leaves the table of chips to hardware.py.
"""

import shutil
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, ParamSpec, TypeVar

from qwen_core.errors import BackendError

try:
    import mlx.core as mx
except ImportError as error:
    # On Linux plain `mlx` installs no backend, and the import fails on its missing shared library.
    raise BackendError(
        "MLX has no backend here: install one with pip install 'qwen-tui[cpu]', "
        f"or with an NVIDIA GPU pip install 'qwen-tui[cuda]' ({error})"
    ) from error

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")

__all__ = [
    "default_dtype",
    "describe_device",
    "device_info",
    "elementwise",
    "elementwise_on_gpu",
    "is_gpu",
    "is_metal",
    "mx",
]


@cache
def is_gpu() -> bool:
    """Whether arrays are computed on a GPU (Metal or CUDA). Asked some 700 times a token; nothing here changes it."""
    return mx.default_device() == mx.Device(mx.gpu)


def is_metal() -> bool:
    """Whether that GPU is Apple's."""
    return is_gpu() and mx.metal.is_available()


def default_dtype() -> str:
    """ "bfloat16" on a GPU; "float32" on a CPU, where quantised matmuls in bf16 are 8 to 10 times slower."""
    return "bfloat16" if is_gpu() else "float32"


def device_info() -> Mapping[str, Any]:
    """MLX's own facts on the default device: name, architecture, memory and limits as far as it gives them."""
    return dict(mx.device_info())


def describe_device() -> str:
    """The device for people: "Metal Apple M3 Max", "CUDA NVIDIA H200", "CPU AMD EPYC"."""
    kind = "Metal" if is_metal() else "CUDA" if is_gpu() else "CPU"
    name = str(device_info().get("device_name", "")).strip()
    return f"{kind} {name}".strip()


@cache
def _can_compile() -> bool:
    """Whether `mx.compile` has a compiler: GPUs bring theirs, on a CPU MLX calls the system's g++."""
    return is_gpu() or shutil.which("g++") is not None


def elementwise(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """`function` of arrays alone, whose operations are all elementwise, fused into one kernel where that can be.

    Works for every shape without compiling again. Without a compiler the function itself is called.
    """
    if not _can_compile():
        return function
    return mx.compile(function, shapeless=True)


def elementwise_on_gpu(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """The same on a GPU alone: for what runs once a token, where joining saves a CPU less than compiling costs it, half
    a second when it is first used."""
    joined = mx.compile(function, shapeless=True)

    def chosen(*arguments: Arguments.args, **named: Arguments.kwargs) -> Result:
        return (joined if is_gpu() else function)(*arguments, **named)

    return chosen
