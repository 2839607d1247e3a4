"""The machine that MLX computes on here: hardware.py's questions answered by the default device.

Where no peak is published, one that was measured once and kept stands in for it (memory_peak.py).
"""

import platform
from collections.abc import Callable
from functools import cache
from pathlib import Path

from qwen_core.device import hardware
from qwen_core.device.backend import device_info, is_gpu, is_metal
from qwen_core.device.hardware import Hardware, detect, memory_bytes, read_gpu_cores, recommended_bytes

_MEMINFO = Path("/proc/meminfo")


def this_machine(
    configured_gb_s: float | None = None, gpu_cores: int | None = None, *, measured: Callable[[], float | None]
) -> Hardware:
    """What is known of the default device. The first two are what the person configured; `measured` is asked for the
    peak where neither that nor a published figure is there: `kept_peak` or `measured_peak`."""
    return detect(device_info(), gpu_cores=gpu_cores or _gpu_cores(), configured_gb_s=configured_gb_s, measure=measured)


@cache
def _gpu_cores() -> int | None:
    return read_gpu_cores() if is_metal() else None


def fused_rows(head_dim: int, dtype: str) -> int | None:
    """Rows from which this machine's attention is one kernel, whose scores are never in memory: hardware.py's."""
    return hardware.fused_rows(device_info(), platform.mac_ver()[0], head_dim, dtype) if is_metal() else None


def memory_limit() -> int:
    """Bytes that may be taken now: what is free on CUDA and on Linux, all that Metal recommends there."""
    if is_metal():
        return min(memory_bytes(), recommended_bytes(device_info()) or memory_bytes())
    if is_gpu():
        info = device_info()
        found = next((info[key] for key in ("free_memory", "total_memory", "memory_size") if key in info), None)
        return found if isinstance(found, int) and found > 0 else memory_bytes()
    return min(memory_bytes(), _available_bytes() or memory_bytes())


def _available_bytes() -> int | None:
    try:
        return int(_MEMINFO.read_text().split("MemAvailable:")[1].split()[0]) * 1024
    except (OSError, ValueError, IndexError):
        return None
