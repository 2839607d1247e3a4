"""From logits to the next token, on the device: settings, their defaults, and the sampler.

Order: repetition, presence and frequency penalties on the raw logits; temperature; top-k; top-p; min-p; one draw.
Definitions, over the values x after temperature, ties always in favour of the lower id:
  top-k   the k largest x. 0 keeps all.
  top-p   of those, in descending order, each token before which less than top_p of the probability (softmax over
          what top-k kept) has been taken: the smallest set that reaches top_p. Never empty.
  min-p   of those, each token at least min_p times as probable as the most probable one.
Ids from `vocab_limit` on are never drawn: the embedding has more rows than the tokenizer has tokens.
"""

import math
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from qwen_core.device.backend import elementwise_on_gpu, mx
from qwen_core.protocol.events import GenerationSettings
from qwen_core.settings.kinds import checked
from qwen_core.settings.ranges import SAMPLING
from qwen_core.settings.sampling_values import GENERATION_CONFIG, sampling_values

_BLOCK = 128
"""Top-k looks at the best of each block first. About the root of 248,320 / 20: both stages sort some 2,000 values."""
_LEAST_SHARE = 1e-30
"""Of a top_p: what comes before the first token, nothing, is less."""


@dataclass(frozen=True)
class SamplingParameters:
    """Settings of a sampler, complete and in range, by default all off. `seed` None draws a fresh one."""

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    repetition_penalty: float = 1.0
    seed: int | None = None


def resolve_sampling(
    settings: GenerationSettings, generation_config: Mapping[str, Any], thinking: bool
) -> SamplingParameters:
    """What to sample with, as `sampling_values` has it. Raises SettingsError naming the setting, its value and where it
    came from when one is out of range.
    """
    found = sampling_values(settings, generation_config, thinking)
    values = {
        name: checked(
            f"{GENERATION_CONFIG}: {name}" if entry.source == GENERATION_CONFIG else name, entry.value, SAMPLING[name]
        )
        for name, entry in found.items()
        if entry.value is not None
    }
    return SamplingParameters(**values)


@elementwise_on_gpu
def _repeated(logits: mx.array, seen: mx.array, penalty: mx.array) -> mx.array:
    logits = logits.astype(mx.float32)
    return mx.where(seen, mx.where(logits > 0, logits / penalty, logits * penalty), logits)


@elementwise_on_gpu
def _counted(logits: mx.array, counts: mx.array, frequency: mx.array, presence: mx.array) -> mx.array:
    return logits.astype(mx.float32) - (frequency * counts + mx.where(counts > 0, presence, 0.0))


@elementwise_on_gpu
def _lowered(logits: mx.array, allowed: mx.array) -> mx.array:
    return mx.where(allowed, -logits.astype(mx.float32), math.inf)


@elementwise_on_gpu
def _ids(blocks: mx.array, within: mx.array) -> mx.array:
    return blocks * _BLOCK + within


@elementwise_on_gpu
def _cooled(lowered: mx.array, least: mx.array, temperature: mx.array) -> mx.array:
    # Relative to the largest, so that a temperature near 0 gives -inf and never inf - inf.
    return (least - lowered) / temperature


@elementwise_on_gpu
def _kept(x: mx.array, before: mx.array, top_p: mx.array) -> mx.array:
    return mx.where(before < top_p, x, -math.inf)


@elementwise_on_gpu
def _likely(x: mx.array, least: mx.array) -> mx.array:
    return mx.where(x < least, -math.inf, x)


@elementwise_on_gpu
def _raced(x: mx.array, bits: mx.array) -> mx.array:
    # 23 of the bits are a float32 exactly, and never 0 or 1. The largest of x - log(-log(u)) is a draw by softmax(x).
    uniform = ((bits >> 9).astype(mx.float32) + 0.5) * 2.0**-23
    return x - mx.log(-mx.log(uniform))


@cache
def _places() -> mx.array:
    return mx.array(list(range(_BLOCK)), mx.uint32)


