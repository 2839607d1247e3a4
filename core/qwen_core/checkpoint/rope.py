"""The rotation of queries and keys by their positions: RoPE's frequencies, and YaRN's for a stretched context.

YaRN (Peng et al. 2023, arXiv:2309.00071) leaves the frequencies alone that turn often within the original length,
divides those that turn less than once there by the factor, and goes from one to the other in between (FORMAT.md,
step 8). Reading the fields is config.py's.
"""

import math
from dataclasses import dataclass

# What the model card names for 262,144 tokens and factor 4, a little less than the product.
_PUBLISHED_FROM, _PUBLISHED_FACTOR, _PUBLISHED_LIMIT = 262_144, 4.0, 1_010_000


@dataclass(frozen=True)
class Yarn:
    """A stretched context: `factor` times the `original` tokens that the model was trained on, a whole number but for
    what some config.json say.

    Frequencies that turn more than `beta_fast` times within the original length stay, those that turn less than
    `beta_slow` times are divided by the factor; `truncate` rounds the ends of the ramp between them outwards.
    `attention_factor` multiplies the rotated part of queries and keys.
    """

    factor: float
    original: float
    attention_factor: float
    beta_fast: float
    beta_slow: float
    truncate: bool

    def limit(self, declared: int) -> int:
        """Tokens that a context may have, where config.json's max_position_embeddings is `declared`: that, if it has
        been raised with the factor, but at most the stretched length or what the model card names for it.
        """
        stretched = int(self.factor * self.original)
        if (self.original, self.factor) == (_PUBLISHED_FROM, _PUBLISHED_FACTOR):
            stretched = _PUBLISHED_LIMIT
        return min(stretched, declared) if declared > self.original else stretched


def attention_factor(factor: float, scale: float = 0.0, scale_all: float = 0.0) -> float:
    """What YaRN multiplies queries and keys with, unless it is given; `scale` and `scale_all` are `mscale` and
    `mscale_all_dim`, which count together only.
    """

    def scaled(by: float) -> float:
        return 0.1 * by * math.log(factor) + 1.0

    return scaled(scale) / scaled(scale_all) if scale and scale_all else scaled(1.0)


def inverse_frequencies(theta: float, rotary_dim: int, yarn: Yarn | None) -> list[float]:
    """Radians a token for each of the `rotary_dim` / 2 pairs."""
    plain = [theta ** (-2 * pair / rotary_dim) for pair in range(rotary_dim // 2)]
    if yarn is None:
        return plain
    low = _pair_that_turns(yarn.beta_fast, theta, rotary_dim, yarn.original)
    high = _pair_that_turns(yarn.beta_slow, theta, rotary_dim, yarn.original)
    if yarn.truncate:
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, rotary_dim - 1)
    width = high - low or 0.001
    shares = [min(max((pair - low) / width, 0.0), 1.0) for pair in range(rotary_dim // 2)]
    return [
        frequency * (1 - share) + frequency / yarn.factor * share
        for frequency, share in zip(plain, shares, strict=True)
    ]


def _pair_that_turns(turns: float, theta: float, rotary_dim: int, length: float) -> float:
    """Which pair, as a real number, turns this often within `length` tokens."""
    return rotary_dim * (math.log(length) - math.log(turns) - math.log(2 * math.pi)) / (2 * math.log(theta))
