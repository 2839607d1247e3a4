"""The training twin: its chunked recurrence against the definition, its rounding against MLX."""

from typing import Any

import mlx.core as mx
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the `train` extra brings torch")

from demo_training.fake_quantise import fake_quantise  # noqa: E402
from demo_training.muon import orthogonalise  # noqa: E402
from demo_training.twin import Twin, TwinConfig, chunked_delta_rule, recurrent_delta_rule  # noqa: E402


@pytest.mark.parametrize("time", [1, 5, 16, 17, 50])
def test_the_chunked_recurrence_is_the_recurrence(time: int) -> None:
    generator = torch.Generator().manual_seed(time)
    q, k, v = (torch.randn(2, 3, time, 8, generator=generator) for _ in range(3))
    k = torch.nn.functional.normalize(k, dim=-1)
    g = -torch.rand(2, 3, time, generator=generator) * 2
    beta = torch.rand(2, 3, time, generator=generator)
    expected = recurrent_delta_rule(q, k, v, g, beta)
    torch.testing.assert_close(chunked_delta_rule(q, k, v, g, beta, chunk=16), expected, rtol=1e-4, atol=1e-5)


def test_padding_on_the_right_changes_nothing() -> None:
    torch.manual_seed(0)
    model = Twin(TwinConfig(64, hidden_size=64, intermediate_size=64))
    ids = torch.randint(0, 64, (1, 70))
    with torch.no_grad():
        alone, padded = model(ids[:, :33]), model(ids)
    torch.testing.assert_close(padded[:, :33], alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("bits", [4, 5, 6, 8])
def test_rounding_lands_on_mlx_numbers(bits: int) -> None:
    weight = torch.randn(64, 256, generator=torch.Generator().manual_seed(bits)).bfloat16().float()
    nvfp4: dict[str, Any] = {"group_size": 16, "bits": 4, "mode": "nvfp4"}
    spec = nvfp4 if bits == 4 else {"group_size": 64, "bits": bits, "mode": "affine"}
    codes, *parts = mx.quantize(mx.array(weight.numpy()).astype(mx.bfloat16), **spec)
    if bits > 4:  # in float32, or the result's own rounding hides what is compared
        parts = [part.astype(mx.float32) for part in parts]
    scales, biases = parts[0], parts[1] if bits > 4 else None
    theirs = np.array(mx.dequantize(codes, scales, biases, **spec).astype(mx.float32))
    ours = fake_quantise(weight, bits).numpy()
    assert (np.abs(ours - theirs) < 1e-5).mean() > 0.999  # all but a tie or two


def test_rounding_passes_gradients_straight_through() -> None:
    weight = torch.randn(4, 64, requires_grad=True)
    fake_quantise(weight, 5).sum().backward()
    assert weight.grad is not None
    assert bool((weight.grad == 1).all())


def test_orthogonalised_updates_have_singular_values_near_one() -> None:
    matrix = torch.randn(32, 96, generator=torch.Generator().manual_seed(0))
    for m in (matrix, matrix.T):
        values = torch.linalg.svdvals(orthogonalise(m))
        assert values.min() > 0.5
        assert values.max() < 1.4
