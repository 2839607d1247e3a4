"""The bodies of our own kernels, compiled for a CPU, give what MLX's operations give: for the shapes of every published
model, one token to eight, in bfloat16 and float32.

How much may differ, relative to the largest number of a head or row. float32: 2^-17, since both sides add some thousand
products in another order, and MLX takes the frequencies of a rotation as powers and not from a table. bfloat16: 2^-7,
one step, where a sum that differs in its last float32 bits is rounded the other way; MLX's rotation on a CPU rounds
sines and products as well. What is only copied is the same to the bit.
"""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from qwen_core.bench.synthetic_shapes import SHAPES, shape_config
from qwen_core.checkpoint.config import ModelConfig, parse_config
from qwen_core.model.kernels.launch import MOST_TOKENS
from qwen_core.model.kernels.proof import NAMES, Case, cases
from support.metal_on_cpu import MetalOnCpu

STEPS = {mx.bfloat16: 2**-7, mx.float32: 2**-17}
PUBLISHED = tuple(name for name in SHAPES if name != "tiny")
CONFIGS = ("qwen3.6/config.json", "Qwen3.5-0.8B.unsloth.config.json")


def check(case: Case) -> None:
    """Both ways of a case give the same but for roundings."""
    expected, got = case.portable(), case.fused()
    for place, (one, other) in enumerate(zip(got, expected, strict=True)):
        assert (one.shape, one.dtype) == (other.shape, other.dtype)
        a, b = (np.array(array.astype(mx.float32)) for array in (one, other))
        allowed = STEPS[other.dtype] * np.max(np.abs(b), axis=-1, keepdims=True)
        assert np.all(np.abs(a - b) <= allowed), f"{case.name}, output {place}: {np.max(np.abs(a - b))}"
    if case.name == "linear_front":
        kept, copied = got[-1], expected[-1]
        assert mx.array_equal(kept, copied).item()


def some(config: ModelConfig, dtype: mx.Dtype) -> Iterator[Case]:
    """All kernels: one token of all heads; more tokens of the delta rule, which is slow here, with one key head."""
    yield from cases(config, dtype, (1,))
    tokens = range(2, MOST_TOKENS + 1)
    yield from (case for case in cases(config, dtype, tokens) if case.name != "delta_rule")
    if dtype == mx.bfloat16:  # the rule itself is float32 in either
        group = config.linear_num_value_heads // config.linear_num_key_heads
        narrow = replace(config, linear_num_key_heads=1, linear_num_value_heads=group)
        yield from (case for case in cases(narrow, dtype, tokens) if case.name == "delta_rule")


@pytest.mark.parametrize("dtype", STEPS, ids=str)
@pytest.mark.parametrize("shape", PUBLISHED)
def test_every_shape_that_can_be_measured(metal_on_cpu: MetalOnCpu, shape: str, dtype: mx.Dtype) -> None:
    checked = set()
    for case in some(shape_config(shape), dtype):
        check(case)
        checked.add(case.name)
    assert checked == set(NAMES)


@pytest.mark.parametrize("file", CONFIGS)
def test_every_config_that_was_published(metal_on_cpu: MetalOnCpu, fixtures_dir: Path, file: str) -> None:
    config = parse_config(json.loads((fixtures_dir / file).read_text()), file)
    for case in some(config, mx.bfloat16):
        check(case)


def test_the_tiny_shape(metal_on_cpu: MetalOnCpu) -> None:
    """Heads of 64 are rotated in 16 channels, fewer than a simdgroup has lanes."""
    found = list(cases(shape_config("tiny"), mx.float32))
    for case in found:
        check(case)
    assert {case.name for case in found} == set(NAMES) - {"attention_front"}


FRONT_AND_RULE = {"linear_front", "delta_rule"}


@pytest.mark.parametrize(
    ("changes", "left"),
    [
        ({"linear_conv_kernel_dim": 3}, {"linear_front"}),
        ({"linear_value_head_dim": 128}, {"linear_front"}),
        ({"linear_key_head_dim": 48, "linear_value_head_dim": 48}, {*FRONT_AND_RULE, "gated_norm"}),
        ({"linear_num_value_heads": 2048}, {*FRONT_AND_RULE, "gated_norm"}),
        ({"rms_norm_eps": 1e-5}, {"gated_norm", "add_norm", "attention_front"}),
        ({"hidden_size": 1 << 15}, {"add_norm"}),
        ({"rotary_dim": 32}, {"attention_front"}),
    ],
    ids=lambda part: "-".join(sorted(part)),  # a set says its members in another order each time
)
def test_what_a_kernel_does_not_fit_is_left_to_mlx(changes: dict[str, Any], left: set[str]) -> None:
    small = replace(shape_config("tiny"), head_dim=256, rotary_dim=64)
    assert {case.name for case in cases(small, mx.bfloat16, (1,))} == set(NAMES)
    assert {case.name for case in cases(replace(small, **changes), mx.bfloat16, (1,))} == set(NAMES) - left


def test_nine_tokens_are_too_many() -> None:
    assert list(cases(shape_config("27b"), mx.bfloat16, (MOST_TOKENS + 1,))) == []
