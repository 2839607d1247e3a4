"""A stack of experts: one expert's values are those of its slice alone, whatever the layout, and its error as well."""

import math
from dataclasses import replace
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest

from qwen_core.checkpoint.directory import Checkpoint, open_checkpoint
from qwen_core.errors import CheckpointError
from qwen_core.tensors.error import compare_with_reference
from qwen_core.tensors.values import read_values
from support.checkpoints import write_checkpoint
from support.published_plan import SMALL_MIXTURE
from support.reference import MIXTURES, weights, write_case

UP, DOWN = "layers.1.mlp.switch_mlp.up_proj", "layers.1.mlp.switch_mlp.down_proj"


@pytest.fixture(scope="module", params=["nvfp4", "mxfp8", "q4", "bf16"])
def checkpoint(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    path = tmp_path_factory.mktemp("experts") / request.param
    write_checkpoint(path, request.param, text=SMALL_MIXTURE, shard_cap=None)
    return open_checkpoint(path)


def unpacked(checkpoint: Checkpoint, module: str) -> np.ndarray:
    """The stack as MLX unpacks it, [experts, rows, columns]."""
    arrays = mx.load(str(checkpoint.path / "model.safetensors"))
    assert isinstance(arrays, dict)
    prefix = f"language_model.model.{module}"
    weight, spec = arrays[f"{prefix}.weight"], checkpoint.specs.get(module)
    if spec is not None:
        parts = (weight, arrays[f"{prefix}.scales"], arrays.get(f"{prefix}.biases"))
        weight = mx.dequantize(*parts, group_size=spec.group_size, bits=spec.bits, mode=spec.mode)
    return np.array(weight.astype(mx.float32))


@pytest.mark.parametrize("module", [UP, DOWN])
def test_an_expert_is_its_slice(checkpoint: Checkpoint, module: str) -> None:
    stack = unpacked(checkpoint, module)
    for expert in (0, 3, 7):
        found = read_values(checkpoint, module, expert=expert)
        assert (found.experts, found.expert, found.shape) == (8, expert, stack.shape[1:])
        assert found.examined == found.elements == stack[expert].size
        assert found.stored_bytes * 8 == read_values(checkpoint, module).stored_bytes
        # Affine's scales are multiplied in bfloat16 there.
        assert found.minimum == pytest.approx(stack[expert].min(), rel=1e-2)
        assert found.maximum == pytest.approx(stack[expert].max(), rel=1e-2)
        np.testing.assert_allclose(
            [row.values for row in found.first_rows], stack[expert][:4, :8], rtol=1e-2, atol=1e-2
        )


def test_all_experts_together(checkpoint: Checkpoint) -> None:
    whole = read_values(checkpoint, UP)
    parts = [read_values(checkpoint, UP, expert=expert) for expert in range(8)]
    assert (whole.experts, whole.expert, whole.shape) == (8, None, (8, 64, 128))
    assert whole.elements == sum(part.elements for part in parts)
    assert (whole.minimum, whole.maximum) == (
        min(part.minimum or 0 for part in parts),
        max(part.maximum or 0 for part in parts),
    )
    assert whole.zero_count == sum(part.zero_count for part in parts)
    assert whole.first_rows == parts[0].first_rows


@pytest.mark.parametrize(
    ("module", "expert", "says"),
    [(UP, 8, "has no expert 8: choose 0 to 7"), (UP, -1, "no expert -1"), ("layers.1.mlp.gate", 0, "has no experts")],
)
def test_an_expert_that_is_not_there(checkpoint: Checkpoint, module: str, expert: int, says: str) -> None:
    with pytest.raises(CheckpointError, match=says):
        read_values(checkpoint, module, expert=expert)


def test_a_raw_stack_has_the_values_it_was_given(tmp_path: Path) -> None:
    case = MIXTURES[0]
    write_case(case, tmp_path)
    checkpoint, name = open_checkpoint(tmp_path), "layers.2.mlp.experts.gate_up_proj"
    stack = dict(weights(case))[name]
    found = read_values(checkpoint, name, expert=5)
    assert found.shape == stack.shape[1:]
    assert (found.minimum, found.maximum) == (stack[5].min(), stack[5].max())


def test_the_error_of_an_expert_against_the_raw_original(tmp_path: Path) -> None:
    """MLX's layout has gate and up apart, the raw one in one: both are the same numbers here."""
    raw = MIXTURES[0]
    write_case(raw, tmp_path / "raw")
    write_case(replace(raw, names="converted"), tmp_path / "mlx")
    original, other = open_checkpoint(tmp_path / "raw"), open_checkpoint(tmp_path / "mlx")
    for role in ("gate_proj", "up_proj", "down_proj"):
        module = f"layers.1.mlp.switch_mlp.{role}"
        for expert in (0, 7):
            assert compare_with_reference(other, original, module, expert=expert).snr_db == math.inf
            assert compare_with_reference(other, other, module, expert=expert).snr_db == math.inf
    assert compare_with_reference(other, original, "layers.1.mlp.switch_mlp.down_proj").snr_db == math.inf
    with pytest.raises(CheckpointError, match="--expert"):
        compare_with_reference(other, original, "layers.1.mlp.switch_mlp.up_proj")
