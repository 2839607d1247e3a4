"""Fills a context to its last token on a tiny shape: `measure_context.py [--tokens 262144] [--heads 1] [--layers 5]`.

At each doubling it prints what the state holds (recurrent state, and keys and values, which must be their own size and
no more), what one prefill step took beside it by the count of MLX and NumPy, and the processor seconds of a prefill
step, of a token and of all so far. At the end it says how a token's time grows: the milliseconds that each further
1,000 tokens of context cost, over each doubling, are the same where it grows by attention alone.

    nice python tests/tools/measure_context.py

A command, not a test: attention over 262,144 tokens is 34 billion scores a head, an hour of a processor. With
--layers 4 none of them are needed but the last token's, so that it takes minutes; what a token then costs is as with 5.
Exit code 0 when memory is the state's and the keys' own, and no step took more than the first did.
"""

import argparse
import statistics
import sys
import tempfile
import time
import tracemalloc
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import mlx.core as mx

from qwen_core.device.backend import describe_device
from qwen_core.model.model import Model, load_model
from qwen_core.model.state import GROWTH, State
from qwen_core.session.generate import prefill
from support.checkpoints import write_checkpoint

SHAPE = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_key_value_heads": 1,
    "head_dim": 32,
    "linear_num_key_heads": 1,
    "linear_num_value_heads": 2,
    "linear_key_head_dim": 32,
    "linear_value_head_dim": 32,
}
FIRST = 1024
DECODED = 15
ALLOWED = 1.1
"""What may be in memory for a state over the bytes of its arrays."""


def decode_seconds(model: Model, state: State) -> float:
    """Processor seconds of a token at this length, the median of a few; the state is put back."""
    kept, taken = state.snapshot(), []
    for token in range(DECODED):
        began = time.process_time()
        mx.eval(model.last_logits(mx.array([[1 + token]]), state), state.arrays())
        taken.append(time.process_time() - began)
    state.restore(kept)
    return statistics.median(taken)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, default=262_144)
    parser.add_argument("--heads", type=int, default=1)
    parser.add_argument("--layers", type=int, default=5, help="every fourth has full attention")
    asked = parser.parse_args()
    text = {
        **SHAPE,
        "num_hidden_layers": asked.layers,
        "num_attention_heads": asked.heads,
        "max_position_embeddings": asked.tokens,
    }
    with tempfile.TemporaryDirectory() as folder:
        write_checkpoint(Path(folder) / "tiny", "bf16", text=text)
        model = load_model(Path(folder) / "tiny", "float32")
    config = model.config
    shape = f"{asked.heads} heads of {config.head_dim}, {asked.layers} layers"
    print(f"MLX {version('mlx')}, {describe_device()}, float32; {shape}")
    columns = ("context", 9), ("state", 9), ("kv", 12), ("in memory", 12), ("step", 12), ("step s", 7), ("token ms", 9)
    print(*(f"{name:>{width}}" for name, width in columns), f"{'all s':>7}")
    row_bytes = asked.layers // 4 * 2 * config.num_key_value_heads * config.head_dim * 4
    state, points, peaks, held_well = model.new_state(), [], [], True
    before, began = mx.get_active_memory(), time.process_time()
    marks = [FIRST << n for n in range(40) if FIRST << n < asked.tokens] + [asked.tokens]
    for mark in marks:
        ids = [1 + (7 * n) % (config.vocab_size - 1) for n in range(state.length, mark)]
        last, peak = time.process_time(), 0
        step_s = 0.0
        # NumPy's memory is counted in the steps alone; of these the last one before the mark is told.
        tracemalloc.start()
        steps = prefill(model, state, ids)
        while True:
            mx.reset_peak_memory()
            tracemalloc.reset_peak()
            if next(steps, None) is None:
                break
            step_s, last = time.process_time() - last, time.process_time()
            peak = mx.get_peak_memory() - mx.get_active_memory() + tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        peaks.append(peak)
        mx.clear_cache()
        held = mx.get_active_memory() - before
        token_s = decode_seconds(model, state)
        points.append((state.length, token_s))
        most = state.recurrent_nbytes + row_bytes * (mark + GROWTH)
        exact = state.kv_nbytes == row_bytes * mark and state.nbytes <= most
        held_well = held_well and exact and held <= ALLOWED * state.nbytes
        print(
            f"{mark:9,} {state.recurrent_nbytes:9,} {state.kv_nbytes:12,} {held:12,} {peak:12,} {step_s:7.3f} "
            f"{1000 * token_s:9.2f} {time.process_time() - began:7.0f}",
            flush=True,
        )
    for (short, quick), (long, slow) in pairwise(points):
        print(f"{short:9,} to {long:9,}: {1e6 * (slow - quick) / (long - short):.3f} ms a token for 1,000 tokens more")
    print("memory is the state's own" if held_well else "memory is more than the state's own")
    flat = max(peaks) <= ALLOWED * peaks[0]
    print(f"a step takes {peaks[-1]:,} bytes behind {state.length:,} tokens, {peaks[0]:,} behind {FIRST:,}")
    return 0 if held_well and flat else 1


if __name__ == "__main__":
    sys.exit(main())
