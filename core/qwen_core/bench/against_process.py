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

WARM_UP_PROMPT, WARM_UP_TOKENS = 64, 2

# Continues ids greedily by a number of tokens, yielding each as soon as it is known.
Continue = Callable[[Sequence[int], int], Iterator[int]]


@dataclass(frozen=True)
class Task:
    """What one side does. `float32` casts mlx-lm's bf16 parameters; `dtype` is what qwen-tui computes in."""

    side: str
    path: str
    ids: tuple[int, ...]
    tokens: int
    dtype: str | None = None
    float32: bool = False


@dataclass(frozen=True)
class Outcome:
    """Seconds by the clock and of this process's CPU time, which other programs do not lengthen; the tokens drawn."""

    prefill_s: float
    decode_s: float
    prefill_cpu_s: float
    decode_cpu_s: float
    tokens: tuple[int, ...]
    version: str


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


def own_side(task: Task) -> tuple[Continue, str]:
    """This program's engine."""
    from qwen_core.model.model import load_model
    from qwen_core.session.generate import decode, prefill
    from qwen_core.session.sampling import Sampler, SamplingParameters
    from qwen_core.version import __version__

    model = load_model(task.path, task.dtype)
    vocabulary = model.config.vocab_size

    def generate(ids: Sequence[int], count: int) -> Iterator[int]:
        state, sampler = model.new_state(), Sampler(SamplingParameters(temperature=0.0), vocabulary, vocabulary)
        *_, last = prefill(model, state, ids)
        assert last.logits is not None
        yield from decode(model, state, last.logits, sampler, limit=count)

    return generate, __version__


def mlx_lm_side(task: Task) -> tuple[Continue, str]:
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

    return generate, metadata.version("mlx-lm")


SIDES: dict[str, Callable[[Task], tuple[Continue, str]]] = {"qwen-tui": own_side, "mlx-lm": mlx_lm_side}


def main() -> None:
    """The process: the task as JSON in `sys.argv[1]`, the outcome as the last line of stdout."""
    end_with_parent()
    fields = json.loads(sys.argv[1])
    task = Task(**{**fields, "ids": tuple(fields["ids"])})
    with redirect_stdout(sys.stderr):  # whatever a library prints is no part of the outcome
        generate, version = SIDES[task.side](task)
        outcome = timed(generate, task, version)
    print(json.dumps(asdict(outcome)))
