"""Products of large packed weights on several processors, where MLX computes on a CPU.

MLX's CPU backend runs each stream on one thread and never splits one product (mlx, backend/cpu/quantized.cpp). Each row
of a weight gives its own outputs, so the rows are dealt out to streams and the outputs put side by side: the same
numbers bit for bit, in half the time on two processors. A GPU needs none of this.
"""

import os
import threading
from collections.abc import Callable, Sequence
from itertools import pairwise

from qwen_core.device.backend import is_gpu, mx

# Elements times tokens from which sharing out pays: some 1 ms on one core. A product of a quarter of that gained
# nothing on two cores (decode of the demo model was 1.14 times as fast without), and less beside any other program.
LEAST_WORK = 1 << 21
# Beyond this, memory and not the processors is what a product waits for.
MOST_STREAMS = 8

_of_thread = threading.local()  # a stream can be used only in the thread that made it


def processors() -> int:
    """How many processors this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)  # Linux alone has it
    return len(affinity(0)) if affinity is not None else os.cpu_count() or 1


def shares(rows: int, tokens: int, columns: int, least: int = LEAST_WORK) -> int:
    """How many parts the product of `tokens` vectors and a weight [rows, columns] is computed in; 1: all at once.

    `least` elements times tokens are worth sharing out.
    """
    if is_gpu() or rows * columns * tokens < least:
        return 1
    return min(processors(), MOST_STREAMS, rows)


def cut_rows(rows: int, parts: int) -> list[slice]:
    """`rows` cut into `parts` runs, as even as possible."""
    ends = [rows * number // parts for number in range(parts + 1)]
    return [slice(begin, end) for begin, end in pairwise(ends)]


def side_by_side(products: Sequence[Callable[[mx.Stream], mx.array]], axis: int = -1) -> mx.array:
    """The results of `products`, joined along `axis`; each is computed on a stream of its own."""
    streams: list[mx.Stream] = getattr(_of_thread, "streams", [])
    while len(streams) < len(products):
        streams.append(mx.new_stream(mx.cpu))
    _of_thread.streams = streams
    return mx.concatenate([product(stream) for product, stream in zip(products, streams, strict=False)], axis=axis)
