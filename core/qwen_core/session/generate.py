"""Token ids in, token ids out: prefill in chunks, decode one step ahead. Knows nothing of text.

The rule that everything above relies on: what was yielded is exactly what the state holds, at any moment in which
the caller has control. Its `logits` are those behind the last token then, so that decoding may go on from there.
"""

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import cast

from qwen_core.device.backend import mx
from qwen_core.device.machine import fused_rows
from qwen_core.errors import QwenError
from qwen_core.model.model import Model
from qwen_core.model.state import State
from qwen_core.session.drafting import Drafting
from qwen_core.session.expert_tally import ExpertTally
from qwen_core.session.lens import Draw, Lens, check, draw
from qwen_core.session.sampling import Sampler

CHUNK = 512
"""Most tokens of one prefill step where attention is not fused. Of 2,048 a step of a 27B takes some seconds on a Mac:
so long a stop would wait, and nobody would see how far it is. Reading the weights once more for 512 tokens is some 2 %
of computing them."""
LEAST_CHUNK = 128
"""Fewer would read all weights too often."""
SCORE_BUDGET = 1 << 29
"""Most attention scores (heads x chunk x context) of one layer and step: 1 GiB in bfloat16."""


@dataclass(frozen=True)
class PrefillStep:
    """`ids` are in the state now. `logits` [1, vocab] come with the last step."""

    ids: Sequence[int]
    logits: mx.array | None = None


def step_size(heads: int, context: int, left: int, chunk: int = CHUNK, fused: int | None = None) -> int:
    """Tokens of the next of the `left` behind `context` to be fed in one step.

    `fused` is `fused_rows`: so many or, at the end, up to twice as many are attended to without scores in memory.
    """
    if fused is not None and left >= fused:
        return left if left < 2 * fused else fused
    return min(left, chunk_size(heads, context, chunk))


