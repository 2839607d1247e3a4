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
from typing import Any

from qwen_core.device.backend import mx
from qwen_core.protocol.events import GenerationSettings
from qwen_core.settings.kinds import checked
from qwen_core.settings.ranges import SAMPLING
from qwen_core.settings.sampling_values import GENERATION_CONFIG, sampling_values

_BLOCK = 128
"""Top-k looks at block maxima first. About the root of 248,320 / 20: both stages sort some 2,000 values."""


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


def largest(logits: mx.array, count: int) -> tuple[mx.array, mx.array]:
    """The `count` largest of logits [1, V], float32, in descending order, ties by lower id: (values, ids) [1, count].

    Sorting a whole vocabulary costs more than the rest of a sampler. The wanted tokens lie in the `count` blocks
    with the largest maxima: each block before a token's own holds at least one token that comes before it.
    """
    size = logits.shape[-1]
    blocks = -(-size // _BLOCK)
    if blocks <= 2 * count:
        order = mx.argsort(-logits, axis=-1)[:, :count]
        return mx.take_along_axis(logits, order, axis=-1), order.astype(mx.uint32)
    if size % _BLOCK:
        logits = mx.pad(logits, [(0, 0), (0, blocks * _BLOCK - size)], constant_values=-math.inf)
    table = logits.reshape(blocks, _BLOCK)
    chosen = mx.sort(mx.argsort(-table.max(axis=-1))[:count])  # in order of id again, for ties
    candidates = table[chosen].reshape(1, -1)
    order = mx.argsort(-candidates, axis=-1)[:, :count]
    ids = chosen[order // _BLOCK] * _BLOCK + order % _BLOCK
    return mx.take_along_axis(candidates, order, axis=-1), ids.astype(mx.uint32)


def filtered(logits: mx.array, parameters: SamplingParameters) -> tuple[mx.array, mx.array]:
    """What is left to draw from: (x, ids) [1, n], x after temperature, -inf where a filter dropped the token.

    `logits` [1, V] float32; temperature must be above 0.
    """
    size = logits.shape[-1]
    kept = min(parameters.top_k or size, size)
    if kept < size or parameters.top_p < 1.0:
        values, ids = largest(logits, kept)
        top = values[:, :1]
    else:
        values, ids = logits, mx.arange(size, dtype=mx.uint32)[None]
        top = values.max(axis=-1, keepdims=True)
    # Relative to the largest, so that a temperature near 0 gives -inf and never inf - inf.
    x = (values - top) / parameters.temperature
    dropped = mx.array(False)
    if parameters.top_p < 1.0:
        probabilities = mx.softmax(x, axis=-1, precise=True)
        before = mx.cumsum(probabilities, axis=-1, inclusive=False)
        first = mx.arange(kept) == 0
        dropped = (before >= parameters.top_p) & ~first
    if parameters.min_p > 0.0:
        dropped = dropped | (x < math.log(parameters.min_p))
    if parameters.top_p < 1.0 or parameters.min_p > 0.0:
        x = mx.where(dropped, -math.inf, x)
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
        seed = secrets.randbits(63) if parameters.seed is None else parameters.seed
        self._key = mx.random.key(seed)
        counting = parameters.presence_penalty != 0.0 or parameters.frequency_penalty != 0.0
        self._counts = mx.zeros((1, self.limit), mx.float32) if counting else None
        repeating = parameters.repetition_penalty != 1.0
        self._seen = mx.zeros((1, self.limit), mx.bool_) if repeating else None

    def note_prompt(self, ids: Sequence[int]) -> None:
        """The prompt, for the repetition penalty."""
        seen = sorted({token for token in ids if 0 <= token < self.limit})
        if self._seen is not None and seen:
            self._seen = mx.put_along_axis(self._seen, mx.array([seen]), mx.array(True), axis=1)

    def mark(self) -> "SamplerMark":
        """Where this sampler is, to go back to."""
        return SamplerMark(self._key, self._counts, self._seen)

    def back_to(self, mark: "SamplerMark") -> None:
        """As if nothing had been drawn since `mark`."""
        self._key, self._counts, self._seen = mark.key, mark.counts, mark.seen

    def __call__(self, logits: mx.array) -> mx.array:
        """The next token for logits [1, vocab], as a lazy uint32 array [1]; it counts as drawn at once."""
        logits = self._penalised(logits[:, : self.limit])
        if self.parameters.temperature == 0.0 or self.parameters.top_k == 1:
            token = mx.argmax(logits, axis=-1)
        else:
            x, ids = filtered(logits.astype(mx.float32), self.parameters)
            self._key, key = mx.random.split(self._key)
            choice = mx.random.categorical(x, key=key)
            token = mx.take_along_axis(ids, choice[:, None], axis=-1)[:, 0]
        self._note(token)
        return token

    def _penalised(self, logits: mx.array) -> mx.array:
        if self._seen is not None:
            penalty = self.parameters.repetition_penalty
            logits = logits.astype(mx.float32)
            logits = mx.where(self._seen, mx.where(logits > 0, logits / penalty, logits * penalty), logits)
        if self._counts is not None:
            lowered = self.parameters.frequency_penalty * self._counts
            lowered = lowered + self.parameters.presence_penalty * (self._counts > 0)
            logits = logits.astype(mx.float32) - lowered
        return logits

    def _note(self, token: mx.array) -> None:
        if self._counts is not None:
            self._counts = self._counts.at[0, token].add(1.0)
        if self._seen is not None:
            self._seen = self._seen | (mx.arange(self.limit) == token)
