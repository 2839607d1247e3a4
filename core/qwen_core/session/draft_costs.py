"""What a pass of several rows and a draft cost on this machine: measured once a model, in less than a second."""

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from qwen_core.device.backend import mx
from qwen_core.errors import QwenError
from qwen_core.files import json_text, read_json_object, write_private
from qwen_core.model.model import Model
from qwen_core.model.mtp import MtpLayer
from qwen_core.session.draft_count import MOST_DRAFTS

CONTEXT = 32
"""Tokens in the state while passes are measured: weights are what a pass costs, not a short context."""
BUDGET_S = 0.9
MAX_BYTES = 1 << 20


@dataclass(frozen=True)
class DraftCosts:
    """Seconds of a pass of 1, 2, ... rows, as many as were measured, and of one draft."""

    passes: tuple[float, ...]
    draft: float


def draft_costs(model: Model, layer: MtpLayer | None, folder: str, fingerprint: str) -> DraftCosts:
    """The costs for `model`, from `folder` where they were kept for its fingerprint, compute type and MLX's version."""
    key = f"{fingerprint} {model.dtype} {version('mlx')} {'mtp' if layer else 'lookup'}"
    file = Path(folder) / "draft-costs.json" if folder and fingerprint else None
    kept = _kept(file)
    with suppress(KeyError, TypeError, ValueError):
        if passes := tuple(map(float, kept[key]["passes"])):
            return DraftCosts(passes, float(kept[key]["draft"]))
    costs = measure(model, layer)
    if file is not None:
        with suppress(OSError):
            write_private(file, json_text({**kept, key: asdict(costs)}).encode())
    return costs


def _kept(file: Path | None) -> dict[str, Any]:
    """What the file holds; nothing where it is missing or damaged."""
    try:
        return read_json_object(file, MAX_BYTES) if file is not None else {}
    except QwenError:
        return {}


def measure(
    model: Model,
    layer: MtpLayer | None,
    *,
    budget_s: float = BUDGET_S,
    clock: Callable[[], float] = time.perf_counter,
    stop: Callable[[], bool] = lambda: False,
) -> DraftCosts:
    """Time a pass of each number of rows, and a draft, each once after a first run that compiles; at least one row,
    and no more rows than `budget_s` seconds allow, or until `stop` says so.
    """
    state = model.new_state()
    hidden, _ = model.hidden_and_last_logits(mx.zeros((1, CONTEXT), mx.uint32), state)
    mx.eval(hidden, state.arrays())
    state.mtp.take(mx.zeros((1, CONTEXT), mx.uint32), hidden)
    began = clock()

    def timed(work: Callable[[], list[mx.array]]) -> float:
        mx.eval(work())
        start = clock()
        mx.eval(work())
        return clock() - start

    def passed(rows: int) -> list[mx.array]:
        state.begin_drafted()
        _, logits = model.hidden_and_logits(mx.zeros((1, rows), mx.uint32), state)
        state.keep(0)
        return [logits]

    draft = 0.0
    if layer is not None:
        layer.catch_up(state.mtp)
        token = mx.zeros((1,), mx.uint32)
        draft = timed(lambda: layer.draft_logits(token, 1, model.config.vocab_size, state.mtp))
    passes: list[float] = []
    while len(passes) <= MOST_DRAFTS and (not passes or clock() - began + 2 * passes[-1] < budget_s) and not stop():
        passes.append(timed(partial(passed, len(passes) + 1)))
    return DraftCosts(tuple(passes), draft)
