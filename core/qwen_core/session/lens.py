"""How sure the model is of each token it draws: computed in the step that draws, read with the token.

The rows are those of protocol/probabilities.py. Nothing sorts a vocabulary: the likeliest tokens come from `largest`,
a token's rank is how many logits are greater.
"""

import math
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from qwen_core.device.backend import mx
from qwen_core.errors import QwenError
from qwen_core.protocol.probabilities import Probabilities
from qwen_core.session.sampling import Sampler

_BLOCK = 128
_EXPONENT = 0x7F800000  # all ones in a float32 that is no finite number


def largest(logits: mx.array, count: int) -> tuple[mx.array, mx.array]:
    """The `count` largest of each row of logits [R, V], float32, in descending order, ties by lower id: (values, ids)
    [R, count].

    By blocks, as `sampling.least` finds them in one row.
    """
    rows, size = logits.shape
    blocks = -(-size // _BLOCK)
    if blocks <= 2 * count:
        order = mx.argsort(-logits, axis=-1)[:, :count]
        return mx.take_along_axis(logits, order, axis=-1), order.astype(mx.uint32)
    if size % _BLOCK:
        logits = mx.pad(logits, [(0, 0), (0, blocks * _BLOCK - size)], constant_values=-math.inf)
    table = logits.reshape(rows, blocks, _BLOCK)
    # In order of id again, for ties.
    chosen = mx.sort(mx.argsort(-table.max(axis=-1), axis=-1)[:, :count], axis=-1)
    candidates = mx.take_along_axis(table, chosen[:, :, None], axis=1).reshape(rows, -1)
    order = mx.argsort(-candidates, axis=-1)[:, :count]
    ids = mx.take_along_axis(chosen, order // _BLOCK, axis=-1) * _BLOCK + order % _BLOCK
    return mx.take_along_axis(candidates, order, axis=-1), ids.astype(mx.uint32)


def probability_rows(logits: mx.array, tokens: mx.array, top: int, drawn: mx.array | None = None) -> mx.array:
    """Rows of probabilities.py as a lazy uint32 array [R, words]: of `tokens` [R] by logits [R, V] of their steps.

    `drawn` [R]: the logarithms of the probabilities with which they were drawn.
    """
    logits = logits.astype(mx.float32)
    values, ids = largest(logits, top)
    shifted = logits - values[:, :1]
    weights = mx.exp(shifted)  # once: it is nearly all that this costs on a CPU
    total = weights.sum(axis=-1)
    log_total = mx.log(total)
    entropy = log_total - (weights * shifted).sum(axis=-1) / total
    own = mx.take_along_axis(logits, tokens[:, None].astype(mx.uint32), axis=-1)
    rank = (logits > own).sum(axis=-1).astype(mx.uint32) + 1
    logsumexp = values[:, 0] + log_total
    drawn = mx.full(tokens.shape, float("nan")) if drawn is None else drawn
    figures = mx.stack([own[:, 0] - logsumexp, drawn, entropy], axis=-1)
    return mx.concatenate(
        [figures.view(mx.uint32), rank[:, None], ids, (values - logsumexp[:, None]).view(mx.uint32)], axis=-1
    )


def rows_of(packed: mx.array, top: int, first: int = 1, whose: str = "the model") -> Probabilities:
    """The rows [R, words] as plain values; waits for them. Raises QwenError where one is no number, naming its token,
    of which the first is number `first`, and `whose` it is.
    """
    words = cast(list[list[int]], packed.tolist())
    for number, row in enumerate(words, first):
        _check_row(row, number, whose)
    return Probabilities(top, array("I", [word for row in words for word in row]).tobytes())


@dataclass(frozen=True, eq=False)
class Draw:
    """A token [1] drawn but not read, and `figures`, computed with it: its row [1, words] where a lens asks for that,
    else its logit [1, 1].
    """

    token: mx.array
    figures: mx.array


class Lens:
    """What an answer's tokens are asked for: `top` alternatives each. `last` has the row of the token yielded last."""

    def __init__(self, top: int) -> None:
        self.top = top
        self.last = Probabilities(top)


def draw(sampler: Sampler, logits: mx.array, lens: Lens | None) -> Draw:
    """Draw what follows logits [1, V]."""
    token = sampler(logits)
    if lens is None:
        return Draw(token, mx.take(logits, token, axis=-1))
    return Draw(token, probability_rows(logits, token, lens.top, sampler.drawn_logprob()))


def check(drawn: Draw, number: int, lens: Lens | None) -> None:
    """Read the figures of the answer's `number`-th token, which has been read: they were computed with it.

    Raises QwenError where the logits it was drawn from are not finite.
    """
    if lens is not None:
        lens.last = rows_of(drawn.figures, lens.top, number)
    elif not math.isfinite(cast(float, drawn.figures.item())):
        raise _no_number(number)


def _check_row(row: Sequence[int], number: int, whose: str) -> None:
    """The log-probability and the entropy of the step are no numbers where one of its logits is none."""
    if any(word & _EXPONENT == _EXPONENT for word in (row[0], row[2])):
        raise _no_number(number, whose)


def _no_number(number: int, whose: str = "the model") -> QwenError:
    return QwenError(
        f"{whose} computes no numbers at token {number:,}: its logits are infinite or not a number; "
        "take another compute type (--dtype, /dtype), or a sound copy of its files"
    )
