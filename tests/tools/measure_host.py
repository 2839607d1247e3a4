"""What the host does for a token before the device can begin: `measure_host.py [--against CORE] [--rounds 20]`.

Builds the graph of one decode step of 64 narrow layers, drawing greedily, and computes nothing of it: processor
milliseconds, the least of many, this program's and mlx-lm's by turns, each in a process of its own. *Metal*: as on a
Mac, its choices forced, bfloat16, and each function of `mx.fast` one operation, as it is there. *here*: as on this
device, where MLX makes several operations of each. `--against`: also the program whose core/ folder that is.

    nice python tests/tools/measure_host.py

A command, not a test: it times.
"""

import argparse
import gc
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

LAYERS, BATCH = 64, 30


@contextmanager
def one_operation_each() -> Iterator[None]:
    """Each function of `mx.fast` costs the host one operation."""
    import mlx.core as mx

    def rms_norm(x: mx.array, *_: object, **__: object) -> mx.array:
        return mx.erfinv(x)

    def attention(q: mx.array, k: mx.array, v: mx.array, **_: object) -> mx.array:
        return mx.depends([q], [k, v])[0]

    def delta(
        q: mx.array, k: mx.array, v: mx.array, g: mx.array, b: mx.array, state: mx.array, *_: object
    ) -> list[mx.array]:
        return mx.depends([v, state], [q, k, g, b])

    stand_ins = {"rms_norm": rms_norm, "rope": rms_norm, "gated_delta_update": delta}
    with ExitStack() as stack:
        stack.enter_context(mock.patch.multiple(mx.fast, scaled_dot_product_attention=attention, **stand_ins))
        for name, module in list(sys.modules.items()):
            if name.startswith("qwen_core.") and hasattr(module, "is_gpu"):
                stack.enter_context(mock.patch.object(module, "is_gpu", lambda: True))
            if name == "mlx_lm.models.gated_delta":
                stack.enter_context(mock.patch.object(module, "gated_delta_ops", delta))
        yield


@dataclass(frozen=True)
class Step:
    """`build` gives the lazy token drawn from a step's logits; `reset` goes back to before it."""

    build: Callable[[], Any]
    reset: Callable[[], None]


def ours(path: Path, dtype: str) -> Step:
    """A step of this program, always behind the same token."""
    import mlx.core as mx

    from qwen_core.model.model import load_model
    from qwen_core.session.sampling import Sampler, SamplingParameters

    model = load_model(path, dtype)
    state, vocabulary = model.new_state(), model.config.vocab_size
    mx.eval(model.last_logits(mx.array([[1]]), state), state.arrays())
    snapshot, token = state.snapshot(), mx.array([1])
    sampler = Sampler(SamplingParameters(temperature=0.0), vocabulary, vocabulary)

    def build() -> mx.array:
        return sampler(model.last_logits(token[None], state))

    return Step(build, lambda: state.restore(snapshot))


def copied(part: Any) -> dict[str, Any]:
    """What a part of mlx-lm's cache holds, or such a copy of it; its lists are changed in place."""
    held = part if isinstance(part, dict) else vars(part)
    return {name: list(value) if isinstance(value, list) else value for name, value in held.items()}


def peers(path: Path, dtype: str) -> Step:
    """The same with mlx-lm, as its `generate_step` does it."""
    import mlx.core as mx
    from mlx.utils import tree_map
    from mlx_lm.sample_utils import make_sampler
    from mlx_lm.utils import load_model

    model: Any = load_model(path)[0]
    kind = {"float32": mx.float32, "bfloat16": mx.bfloat16}[dtype]
    model.update(tree_map(lambda p: p.astype(kind) if p.dtype == mx.bfloat16 else p, model.parameters()))
    cache, sampler, token = model.make_cache(), make_sampler(0.0), mx.array([1])
    mx.eval(model(token[None], cache=cache), [part.state for part in cache])
    kept = [copied(part) for part in cache]

    def reset() -> None:
        for part, before in zip(cache, kept, strict=True):
            vars(part).update(copied(before))

    def build() -> mx.array:
        logits = model(token[None], cache=cache)[:, -1, :]
        return sampler(logits - mx.logsumexp(logits, keepdims=True))

    return Step(build, reset)


def batch(step: Step) -> float:
    """The least processor milliseconds that building took in a batch of steps; letting go of a graph is not timed."""
    least = float("inf")
    gc.collect()
    gc.disable()
    for _ in range(BATCH):
        began = time.process_time()
        graph = step.build()
        least = min(least, time.process_time() - began)
        del graph
        step.reset()
    gc.enable()
    return 1e3 * least


def work(who: str, path: Path) -> None:
    """A process of its own: for each line read, a batch each way, one line."""
    make = peers if who == "mlx-lm" else ours
    metal, here = make(path, "bfloat16"), make(path, "float32")
    for _ in sys.stdin:
        with one_operation_each():
            on_metal = batch(metal)
        print(on_metal, batch(here), flush=True)


def worker(who: str, path: Path, core: Path | None) -> subprocess.Popen[str]:
    environment = os.environ | ({"PYTHONPATH": str(core)} if core else {})
    command = [sys.executable, __file__, "--work", who, str(path)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)


def asked_once(process: subprocess.Popen[str]) -> tuple[float, float]:
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write("\n")
    process.stdin.flush()
    metal, here = map(float, process.stdout.readline().split())
    return metal, here


def measure(processes: dict[str, subprocess.Popen[str]], rounds: int) -> dict[str, Sequence[tuple[float, float]]]:
    """By turns, so that drift and other programs meet all alike."""
    taken: dict[str, list[tuple[float, float]]] = {who: [] for who in processes}
    for _ in range(rounds):
        for who, process in processes.items():
            taken[who].append(asked_once(process))
    return dict(taken)


def has_peer() -> bool:
    from importlib.util import find_spec

    return find_spec("mlx_lm") is not None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--against", type=Path, help="the core/ folder of another checkout")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--work", nargs=2, metavar=("WHO", "MODEL"), help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.work:
        work(asked.work[0], Path(asked.work[1]))
        return 0
    from support.checkpoints import write_checkpoint

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model"
        write_checkpoint(path, text={"num_hidden_layers": LAYERS})
        processes = {"ours": worker("ours", path, None)}
        if asked.against:
            processes["against"] = worker("against", path, asked.against)
        if has_peer():
            processes["mlx-lm"] = worker("mlx-lm", path, None)
        taken = measure(processes, asked.rounds)
        for process in processes.values():
            process.communicate()
    print(f"MLX {version('mlx')}, {LAYERS} layers, the least of {asked.rounds} x {BATCH} steps, ms of a processor")
    print(f"{'':<10}{'Metal':>8}{'here':>8}")
    for who, figures in taken.items():
        metal, here = (min(column) for column in zip(*figures, strict=True))
        print(f"{who:<10}{metal:8.2f}{here:8.2f}")
    if not has_peer():
        print("mlx-lm is not installed: pip install mlx-lm measures it beside ours")
    return 0


if __name__ == "__main__":
    sys.exit(main())
