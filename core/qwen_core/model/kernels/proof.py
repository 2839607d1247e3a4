"""Kernels prove themselves before a model uses them: compiled here, and compared with their twins on small inputs of
the model's own shapes. One that does not compile, fails or computes otherwise is not used, and what it did is told.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import cast

from qwen_core.checkpoint.config import ModelConfig
from qwen_core.device.backend import is_metal, mx
from qwen_core.errors import quote
from qwen_core.model.kernels.add_norm import AddNorm
from qwen_core.model.kernels.attention_front import AttentionFront
from qwen_core.model.kernels.delta_rule import DeltaRule
from qwen_core.model.kernels.gated_norm import GatedNorm
from qwen_core.model.kernels.launch import MOST_TOKENS
from qwen_core.model.kernels.linear_front import LinearFront
from qwen_core.model.products import Products
from qwen_core.model.rotation import frequencies, stretched_wavelengths

NAMES = tuple(part.name for part in (LinearFront, DeltaRule, GatedNorm, AddNorm, AttentionFront))
PROOF_TOKENS = (1, MOST_TOKENS)
TOLERANCES = {mx.bfloat16: 2**-6, mx.float16: 2**-9, mx.float32: 2**-12}
"""By type of an output, absolute and relative: two roundings to bfloat16 or float16 that fall apart by one step each;
in float32, sums of some thousand products in another order, and sines of MLX's rotation that are less exact."""

Outputs = Sequence[mx.array]


@dataclass(frozen=True)
class Case:
    """A kernel on some inputs, both ways; lazy."""

    name: str
    fused: Callable[[], Outputs]
    portable: Callable[[], Outputs]


@dataclass(frozen=True)
class Kernels:
    """`names` of the kernels that may be used, and `faults`: one line for each that may not though it should."""

    names: frozenset[str] = frozenset()
    faults: tuple[str, ...] = ()


NONE = Kernels()


def proven(config: ModelConfig, dtype: mx.Dtype) -> Kernels:
    """Which kernels a model of this shape may use on this machine: none without Metal."""
    return prove(cases(config, dtype)) if is_metal() else NONE


def prove(cases: Iterable[Case]) -> Kernels:
    """Which kernels are right in all of their `cases`. Raises nothing, whatever a kernel does."""
    names: set[str] = set()
    faults: dict[str, str] = {}
    for case in cases:
        names.add(case.name)
        fault = None if case.name in faults else _fault(case)
        if fault is not None:
            faults[case.name] = f"the kernel {case.name} is not used: {fault}"
    return Kernels(frozenset(names - set(faults)), tuple(faults.values()))


def _fault(case: Case) -> str | None:
    """What is wrong with a kernel on one case."""
    try:
        got, expected = case.fused(), case.portable()
        mx.eval(got, expected)
        if len(got) != len(expected) or not all(map(agree, got, expected)):
            return "it computes something else than MLX's operations"
    except Exception as error:  # whatever Metal's compiler or a driver raises: the model runs without it
        return f"{type(error).__name__}: {quote(error)}"
    return None


def agree(got: mx.array, expected: mx.array) -> bool:
    """Whether two arrays are the same but for roundings."""
    if got.shape != expected.shape or got.dtype != expected.dtype:
        return False
    tolerance = TOLERANCES[expected.dtype]
    close = mx.allclose(got.astype(mx.float32), expected.astype(mx.float32), rtol=tolerance, atol=tolerance)
    return cast(bool, close.item())


def cases(config: ModelConfig, dtype: mx.Dtype, tokens: Sequence[int] = PROOF_TOKENS) -> Iterator[Case]:
    """Of every kernel that takes the shapes of `config`, with random inputs."""
    for count in tokens:
        yield from _linear_cases(config, dtype, count)
        yield from _other_cases(config, dtype, count)


