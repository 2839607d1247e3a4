"""Token ids in, token ids out: prefill in chunks, decode one step ahead. Knows nothing of text.

The rule that everything above relies on: what was yielded is exactly what the state holds, at any moment in which
the caller has control.
"""

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import cast

from qwen_core.device.backend import mx
from qwen_core.errors import QwenError
from qwen_core.model.model import Model
from qwen_core.model.state import State
from qwen_core.session.sampling import Sampler

CHUNK = 512
"""Most tokens of one prefill step. Of 2,048 a step of a 27B takes some seconds on a Mac: so long a stop would wait, and
nobody would see how far it is. Reading the weights once more for 512 tokens is some 2 % of computing them."""
LEAST_CHUNK = 128
"""Fewer would read all weights too often."""
SCORE_BUDGET = 1 << 29
"""Most attention scores (heads x chunk x context) of one layer and step: 1 GiB in bfloat16."""


@dataclass(frozen=True)
class PrefillStep:
    """`ids` are in the state now. `logits` [1, vocab] come with the last step."""

    ids: Sequence[int]
    logits: mx.array | None = None


def chunk_size(heads: int, context: int, chunk: int = CHUNK) -> int:
    """Tokens of the next prefill step behind `context` tokens: fewer as attention scores grow.

    Before M5 attention with heads of 256 is not fused on Metal, so the scores exist in memory.
    """
    rows = SCORE_BUDGET // (heads * (context + chunk))
    return max(min(chunk, LEAST_CHUNK), min(chunk, rows // LEAST_CHUNK * LEAST_CHUNK))


def prefill(
    model: Model,
    state: State,
    ids: Sequence[int],
    *,
    stop: Callable[[], bool] | None = None,
    chunk: int = CHUNK,
) -> Generator[PrefillStep, None, None]:
    """Feed `ids` chunk by chunk, yielding after each. The last step carries the logits of the last token.

    `stop` is asked before each chunk; once it is true the iterator ends, and what was yielded is in the state. So
    does closing it. Raises QwenError, feeding nothing, if an id is none of the model's.
    """
    vocab = model.config.vocab_size
    for token in ids:
        if not 0 <= token < vocab:
            raise QwenError(f"token id {token} is outside the model's vocabulary of {vocab:,}; use 0 to {vocab - 1}")
    start = 0
    while start < len(ids) and not (stop is not None and stop()):
        end = start + chunk_size(model.config.num_attention_heads, state.length, chunk)
        part = list(ids[start:end])
        logits = None
        if end < len(ids):
            model.feed(mx.array([part]), state)
            mx.eval(state.arrays())
        else:
            logits = model.last_logits(mx.array([part]), state)
            mx.eval(logits, state.arrays())
        yield PrefillStep(part, logits)
        start = end


def decode(model: Model, state: State, logits: mx.array, sampler: Sampler, *, limit: int) -> Generator[int, None, None]:
    """Draw up to `limit` tokens after `logits` [1, vocab], each fed to the state before it is yielded.

    One step ahead: the step that follows a token is scheduled before the token itself is read, the one time per
    token that the host waits for the device. The token drawn from that step is fed only when the next one is asked
    for; closing the iterator at a token leaves the state at that token.
    """
    if limit <= 0:
        return
    token = sampler(logits)
    mx.async_eval(token)
    for _ in range(limit - 1):
        upcoming = sampler(model.last_logits(token[None], state))
        mx.async_eval(upcoming)
        yield read(token)
        token = upcoming
    model.feed(token[None], state)
    mx.async_eval(state.arrays())
    yield read(token)


def read(token: mx.array) -> int:
    """The host's one wait per token."""
    return cast(int, token.item())