def least(x: mx.array, count: int) -> tuple[mx.array, mx.array]:
    """The `count` least of x [1, V], float32, in ascending order, ties by lower id: (values, ids) [1, count].

    Sorting a whole vocabulary costs more than the rest of a sampler. The wanted tokens lie in the `count` blocks
    with the least minima: each block before a token's own holds at least one token that comes before it.
    """
    size = x.shape[-1]
    blocks = -(-size // _BLOCK)
    if blocks <= 2 * count:
        order = mx.argsort(x, axis=-1)[:, :count]
        return mx.take_along_axis(x, order, axis=-1), order.astype(mx.uint32)
    if size % _BLOCK:
        x = mx.pad(x, [(0, 0), (0, blocks * _BLOCK - size)], constant_values=math.inf)
    table = x.reshape(blocks, _BLOCK)
    chosen = mx.sort(mx.argsort(table.min(axis=-1))[:count])  # in order of id again, for ties
    candidates = table[chosen].reshape(1, -1)
    order = mx.argsort(candidates, axis=-1)[:, :count]
    ids = _ids(chosen[:, None], _places()).reshape(1, -1)
    return mx.take_along_axis(candidates, order, axis=-1), mx.take_along_axis(ids, order, axis=-1)


def filtered(lowered: mx.array, parameters: SamplingParameters) -> tuple[mx.array, mx.array]:
    """What is left to draw from: (x, ids) [1, n], x after temperature, -inf where a filter dropped the token.

    `lowered` [1, V] float32 are the logits times -1, inf where an id is none of the tokenizer's; temperature must be
    above 0.
    """
    size = lowered.shape[-1]
    kept = min(parameters.top_k or size, size)
    if kept < size or parameters.top_p < 1.0:
        values, ids = least(lowered, kept)
        first = values[:, :1]
    else:
        values, ids = lowered, mx.arange(size, dtype=mx.uint32)[None]
        first = values.min(axis=-1, keepdims=True)
    x = _cooled(values, first, mx.array(parameters.temperature))
    if parameters.top_p < 1.0:
        before = mx.cumsum(mx.softmax(x, axis=-1, precise=True), axis=-1, inclusive=False)
        x = _kept(x, before, mx.array(max(parameters.top_p, _LEAST_SHARE)))
    if parameters.min_p > 0.0:
        x = _likely(x, mx.array(math.log(parameters.min_p)))
    return x, ids


@dataclass(frozen=True, eq=False)
class SamplerMark:
    """A point of a `Sampler`: its random key, and what it counts of drawn tokens. Arrays are never written in place."""

    key: mx.array
    counts: mx.array | None
    seen: mx.array | None


class Sampler:
    """Draws tokens with one set of parameters, remembering what the penalties need. One sampler for one answer.

    Presence and frequency penalties count the tokens this sampler drew; the repetition penalty looks at those and at
    the prompt (`note_prompt`), as in transformers. Its random numbers are its own: equal seeds draw equal tokens from
    equal logits, whatever else uses MLX's generator.
    """

    def __init__(self, parameters: SamplingParameters, vocab_limit: int, vocab_size: int) -> None:
        """`vocab_limit`: ids from there on are never drawn; `vocab_size`: width of the logits."""
        self.parameters = parameters
        self.limit = min(vocab_limit, vocab_size)
        self._allowed = mx.arange(vocab_size)[None] < self.limit
        seed = secrets.randbits(63) if parameters.seed is None else parameters.seed
        self._key = mx.random.key(seed)
        counting = parameters.presence_penalty != 0.0 or parameters.frequency_penalty != 0.0
        self._counts = mx.zeros((1, vocab_size), mx.float32) if counting else None
        repeating = parameters.repetition_penalty != 1.0
        self._seen = mx.zeros((1, vocab_size), mx.bool_) if repeating else None
        self._choice: tuple[mx.array, mx.array] | None = None  # what was drawn from, [1, n], and which of it

    def note_prompt(self, ids: Sequence[int], answer: Sequence[int] = ()) -> None:
        """The prompt, for the repetition penalty; `answer`: of it, what counts as if it had been drawn here."""
        seen = sorted({token for token in ids if 0 <= token < self.limit})
        if self._seen is not None and seen:
            self._seen = mx.put_along_axis(self._seen, mx.array([seen]), mx.array(True), axis=1)
        drawn = [token for token in answer if 0 <= token < self.limit]
        if self._counts is not None and drawn:
            self._counts = self._counts.at[0, mx.array(drawn)].add(1.0)

    def mark(self) -> "SamplerMark":
        """Where this sampler is, to go back to."""
        return SamplerMark(self._key, self._counts, self._seen)

    def back_to(self, mark: "SamplerMark") -> None:
        """As if nothing had been drawn since `mark`."""
        self._key, self._counts, self._seen = mark.key, mark.counts, mark.seen

    def __call__(self, logits: mx.array) -> mx.array:
        """The next token for logits [1, vocab], as a lazy uint32 array [1]; it counts as drawn at once."""
        logits = self._penalised(logits)
        if self.parameters.temperature == 0.0 or self.parameters.top_k == 1:
            token, self._choice = mx.argmax(logits[:, : self.limit], axis=-1), None
        else:
            x, ids = filtered(_lowered(logits, self._allowed), self.parameters)
            choice = mx.argmax(_raced(x, self._words(x.shape[-1])), axis=-1)
            token, self._choice = mx.take_along_axis(ids, choice[:, None], axis=-1)[:, 0], (x, choice)
        self._note(token)
        return token

    def drawn_logprob(self) -> mx.array:
        """The logarithm of the probability with which the last token was drawn, a lazy float32 array [1]: 0 where it
        was certain. Computed only where somebody reads it.
        """
        if self._choice is None:
            return mx.zeros(1)
        x, choice = self._choice
        return mx.take_along_axis(x, choice[:, None], axis=-1)[:, 0] - mx.logsumexp(x, axis=-1)

    def _words(self, count: int) -> mx.array:
        """`count` random words of 32 bits, [1, count], and another key. MLX gives them as keys, of two words each."""
        keys = mx.random.split(self._key, 1 + (count + 1) // 2)
        self._key = keys[0]
        return keys[1:].reshape(1, -1)[:, :count]

    def _penalised(self, logits: mx.array) -> mx.array:
        asked = self.parameters
        if self._seen is not None:
            logits = _repeated(logits, self._seen, mx.array(asked.repetition_penalty))
        if self._counts is not None:
            penalties = mx.array(asked.frequency_penalty), mx.array(asked.presence_penalty)
            logits = _counted(logits, self._counts, *penalties)
        return logits

    def _note(self, token: mx.array) -> None:
        if self._counts is not None:
            self._counts = self._counts.at[0, token].add(1.0)
        if self._seen is not None:
            self._seen = self._seen | (mx.arange(self._seen.shape[1]) == token)