def chunk_size(heads: int, context: int, chunk: int = CHUNK) -> int:
    """The same where attention is not fused and its scores are in memory: fewer as they grow."""
    rows = SCORE_BUDGET // (heads * (context + chunk))
    return max(min(chunk, LEAST_CHUNK), min(chunk, rows // LEAST_CHUNK * LEAST_CHUNK))


def most_tokens(new: int, fused: int | None = None) -> int:
    """Tokens of the largest step that `step_size` makes of `new` tokens."""
    return min(new, CHUNK if fused is None or new < fused else 2 * fused - 1)


def most_scores(heads: int, context: int, new: int, fused: int | None = None) -> int:
    """Attention scores of the largest step that `step_size` makes of `new` tokens up to `context` in all."""
    if fused is not None and new >= fused:
        return 0
    least, most = (heads * min(new, tokens) * context for tokens in (LEAST_CHUNK, CHUNK))
    return min(most, max(SCORE_BUDGET, least))


def check_ids(ids: Sequence[int], vocab: int) -> None:
    """Raise QwenError for an id that is outside the vocabulary."""
    for token in ids:
        if not 0 <= token < vocab:
            raise QwenError(f"token id {token} is outside the model's vocabulary of {vocab:,}; use 0 to {vocab - 1}")


def prefill(
    model: Model,
    state: State,
    ids: Sequence[int],
    *,
    stop: Callable[[], bool] | None = None,
    chunk: int | None = None,
    drafting: Drafting | None = None,
) -> Generator[PrefillStep, None, None]:
    """Feed `ids` step by step, yielding after each. The last step carries the logits of the last token. `chunk` is the
    most tokens of a step, by default what suits the device.

    `stop` is asked before each chunk; once it is true the iterator ends, and what was yielded is in the state. So
    does closing it. `drafting` is told of every token. Raises QwenError, feeding nothing, if an id is none of the
    model's.
    """
    check_ids(ids, model.config.vocab_size)
    fused = fused_rows(model.config.head_dim, model.dtype) if chunk is None else None
    state.reserve(len(ids))
    start = 0
    while start < len(ids) and not (stop is not None and stop()):
        end = start + step_size(model.config.num_attention_heads, state.length, len(ids) - start, chunk or CHUNK, fused)
        part = list(ids[start:end])
        logits = None
        fed = mx.array([part])
        if drafting is not None and drafting.wants_hidden:
            hidden, logits = model.hidden_and_last_logits(fed, state)
            drafting.fed(part, hidden)
        elif end < len(ids):
            model.feed(fed, state)
        else:
            logits = model.last_logits(fed, state)
        if drafting is not None and not drafting.wants_hidden:
            drafting.fed(part, None)
        if end < len(ids):
            logits = None
        state.logits = logits
        mx.eval([] if logits is None else [logits], state.arrays())
        yield PrefillStep(part, logits)
        start = end


def decode(
    model: Model,
    state: State,
    logits: mx.array,
    sampler: Sampler,
    *,
    limit: int,
    drafting: Drafting | None = None,
    tally: ExpertTally | None = None,
    lens: Lens | None = None,
    first: int = 1,
) -> Generator[int, None, None]:
    """Draw up to `limit` tokens after `logits` [1, vocab], each in the state when it is yielded.

    `lens` has the figures of the token that is yielded. Raises QwenError where logits are not finite, naming the token:
    `first` is the number of the first one.

    Without drafts, one step ahead: the step that follows a token is scheduled before the token itself is read, the
    one time per token that the host waits for the device. The token drawn from that step is fed only when the next
    one is asked for; closing the iterator at a token leaves the state, and the sampler, at that token.

    With drafts, one pass feeds the token and what `drafting` proposes after it, and row i of its logits draws what
    follows the i-th of them, as without drafts. Drafts count as long as they are what was drawn ("sample and match"):
    what is yielded is drawn from the model's own distribution, whatever the drafts are.
    """
    drawn = draw(sampler, logits, lens)
    mx.async_eval(drawn.token, drawn.figures)
    while limit > 0:
        drafts = drafting.draft(drawn.token, limit - 1) if drafting is not None and limit > 1 else []
        if drafting is not None and drafts:
            a_pass = _drafted_pass(model, state, sampler, drawn, drafts, drafting, limit, tally, lens, first)
            drawn, given = yield from a_pass
            limit, first = limit - given, first + given
            continue
        upcoming = drawn
        if drafting is not None and drafting.wants_hidden:
            hidden, logits = model.hidden_and_last_logits(drawn.token[None], state)
        else:
            hidden, logits = None, model.last_logits(drawn.token[None], state)
        beside = tally.schedule() if tally is not None else []
        if limit > 1:
            upcoming = draw(sampler, logits, lens)
            mx.async_eval(upcoming.token, upcoming.figures, *beside)
        else:  # the logits too: lazy ones would keep old keys and values alive
            mx.async_eval(logits, state.arrays(), *beside)
        state.logits = logits
        value = read(drawn.token)
        check(drawn, first, lens)
        if tally is not None:
            tally.passed()
        if drafting is not None:
            drafting.passed([value], hidden)
        yield value
        drawn = upcoming
        limit, first = limit - 1, first + 1


def _drafted_pass(
    model: Model,
    state: State,
    sampler: Sampler,
    token: Draw,
    drafts: Sequence[mx.array],
    drafting: Drafting,
    limit: int,
    tally: ExpertTally | None,
    lens: Lens | None,
    first: int,
) -> Generator[int, None, tuple[Draw, int]]:
    """Feed `token`, the answer's `first`, and `drafts`, fewer than `limit` in all; yield those that count, each in the
    state by then.

    Returns the token drawn after them, not fed, and how many counted.
    """
    rows = [token.token, *drafts]
    state.begin_drafted()
    hidden, logits = model.hidden_and_logits(mx.concatenate(rows)[None], state)
    beside = tally.schedule() if tally is not None else []
    marks, drawn = [sampler.mark()], [token]
    for row in range(len(rows)):
        drawn.append(draw(sampler, logits[:, row], lens))
        marks.append(sampler.mark())
    # The one wait of the pass.
    mx.async_eval(*beside, *(each.figures for each in drawn))
    values = cast(list[int], mx.concatenate([*rows, *(each.token for each in drawn[1:])]).tolist())
    fed, new = values[: len(rows)], values[len(rows) :]
    accepted = next((n for n in range(len(drafts)) if new[n] != fed[n + 1]), len(drafts))
    for row in range(accepted + 1):
        check(drawn[row], first + row, lens)
        state.keep(row + 1)
        state.logits = logits[:, row]
        if tally is not None:
            tally.drafted(row)
        # Without drafts the token after the last one would not have been drawn.
        sampler.back_to(marks[row + 1] if row + 1 < limit else marks[row])
        drafting.fed(fed[row : row + 1], hidden[:, row : row + 1], drafted=row > 0)
        if row == 0:
            drafting.counts.add(len(drafts), accepted)
        yield fed[row]
    return drawn[accepted + 1], accepted + 1


def read(token: mx.array) -> int:
    """The host's one wait per token."""
    return cast(int, token.item())
