"""The machine that MLX computes on here: hardware.py's questions answered by the default device.

Where no peak is published a short copy stands in for it: in the GPU's own memory on CUDA, in main memory on a CPU. It
is a measurement, not a limit of the hardware, and whoever shows it says "measured".
"""

import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

import numpy as np

from qwen_core.device.backend import device_info, is_gpu, is_metal, mx
from qwen_core.device.hardware import Hardware, detect, memory_bytes, read_gpu_cores, recommended_bytes

GPU_PROBE_BYTES = 1 << 30
PROBE_BYTES = 128 << 20
"""Of the source; larger than the caches of most machines, and copied in some 20 ms at 10 GB/s."""
MOST_THREADS = 16
REPEATS = 3
_MEMINFO = Path("/proc/meminfo")


@cache
def this_machine(configured_gb_s: float | None = None, gpu_cores: int | None = None) -> Hardware:
    """What is known of the default device, found out once. The arguments are what the person configured."""
    return detect(
        device_info(),
        gpu_cores=gpu_cores or (read_gpu_cores() if is_metal() else None),
        configured_gb_s=configured_gb_s,
        measure=gpu_copy_gb_s if is_gpu() else copy_bandwidth_gb_s,
    )


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


def gpu_copy_gb_s(nbytes: int = GPU_PROBE_BYTES) -> float | None:
    """Decimal GB/s, read and written, of the best of a few passes over an array in the device's memory.

    None where it does not fit beside what is there.
    """
    try:
        source = mx.zeros((nbytes // 4,), mx.float32)
        mx.eval(source)
        best = 0.0
        for _ in range(REPEATS + 1):
            began = time.perf_counter()
            mx.eval(source + 1.0)
            best = max(best, 2 * nbytes / (time.perf_counter() - began) / 1e9)
    except (MemoryError, RuntimeError):
        return None
    finally:
        mx.clear_cache()
    return best


def copy_bandwidth_gb_s(
    nbytes: int = PROBE_BYTES, threads: int | None = None, clock: Callable[[], float] = time.perf_counter
) -> float | None:
    """Decimal GB/s, read and written, of the best of a few copies in main memory by all cores.

    None where there is no memory for it or the clock did not move.
    """
    workers = min(threads or os.cpu_count() or 1, MOST_THREADS)
    try:
        source = np.ones(nbytes // 8)
        target = np.zeros_like(source)
    except MemoryError:
        return None
    step = -(-source.size // workers)
    starts = range(0, source.size, step)

    def copy(start: int) -> None:
        np.copyto(target[start : start + step], source[start : start + step])

    best = 0.0
    with ThreadPoolExecutor(workers, thread_name_prefix="probe") as pool:
        for _ in range(REPEATS):
            began = clock()
            list(pool.map(copy, starts))
            spent = clock() - began
            if spent > 0:
                best = max(best, 2 * source.nbytes / spent / 1e9)
    return best or None
