"""Kernels that Metal launches for one token: `count_launches.py [--layers 64] [--json]`.

Builds the decode step of the 27B's 64 layers as a Mac would (its choices forced, bfloat16, NVFP4, small widths: neither
changes the graph) and computes nothing of it. *launches* are kernels, *waits* how often one has to wait for all those
before it, which is the chain that no GPU can shorten (support/launch_graph.py has the rules). *linear* and *full* are
the launches of one layer. *mapped*: weights lie in their files and are not joined. Rows beyond the first are drafts.
*own kernels*: those of core/qwen_core/model/kernels in use. Greedy, but for the sampler's own lines. mlx-lm's are
counted by the same rules, where it is installed.

    python tests/tools/count_launches.py
"""

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import mlx.core as mx

from qwen_core.checkpoint.directory import open_checkpoint
from qwen_core.device.backend import is_gpu
from qwen_core.model.block import Block
from qwen_core.model.kernels.launch import Plan
from qwen_core.model.kernels.proof import NAMES, NONE, Kernels
from qwen_core.model.model import Model
from qwen_core.model.state import State
from qwen_core.model.weights import load_weights
from qwen_core.session.sampling import Sampler, SamplingParameters
from support.checkpoints import write_checkpoint
from support.launch_graph import Recorder, Step, by_kind, launches, recorded_kernels, steps_of, waits

LAYERS = 64
ROWS = (1, 2, 4, 8)
SAMPLERS = {
    "the card's settings": SamplingParameters(temperature=0.6, top_p=0.95, top_k=20),
    "without thinking": SamplingParameters(temperature=0.7, top_p=0.8, top_k=20, presence_penalty=1.5),
}
OWN_KERNELS = Kernels(frozenset(NAMES))
GREEDY = SamplingParameters(temperature=0.0)
VOCABULARY, TOKENS = 248_320, 248_077
"""Rows of the published models' heads, and ids of their tokenizer."""


@dataclass(frozen=True)
class Count:
    """One line of the table; a sampler alone has no layers."""

    what: str
    launches: int
    waits: int
    linear: int | None = None
    full: int | None = None


def can_count() -> bool:
    """Whether MLX joins elementwise operations here as on a Mac: on a CPU only with a compiler."""
    return is_gpu() or shutil.which("g++") is not None


def _recorded(recorder: Recorder) -> Callable[..., list[mx.array]]:
    """Launches of our own kernels are steps too."""
    return lambda plan, *inputs: recorder.step(f"kernel {plan.kernel.name}", inputs, plan.outputs)


@contextmanager
def metal_choices() -> Iterator[Recorder]:
    """The program chooses as on a Mac, and what it asks of `mx.fast` is recorded."""
    modules = [module for name, module in sys.modules.items() if name.startswith("qwen_core.")]
    patches = [mock.patch.object(module, "is_gpu", lambda: True) for module in modules if hasattr(module, "is_gpu")]
    for patch in patches:
        patch.start()
    try:
        with recorded_kernels() as recorder, mock.patch.object(Plan, "run", _recorded(recorder)):
            yield recorder
    finally:
        for patch in patches:
            patch.stop()


def load(path: Path, *, joined: bool = True, kernels: Kernels = NONE) -> Model:
    """The model, its neighbours joined or, as mapped ones, not; with kernels of our own or without them."""
    checkpoint, dtype = open_checkpoint(path), "bfloat16"
    weights = load_weights(checkpoint, dtype)
    return Model(checkpoint, weights, checkpoint.specs, dtype, joined=joined, kernels=kernels)


def after_a_token(model: Model) -> State:
    """A state with something in it: neither it nor what is made at the first call belongs to the steps counted."""
    state = model.new_state()
    with metal_choices():
        mx.eval(model.last_logits(mx.array([[1]]), state), state.arrays())
    return state


def our_step(model: Model, rows: int = 1) -> list[Step]:
    """The steps of one pass, drawing greedily: one token, and `rows` - 1 drafts behind it."""
    state = after_a_token(model)
    sampler = Sampler(GREEDY, model.config.vocab_size, model.config.vocab_size)
    ids = mx.array([[1] * rows])
    with metal_choices() as recorder:
        if rows == 1:
            drawn = [sampler(model.last_logits(ids, state))]
        else:
            state.begin_drafted()
            _, logits = model.hidden_and_logits(ids, state)
            drawn = [sampler(logits[:, row]) for row in range(rows)]
    return steps_of([*drawn, *state.arrays()], recorder)


def our_layer(model: Model, kind: str, rows: int = 1) -> list[Step]:
    """The steps of the first layer of a kind."""
    state, index = after_a_token(model), model.config.layer_types.index(kind)
    h, added = (mx.zeros((1, rows, model.config.hidden_size), mx.bfloat16) for _ in range(2))
    mx.eval(h, added)
    before = {id(array) for array in state.arrays()}
    block: Block = model._blocks[index]
    with metal_choices() as recorder:
        outputs = block(h, added, state)
    return steps_of([*outputs, *(array for array in state.arrays() if id(array) not in before)], recorder)


def our_count(what: str, model: Model, rows: int = 1) -> Count:
    steps = our_step(model, rows)
    linear, full = (launches(our_layer(model, kind, rows)) for kind in ("linear_attention", "full_attention"))
    return Count(what, launches(steps), waits(steps), linear, full)


