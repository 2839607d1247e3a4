"""The memory that a prompt will take, foreseen before any of it is read: one line in place of a machine that fails in
the middle of it.

Sizes follow from the config (checkpoint/footprint.py); what a machine has is device/'s.
"""

from dataclasses import dataclass

from qwen_core.checkpoint.config import ModelConfig
from qwen_core.checkpoint.directory import Checkpoint
from qwen_core.checkpoint.footprint import row_bytes, state_bytes, step_bytes
from qwen_core.device.backend import default_dtype, is_gpu, is_metal
from qwen_core.device.machine import fused_rows, memory_limit
from qwen_core.errors import CapacityError, quote
from qwen_core.figures import decimal_size
from qwen_core.model.weights import DTYPES, plan_weights
from qwen_core.protocol.ranks import free_memory, without_room
from qwen_core.session.generate import most_scores, most_tokens
from qwen_core.session.loading import LoadedModel


@dataclass(frozen=True)
class Foresight:
    """Bytes in memory when the last of `tokens` is read: weights, the state with its keys and values, and what one
    prefill step takes for a moment."""

    tokens: int
    weights: int
    state: int
    step: int

    @property
    def total(self) -> int:
        return self.weights + self.state + self.step


def foresee(loaded: LoadedModel, tokens: int, new: int) -> Foresight:
    """For a prompt of `tokens`, of which `new` are to be read."""
    model, config = loaded.model, loaded.model.config
    drafting = loaded.drafters.layer_bytes
    size = DTYPES[model.dtype].size
    state = sum(state_bytes(config, tokens, size)) + (tokens * row_bytes(config, size) if drafting else 0)
    return Foresight(tokens, model.tiers.total + drafting, state, _step(config, model.dtype, tokens, new))


def foresee_loading(checkpoint: Checkpoint, dtype: str | None, tokens: int) -> Foresight:
    """For a model that is to be loaded, and to read a prompt of `tokens`, without drafts. Raises SettingsError."""
    dtype, config = dtype or default_dtype(), checkpoint.config
    weights = sum(plan.nbytes for plan in plan_weights(checkpoint, dtype))
    state = sum(state_bytes(config, tokens, DTYPES[dtype].size))
    return Foresight(tokens, weights, state, _step(config, dtype, tokens, tokens))


def _step(config: ModelConfig, dtype: str, tokens: int, new: int) -> int:
    """Bytes of a prefill step of the `new` ones of `tokens`."""
    fused = fused_rows(config.head_dim, dtype)
    scores = most_scores(config.num_attention_heads, tokens, new, fused)
    return step_bytes(config, max(1, most_tokens(new, fused)), scores, tokens, DTYPES[dtype].size, gpu=is_gpu())


def check_fits(foreseen: Foresight, loaded: LoadedModel, held: int) -> int:
    """How many bytes are left for snapshots beside it; `held` bytes of the foreseen state are in memory already.

    Raises CapacityError where the machine has not enough for it, or has not so much free now. A prompt that the context
    has no room for is not read at all.
    """
    summary = loaded.summary
    limit = summary.recommended_bytes or summary.memory_bytes
    if foreseen.tokens >= summary.context_limit or not limit:
        return limit
    if foreseen.weights > limit:  # more than Metal recommends has been loaded: the machine itself is the limit
        limit = summary.memory_bytes
    left = limit - foreseen.total
    if left < 0:
        raise CapacityError(f"{_needs(foreseen)}, but this machine has {decimal_size(limit)}; {_ADVICE}")
    if (rank := without_room(summary, foreseen.total)) is not None:
        raise CapacityError(
            f"{_needs(foreseen)} on every rank, more than rank {rank.rank} ({quote(rank.host)}) has for it; {_ADVICE}"
        )
    if summary.hosts and (least := free_memory(summary, foreseen.total)) is not None:
        left = min(left, least)  # their states are as large, and their snapshots
    growth = foreseen.state + foreseen.step - held
    if not is_metal() and growth > (free := memory_limit()):
        raise CapacityError(
            f"{_needs(foreseen)}, {decimal_size(growth)} more than are taken, but {decimal_size(free)} are free here; "
            f"close other programs, or {_ADVICE}"
        )
    return left


_ADVICE = "send less, or begin a new conversation"


def _needs(foreseen: Foresight) -> str:
    parts = f"{decimal_size(foreseen.weights)} of weights, {decimal_size(foreseen.state)} for the context"
    return (
        f"a prompt of {foreseen.tokens:,} tokens needs {decimal_size(foreseen.total)} of memory ({parts}, "
        f"{decimal_size(foreseen.step)} while it is read)"
    )