class _Random:
    """Random arrays, which leave the random state of the program alone."""

    def __init__(self, dtype: mx.Dtype) -> None:
        self.dtype = dtype
        self._key = mx.random.key(0)

    def __call__(self, *shape: int, dtype: mx.Dtype | None = None) -> mx.array:
        self._key, key = mx.random.split(self._key)
        return mx.random.normal(shape, key=key).astype(dtype or self.dtype)

    def weight(self, *shape: int, dtype: mx.Dtype | None = None) -> mx.array:
        """Numbers about 1."""
        return (1 + 0.1 * self(*shape, dtype=mx.float32)).astype(dtype or self.dtype)


def linear_front(config: ModelConfig, random: _Random) -> LinearFront:
    """One of the config's shapes."""
    key_heads, value_heads = config.linear_num_key_heads, config.linear_num_value_heads
    channels = 2 * key_heads * config.linear_key_head_dim + value_heads * config.linear_value_head_dim
    return LinearFront(
        key_heads,
        config.linear_key_head_dim,
        value_heads,
        config.linear_value_head_dim,
        0.5 * random(config.linear_conv_kernel_dim, channels, dtype=mx.float32),
        random(value_heads, dtype=mx.float32),
        -mx.exp(random(value_heads, dtype=mx.float32)),
    )


def attention_front(config: ModelConfig, random: _Random) -> AttentionFront:
    """One of the config's shapes."""
    return AttentionFront(
        config.num_attention_heads,
        config.num_key_value_heads,
        config.rotary_dim,
        random.weight(config.head_dim),
        random.weight(config.head_dim),
        config.rms_norm_eps,
        config.rope_theta,
        stretched_wavelengths(config),
        frequencies(config),
    )


def _linear_cases(config: ModelConfig, dtype: mx.Dtype, tokens: int) -> Iterator[Case]:
    if "linear_attention" not in config.layer_types:
        return
    random = _Random(dtype)
    front = linear_front(config, random)
    taps, channels = front.taps.shape
    value_width = front.value_heads * front.value_size
    qkv_z = Products([random(1, tokens, channels + value_width)], [channels, channels + value_width])
    a_b = Products([random(1, tokens, 2 * front.value_heads)], [front.value_heads, 2 * front.value_heads])
    held = random(1, taps - 1, channels)
    if front.fits(tokens, dtype):
        yield Case(
            front.name, lambda: _flat(front.fused(qkv_z, a_b, held)), lambda: _flat(front.portable(qkv_z, a_b, held))
        )
    taken, _ = front.portable(qkv_z, a_b, held)
    rule, state = DeltaRule(), random(1, front.value_heads, front.value_size, front.key_size, dtype=mx.float32)
    if rule.fits(tokens, state):
        yield Case(rule.name, lambda: rule.fused(*taken, state), lambda: rule.portable(*taken, state))
    norm = GatedNorm(random.weight(front.value_size, dtype=mx.float32), config.rms_norm_eps)
    outputs = random(1, tokens, front.value_heads, front.value_size, dtype=mx.float32)
    if norm.fits(outputs, qkv_z):
        yield Case(norm.name, lambda: [norm.fused(outputs, qkv_z)], lambda: [norm.portable(outputs, qkv_z)])


def _flat(front: tuple[Sequence[mx.array], mx.array]) -> Outputs:
    return [*front[0], front[1]]


def _other_cases(config: ModelConfig, dtype: mx.Dtype, tokens: int) -> Iterator[Case]:
    random = _Random(dtype)
    norm = AddNorm(random.weight(config.hidden_size), config.rms_norm_eps)
    stream, added = random(1, tokens, config.hidden_size), random(1, tokens, config.hidden_size)
    if norm.fits(stream):
        yield Case(norm.name, lambda: norm.fused(stream, added), lambda: norm.portable(stream, added))
    front = attention_front(config, random)
    widths = [2 * front.heads * front.size, *[front.key_heads * front.size] * 2]
    ends = [sum(widths[: end + 1]) for end in range(3)]
    qkv = Products([random(1, tokens, ends[-1])], ends)
    if front.fits(qkv):
        yield Case(front.name, lambda: front.fused(qkv, 5), lambda: front.portable(qkv, 5))
