"""What it costs to say how sure the model was of each token: `measure_lens.py [--layers 4] [--vocabulary N]`.

Tokens are decoded with the lens (8 alternatives) and without it by turns, a few at a time from one state, so that drift
and other programs meet both alike. Processor seconds are what counts on a machine with other work; the clock's stand
beside them. The model is random and narrow; its layers make the time of a token.

    nice python tests/tools/measure_lens.py                                      # the published models' vocabulary
    nice python tests/tools/measure_lens.py --vocabulary 3072 --layers 12        # the bundled model's, 10 ms a token

A command, not a test: it times. Exit code 0 when the lens is less than 1 % of a token.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from importlib.metadata import version
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from qwen_core.device.backend import describe_device
from qwen_core.model.model import Model, load_model
from qwen_core.model.state import State
from qwen_core.protocol.probabilities import LENS_TOP
from qwen_core.session.generate import decode, prefill
from qwen_core.session.lens import Lens
from qwen_core.session.sampling import Sampler, SamplingParameters
from support.checkpoints import write_checkpoint

ALLOWED = 0.01
BLOCK, SETTLED = 12, 2
"""Tokens that are decoded alike, and how many of them do not count."""

Block = tuple[bool, float, float]
"""Whether with the lens; processor and clock seconds of its median token."""


def block(model: Model, state: State, sampler: Sampler, lens: Lens | None) -> Block:
    """Decode BLOCK tokens on from `state`."""
    assert state.logits is not None
    taken: list[tuple[float, float]] = []
    last = time.process_time(), time.perf_counter()
    with closing(decode(model, state, state.logits, sampler, limit=BLOCK + 1, lens=lens)) as tokens:
        for _ in range(BLOCK):
            next(tokens)
            now = time.process_time(), time.perf_counter()
            taken.append((now[0] - last[0], now[1] - last[1]))
            last = now
    counted = taken[SETTLED:]
    processor, clock = (statistics.median(each[kind] for each in counted) for kind in (0, 1))
    return lens is not None, processor, clock


def told(name: str, blocks: Sequence[tuple[bool, float]]) -> float:
    """Print what the lens costs by one clock; its share of a token."""
    base = statistics.median(taken for on, taken in blocks if not on)
    # A block with it between two without: what drifts slowly is in both.
    costs = [
        taken - (before + after) / 2
        for (_, before), (on, taken), (_, after) in zip(blocks, blocks[1:], blocks[2:], strict=False)
        if on
    ]
    low, cost, high = statistics.quantiles(costs, n=4)
    print(
        f"{name:<10} {1e3 * base:8.3f} ms a token; the lens {1e6 * cost:+7.0f} us, {100 * cost / base:+.2f} % "
        f"(half of {len(costs)} within {100 * low / base:+.2f} and {100 * high / base:+.2f} %)"
    )
    return cost / base


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--hidden", type=int, default=64)
    parser.add_argument("--vocabulary", type=int, default=248_320)
    parser.add_argument("--blocks", type=int, default=40)
    asked = parser.parse_args()
    sizes = {
        "num_hidden_layers": asked.layers,
        "hidden_size": asked.hidden,
        "intermediate_size": 2 * asked.hidden,
        "vocab_size": asked.vocabulary,
    }
    with tempfile.TemporaryDirectory() as folder:
        write_checkpoint(Path(folder) / "model", "q4", text=sizes)
        model = load_model(Path(folder) / "model")
        print(f"MLX {version('mlx')}, {describe_device()}, {model.dtype}; {sizes}")
        state = model.new_state()
        list(prefill(model, state, list(range(16))))
        sampler = Sampler(SamplingParameters(temperature=0.6, top_p=0.95, top_k=20, seed=1), 10**9, asked.vocabulary)
        blocks = [
            block(model, state, sampler, Lens(LENS_TOP) if number % 2 else None)
            for number in range(2 * asked.blocks + 1)
        ]
    share = told("processor", [(on, taken) for on, taken, _ in blocks[2:]])
    told("clock", [(on, taken) for on, _, taken in blocks[2:]])
    return 0 if share < ALLOWED else 1


if __name__ == "__main__":
    sys.exit(main())
