"""The machine that MLX computes on here: hardware.py's questions answered by the default device.

On a GPU without a published peak (CUDA) the copy is measured in the GPU's own memory, on a CPU in main memory.
"""

import time
from functools import cache

from qwen_core.device.backend import device_info, is_gpu, is_metal, mx
from qwen_core.device.hardware import Hardware, detect, read_gpu_cores
from qwen_core.device.probe import REPEATS, copy_bandwidth_gb_s

GPU_PROBE_BYTES = 1 << 30


@cache
def this_machine(configured_gb_s: float | None = None, gpu_cores: int | None = None) -> Hardware:
    """What is known of the default device, found out once. The arguments are what the person configured."""
    return detect(
        device_info(),
        gpu_cores=gpu_cores or (read_gpu_cores() if is_metal() else None),
        configured_gb_s=configured_gb_s,
        measure=gpu_copy_gb_s if is_gpu() else copy_bandwidth_gb_s,
    )


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
