"""What a pass of several rows and a draft cost on this machine: measured once a model, in less than a second."""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import version

import numpy as np

from qwen_core.device.backend import mx
from qwen_core.kept_figures import KeptFigures
from qwen_core.model.model import Model
from qwen_core.model.mtp import MtpLayer
from qwen_core.model.part import PartModel
from qwen_core.session.draft_count import MOST_DRAFTS

CONTEXT = 32
"""Tokens in the state while passes are measured: weights are what a pass costs, not a short context."""
BUDGET_S = 0.9
ROWS = (1, 2, 4, MOST_DRAFTS + 1)
LEAST_TIMED = 3
SLOW_S = 0.1


@dataclass(frozen=True)
class DraftCosts:
    """Seconds of a pass of 1, 2, ... rows, as many as were measured, and of one draft."""

    passes: tuple[float, ...]
    draft: float


def draft_costs(model: Model, layer: MtpLayer | None, folder: str, fingerprint: str) -> DraftCosts:
    """The costs for `model`, from `folder` where they were kept for its fingerprint, compute type, MLX's version and
    number of ranks."""
    key = f"{fingerprint} {model.dtype} {version('mlx')} {_drafter(model, layer)}"
    if isinstance(model, PartModel):  # a pass waits for the others, however many rows it has
        key += f" {model.collectives.ranks} ranks"
    figures = KeptFigures(folder if fingerprint else "", "draft-costs.json")
    with suppress(KeyError, TypeError, ValueError):
        kept = figures.get(key)
        passes, draft = tuple(map(float, kept["passes"])), float(kept["draft"])
        if len(passes) > 1 and min(passes) > 0 and draft >= 0:
            return DraftCosts(passes, draft)
    costs = measure(model, layer)
    figures.keep(key, asdict(costs))
    return costs


def _drafter(model: Model, layer: MtpLayer | None) -> str:
    """Which layer it is: the fingerprint is the model's alone."""
    tensors = model.checkpoint.mtp
    if layer is None or tensors is None:
        return "lookup"
    return f"mtp {tensors.nbytes} {' '.join(sorted({str(spec) for spec in tensors.specs.values()}))}"


def measure(
    model: Model,
    layer: MtpLayer | None,
    *,
    rows: Sequence[int] = ROWS,
    budget_s: float = BUDGET_S,
    clock: Callable[[], float] = time.perf_counter,
    stop: Callable[[], bool] = lambda: False,
) -> DraftCosts:
    """Time passes of `rows` rows each, and a draft, each once after a first run that compiles; what lies between is
    in between. Three numbers of rows are timed however slow they are, the fourth if `budget_s` seconds allow it, and
    none once `stop` says so; a first run of more than SLOW_S counts itself.
    """
    state = model.new_state()
    hidden, _ = model.hidden_and_last_logits(mx.zeros((1, CONTEXT), mx.uint32), state)
    mx.eval(hidden, state.arrays())
    state.mtp.take(mx.zeros((1, CONTEXT), mx.uint32), hidden)
    began = clock()

    def timed(work: Callable[[], list[mx.array]]) -> float:
        start = clock()
        mx.eval(work())
        if (first := clock() - start) > SLOW_S:
            return first
        start = clock()
        mx.eval(work())
        return clock() - start

    def passed(rows: int) -> list[mx.array]:
        state.begin_drafted()
        _, logits = model.hidden_and_logits(mx.zeros((1, rows), mx.uint32), state)
        state.keep(rows - 1)  # one was not accepted: the others are replayed
        return [logits, *state.arrays()]

    draft = 0.0
    if layer is not None:
        layer.catch_up(state.mtp)
        token = mx.zeros((1,), mx.uint32)
        draft = timed(lambda: layer.draft_logits(token, 1, model.config.vocab_size, state.mtp))
    timings: dict[int, float] = {}
    for number in rows:
        slowest = max(timings.values(), default=0.0)
        if stop() or (len(timings) >= LEAST_TIMED and clock() - began + 2 * slowest >= budget_s):
            break
        timings[number] = timed(partial(passed, number))
    return DraftCosts(tuple(between(timings)), draft)


def between(timings: Mapping[int, float]) -> list[float]:
    """Seconds of 1, 2, ... rows up to the most that were timed, on straight lines between those that were."""
    most = max(timings, default=0)
    return [float(np.interp(rows, list(timings), list(timings.values()))) for rows in range(1, most + 1)]
