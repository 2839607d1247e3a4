"""A short measurement of how fast this machine moves memory: the stand-in for a published peak where there is none.

It is a measurement of a copy, not a limit of the hardware, and whoever shows it says "measured".
"""

import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

PROBE_BYTES = 128 << 20
"""Of the source; larger than the caches of most machines, and copied in some 20 ms at 10 GB/s."""
MOST_THREADS = 16
REPEATS = 3


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
