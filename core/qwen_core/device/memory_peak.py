"""The most that this machine's memory was seen to move: copies, again and again until the best of them repeats itself.

In the GPU's own memory on CUDA, in main memory on a CPU. It is a measurement, not a limit of the hardware, and whoever
shows it says "measured". It takes up to some seconds, so it is kept with what tells the machine, and nobody who only
wants an answer waits for it.
"""

import os
import platform
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from heapq import nlargest
from importlib.metadata import version

import numpy as np

from qwen_core.device.backend import device_info, is_gpu, mx
from qwen_core.device.hardware import memory_bytes
from qwen_core.kept_figures import KeptFigures

GPU_PROBE_BYTES = 1 << 30
PROBE_BYTES = 128 << 20
"""Of the source; larger than the caches of most machines, and copied in some 20 ms at 10 GB/s."""
MOST_THREADS = 16
LEAST_COPIES = 12
AGREEING = 3
WITHIN = 0.05
"""The best copies that must agree, and how closely: then another run finds the same within twice as much."""
BUDGET_S = 2.0
"""Of a measurement that does not settle."""

Clock = Callable[[], float]
Rates = Generator[float, None, None]
Stopped = Callable[[], bool]


def kept_peak(folder: str) -> float | None:
    """Decimal GB/s as measured earlier on this machine and kept in `folder`; None where nothing is."""
    value = _figures(folder).get(_identity())
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) and value > 0 else None


def measured_peak(folder: str, stop: Stopped = lambda: False) -> float | None:
    """Decimal GB/s, read and written: as kept in `folder`, else measured and kept there; "" keeps nothing.

    None where it did not settle, as on a busy machine, where there is no memory for it, or once `stop` says so.
    """
    if (known := kept_peak(folder)) is not None:
        return known
    try:
        with closing(gpu_copies() if is_gpu() else copies()) as rates:  # which holds the memory that is copied
            peak = settled(_until(stop, time.monotonic() + BUDGET_S, rates))
    except (MemoryError, RuntimeError):
        return None
    finally:
        if is_gpu():
            mx.clear_cache()
    if peak is not None:
        _figures(folder).keep(_identity(), peak)
    return peak


def settled(rates: Iterable[float]) -> float | None:
    """The best of `rates` once it repeats itself; None where it does not."""
    best: list[float] = []
    for number, rate in enumerate(rates, 1):
        best = nlargest(AGREEING, [*best, rate])
        if number >= LEAST_COPIES and best[-1] >= (1 - WITHIN) * best[0] > 0:
            return best[0]
    return None


def _until(stop: Stopped, end: float, rates: Iterator[float]) -> Iterator[float]:
    while not stop() and time.monotonic() < end:
        yield next(rates)


def gpu_copies(nbytes: int = GPU_PROBE_BYTES, clock: Clock = time.perf_counter) -> Rates:
    """GB/s of one pass after the other over an array in the device's memory. Raises what MLX does without memory."""
    source = mx.zeros((nbytes // 4,), mx.float32)
    mx.eval(source)
    while True:
        began = clock()
        mx.eval(source + 1.0)
        yield _rate(nbytes, clock() - began)


def copies(nbytes: int = PROBE_BYTES, threads: int | None = None, clock: Clock = time.perf_counter) -> Rates:
    """GB/s of one copy after the other in main memory by all cores. Raises MemoryError."""
    workers = min(threads or os.cpu_count() or 1, MOST_THREADS)
    source = np.ones(nbytes // 8)
    target = np.zeros_like(source)
    step = -(-source.size // workers)
    starts = range(0, source.size, step)

    def copy(start: int) -> None:
        np.copyto(target[start : start + step], source[start : start + step])

    with ThreadPoolExecutor(workers, thread_name_prefix="probe") as pool:
        while True:
            began = clock()
            list(pool.map(copy, starts))
            yield _rate(source.nbytes, clock() - began)


def _rate(nbytes: int, seconds: float) -> float:
    return 2 * nbytes / seconds / 1e9 if seconds > 0 else 0.0


def _identity() -> str:
    """What tells this machine and device from others that share a home."""
    name = " ".join(str(device_info().get("device_name", "")).split())
    return f"{platform.node()} {name} {platform.machine()} {os.cpu_count()} {memory_bytes() >> 30} mlx {version('mlx')}"


def _figures(folder: str) -> KeptFigures:
    return KeptFigures(folder, "memory-peak.json")