def sampling_count(what: str, parameters: SamplingParameters) -> Count:
    """A sampler alone, over logits of the whole vocabulary."""
    sampler = Sampler(parameters, TOKENS, VOCABULARY)
    logits = mx.zeros((1, VOCABULARY), mx.bfloat16)

    def draw() -> list[mx.array]:
        return [sampler(logits), *(array for array in vars(sampler.mark()).values() if array is not None)]

    mx.eval(draw())
    with metal_choices() as recorder:
        steps = steps_of(draw(), recorder)
    return Count(what, launches(steps), waits(steps))


def _rows(rows: int) -> str:
    return f", {rows} rows" if rows > 1 else ""


def our_counts(path: Path) -> list[Count]:
    model = load(path)
    counts = [our_count(f"ours, joined{_rows(rows)}", model, rows) for rows in ROWS]
    counts.append(our_count("ours, mapped", load(path, joined=False)))
    model = load(path, kernels=OWN_KERNELS)
    counts += [our_count(f"own kernels, joined{_rows(rows)}", model, rows) for rows in ROWS]
    counts.append(our_count("own kernels, mapped", load(path, joined=False, kernels=OWN_KERNELS)))
    samplers = {"greedy": GREEDY, **SAMPLERS}
    return counts + [sampling_count(f"sampling, {name}", parameters) for name, parameters in samplers.items()]


@contextmanager
def peer_choices() -> Iterator[Recorder]:
    """mlx-lm asks for its own kernel of the delta rule, which is one launch."""
    from mlx_lm.models import gated_delta

    with recorded_kernels() as recorder:

        def kernel(
            q: mx.array, k: mx.array, v: mx.array, g: mx.array, beta: mx.array, state: mx.array, mask: object = None
        ) -> list[mx.array]:
            return recorder.gated_delta_update(q, k, v, g, beta, state, name="kernel of mlx-lm")

        with mock.patch.object(gated_delta, "gated_delta_ops", kernel):
            yield recorder


def _peer_arrays(cache: Sequence[Any]) -> list[mx.array]:
    return [array for part in cache for array in ((part.keys, part.values) if hasattr(part, "keys") else part.cache)]


def peer_count(path: Path) -> Count:
    """mlx-lm's decode step, drawing greedily as its `generate_step` does."""
    from mlx_lm.sample_utils import make_sampler
    from mlx_lm.utils import load_model

    model: Any = load_model(path)[0]
    sampler = make_sampler(0.0)
    ids = mx.array([[1]])

    def step(cache: Sequence[Any]) -> mx.array:
        logits = model(ids, cache=cache)[:, -1, :]
        return sampler(logits - mx.logsumexp(logits, keepdims=True))

    def layer(index: int) -> int:
        cache = model.make_cache()
        h = mx.zeros((1, 1, model.language_model.args.hidden_size), mx.bfloat16)
        part = cache[index]

        def run() -> mx.array:
            return model.layers[index](h, mask=None, cache=part)

        with peer_choices():
            mx.eval(run(), h, _peer_arrays([part]))
        with peer_choices() as recorder:
            return launches(steps_of([run(), *_peer_arrays([part])], recorder))

    cache = model.make_cache()
    with peer_choices():
        mx.eval(step(cache), _peer_arrays(cache))
    with peer_choices() as recorder:
        steps = steps_of([step(cache), *_peer_arrays(cache)], recorder)
    kinds = [part.is_linear for part in model.layers]
    name = f"mlx-lm {version('mlx-lm')}"
    return Count(name, launches(steps), waits(steps), layer(kinds.index(True)), layer(kinds.index(False)))


def has_peer() -> bool:
    try:
        return bool(version("mlx-lm"))
    except PackageNotFoundError:
        return False


@contextmanager
def checkpoint(layers: int = LAYERS) -> Iterator[Path]:
    """A narrow model of so many layers in the published NVFP4 variant's formats."""
    with tempfile.TemporaryDirectory() as folder:
        # Attention's heads as published: a kernel of our own is made for them.
        write_checkpoint(Path(folder) / "model", text={"num_hidden_layers": layers, "head_dim": 256})
        yield Path(folder) / "model"


def table(counts: Sequence[Count]) -> str:
    """The lines for people."""

    def cell(value: int | None) -> str:
        return "" if value is None else f"{value:,}"

    rows = [("", "launches", "waits", "linear", "full")]
    rows += [(c.what, *map(cell, (c.launches, c.waits, c.linear, c.full))) for c in counts]
    return "\n".join(f"{what:<32}" + "".join(f"{value:>10}" for value in values) for what, *values in rows)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", type=int, default=LAYERS)
    parser.add_argument("--kinds", action="store_true", help="also the launches of each kind of operation")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    if not can_count():
        print("counting needs g++: without it MLX joins no elementwise operations on a CPU", file=sys.stderr)
        return 1
    with checkpoint(asked.layers) as path:
        counts = our_counts(path) + ([peer_count(path)] if has_peer() else [])
        kinds = by_kind(our_step(load(path))) if asked.kinds else {}
    if asked.json:
        print(json.dumps([asdict(count) for count in counts]))
        return 0
    print(f"MLX {version('mlx')}, {asked.layers} layers, NVFP4, bfloat16, one row unless it says otherwise")
    print(table(counts))
    if not has_peer():
        print("mlx-lm is not installed: pip install mlx-lm counts its launches beside ours")
    for kind, number in sorted(kinds.items(), key=lambda pair: -pair[1]):
        print(f"{number:6,} {kind}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
