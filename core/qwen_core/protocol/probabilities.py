"""How sure a model was of each token: figures that come from the device with the tokens, packed. Plain values.

Everything is in nats: natural logarithms of probabilities, and the entropy of a step, -sum p ln p over the vocabulary.
A probability is the model's own, of the softmax over all its logits, before penalties, temperature and filters; the one
after them is `drawn_logprob`.
"""

import heapq
import math
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

MOST_TOP = 20
"""Most alternatives that are kept of a token."""
LENS_TOP = 8
"""Alternatives that are kept of the tokens of an answer."""
_WORD = 4
_FIXED = 4  # words of a row before its alternatives


@dataclass(frozen=True)
class TokenProbability:
    """One step. `rank`: 1 for the likeliest token, as many more as are likelier. `drawn_logprob`: with which it was
    drawn, after penalties, temperature and filters; None where it was not drawn (a text that was read, a block of
    reasoning that was closed). `top`: the likeliest tokens as (id, logprob), likeliest first, ties by the lower id.
    """

    logprob: float
    drawn_logprob: float | None
    entropy: float
    rank: int
    top: tuple[tuple[int, float], ...]


@dataclass(frozen=True)
class Probabilities:
    """The steps of a run of tokens, `top` alternatives each.

    `data`: a row of 32-bit little-endian words for each: logprob, drawn logprob (NaN: not drawn), entropy (float32),
    rank, the alternatives' ids (uint32), their logprobs (float32).
    """

    top: int
    data: bytes = b""

    @property
    def row_bytes(self) -> int:
        return row_words(self.top) * _WORD

    def __len__(self) -> int:
        return len(self.data) // self.row_bytes

    def __getitem__(self, index: int) -> TokenProbability:
        """The step of the token `index`, which may count from the end."""
        if not -len(self) <= index < len(self):
            raise IndexError(f"there are {len(self)} tokens")
        begin = index % len(self) * self.row_bytes
        logprob, drawn, entropy, rank, *rest = struct.unpack_from(f"<3fI{self.top}I{self.top}f", self.data, begin)
        top = tuple(zip(rest[: self.top], rest[self.top :], strict=True))
        return TokenProbability(logprob, None if math.isnan(drawn) else drawn, entropy, rank, top)

    def __iter__(self) -> Iterator[TokenProbability]:
        return (self[index] for index in range(len(self)))

    def logprobs(self) -> Sequence[float]:
        """The log-probability of every token."""
        return self._column(0)

    def entropies(self) -> Sequence[float]:
        """The entropy of every step."""
        return self._column(2)

    def least_likely(self, count: int) -> list[int]:
        """The places of the `count` most surprising tokens, the most surprising first."""
        logprobs = self.logprobs()
        return heapq.nsmallest(count, range(len(self)), key=logprobs.__getitem__)

    def most_uncertain(self, count: int) -> list[int]:
        """The places of the `count` steps of highest entropy, the highest first."""
        entropies = self.entropies()
        return heapq.nlargest(count, range(len(self)), key=entropies.__getitem__)

    def _column(self, word: int) -> Sequence[float]:
        pattern = f"<{word * _WORD}xf{self.row_bytes - (word + 1) * _WORD}x"
        return [value for (value,) in struct.iter_unpack(pattern, self.data)]


def together(parts: Sequence[Probabilities]) -> Probabilities | None:
    """Those of all parts, one after the other, which keep as many alternatives each; None without any."""
    return Probabilities(parts[0].top, b"".join(part.data for part in parts)) if parts else None


def row_words(top: int) -> int:
    """32-bit words that one token has with `top` alternatives."""
    return _FIXED + 2 * top


def perplexity(logprobs: Sequence[float]) -> float | None:
    """exp of the mean surprise of the tokens; None without any, inf where that is no number of this machine."""
    if not logprobs:
        return None
    mean = -math.fsum(logprobs) / len(logprobs)
    return math.exp(mean) if mean < 700 else math.inf


def bits_per_byte(logprobs: Sequence[float], nbytes: int | None) -> float | None:
    """Bits that predicting takes a byte of the text that these tokens write; None where that has none."""
    return -math.fsum(logprobs) / math.log(2) / nbytes if nbytes else None
