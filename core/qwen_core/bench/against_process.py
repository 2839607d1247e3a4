"""One side of a comparison, in a process of its own: loads a checkpoint, prefills and decodes once, prints JSON.

Run by against.py. Both sides get the same ids, are warmed up alike, and are timed by the same rule: prefill ends and
decode begins with the first token.
"""

import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import redirect_stdout
from dataclasses import asdict, dataclass
from importlib import import_module, metadata
from pathlib import Path
from typing import Any

from qwen_core.child_process import end_with_parent
from qwen_core.engine.ranks import leave_to_watch
from qwen_core.errors import QwenError

OWN, OWN_PLAIN, MLX_LM = "qwen-tui", "qwen-tui without its own kernels", "mlx-lm"
SEVERAL, ONE = "several ranks", "one rank"
WARM_UP_PROMPT, WARM_UP_TOKENS = 64, 2

# Continues ids greedily by a number of tokens, yielding each as soon as it is known.
Continue = Callable[[Sequence[int], int], Iterator[int]]


@dataclass(frozen=True)
class Task:
    """What one side does. `float32` casts mlx-lm's bf16 parameters; `dtype` is what qwen-tui computes in, `kernels`
    whether it may use its own, `hosts` who shares the model, as `--hosts` says it."""

    side: str
    path: str
    ids: tuple[int, ...]
    tokens: int
    dtype: str | None = None
    float32: bool = False
    kernels: bool = True
    hosts: str = ""


@dataclass(frozen=True)
class Outcome:
    """Seconds by the clock and of this process's CPU time, which other programs do not lengthen; the tokens drawn; and
    which kernels of its own this program used, with a line for each that did not prove right. `peak_memory_bytes`: the
    most that this process had of arrays; 0: not told."""

    prefill_s: float
    decode_s: float
    prefill_cpu_s: float
    decode_cpu_s: float
    tokens: tuple[int, ...]
    version: str
    kernels: tuple[str, ...] = ()
    kernel_faults: tuple[str, ...] = ()
    peak_memory_bytes: int = 0


@dataclass(frozen=True)
class Side:
    """A runtime with the model loaded."""

    generate: Continue
    version: str
    kernels: tuple[str, ...] = ()
    kernel_faults: tuple[str, ...] = ()


def timed(
    generate: Continue,
    task: Task,
    version: str,
    clock: Callable[[], float] = time.perf_counter,
    cpu_clock: Callable[[], float] = time.process_time,
) -> Outcome:
    """Warm up, then do the task once. `task.tokens` are decoded after the first."""
    for _ in generate(task.ids[:WARM_UP_PROMPT], WARM_UP_TOKENS):
        pass
    marks = [(clock(), cpu_clock())]
    tokens = []
    for token in generate(task.ids, task.tokens + 1):
        if not tokens:
            marks.append((clock(), cpu_clock()))
        tokens.append(token)
    marks.append((clock(), cpu_clock()))
    (start, start_cpu), (first, first_cpu), (end, end_cpu) = marks
    return Outcome(first - start, end - first, first_cpu - start_cpu, end_cpu - first_cpu, tuple(tokens), version)


def own_side(task: Task) -> Side:
    """This program's engine, on the hosts of the task."""
    from qwen_core.engine.hosts import read_hosts
    from qwen_core.engine.loading import PartLoader
    from qwen_core.model.model import load_model
    from qwen_core.session.generate import decode, prefill
    from qwen_core.session.sampling import Sampler, SamplingParameters
    from qwen_core.version import __version__

    hosts = read_hosts(task.hosts)
    load = load_model if hosts is None else PartLoader(hosts)
    model = load(task.path, task.dtype, kernels=task.kernels)
    vocabulary = model.config.vocab_size

    def generate(ids: Sequence[int], count: int) -> Iterator[int]:
        state, sampler = model.new_state(), Sampler(SamplingParameters(temperature=0.0), vocabulary, vocabulary)
        *_, last = prefill(model, state, ids)
        assert last.logits is not None
        yield from decode(model, state, last.logits, sampler, limit=count)

    return Side(generate, __version__, tuple(sorted(model.kernels.names)), model.kernels.faults)


def mlx_lm_side(task: Task) -> Side:
    """mlx-lm by its own public functions: its loader, and its loop (prefill without the head, one step ahead)."""
    import mlx.core as mx
    from mlx.utils import tree_map

    generation: Any = import_module("mlx_lm.generate")
    utils: Any = import_module("mlx_lm.utils")
    model, _ = utils.load_model(Path(task.path))
    if task.float32:

        def widen(parameter: mx.array) -> mx.array:
            return parameter.astype(mx.float32) if parameter.dtype == mx.bfloat16 else parameter

        model.update(tree_map(widen, model.parameters()))

    def generate(ids: Sequence[int], count: int) -> Iterator[int]:
        for token, _ in generation.generate_step(mx.array(list(ids)), model, max_tokens=count):
            yield int(token)

    return Side(generate, metadata.version("mlx-lm"))


SIDES: dict[str, Callable[[Task], Side]] = dict.fromkeys((OWN, OWN_PLAIN, SEVERAL, ONE), own_side) | {
    MLX_LM: mlx_lm_side
}


def main() -> None:
    """The process: the task as JSON in `sys.argv[1]`, the outcome as the last line of stdout."""
    end_with_parent()
    fields = json.loads(sys.argv[1])
    task = Task(**{**fields, "ids": tuple(fields["ids"])})
    with redirect_stdout(sys.stderr):  # whatever a library prints is no part of the outcome
        try:
            side = SIDES[task.side](task)
            outcome = timed(side.generate, task, side.version)
        except QwenError as error:
            sys.exit(str(error))
        except RuntimeError as error:
            leave_to_watch(error)
            raise
    import mlx.core as mx  # which the side has brought

    beside = {"kernels": side.kernels, "kernel_faults": side.kernel_faults, "peak_memory_bytes": mx.get_peak_memory()}
    print(json.dumps({**asdict(outcome), **beside}), flush=True)
