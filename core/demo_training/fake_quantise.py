"""Weights as they will be after publishing, with gradients as if nothing had happened.

The last part of the training runs on weights rounded like the published ones (4 bits: nvfp4 in groups of 16; 5, 6
and 8 bits: affine in groups of 64), so that the small model is at home in its four bits. MLX's own `quantize` makes
the final files; this only has to land on nearly the same numbers.
"""

from __future__ import annotations

import torch
from torch import Tensor

E2M1 = torch.tensor([0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0])


def nvfp4_round(weight: Tensor) -> Tensor:
    """Round [N, K] to E2M1 elements with one E4M3 scale for 16 of them."""
    groups = weight.reshape(-1, 16)
    scale = (groups.abs().amax(-1, keepdim=True) / 6).to(torch.float8_e4m3fn).float()
    scaled = groups / scale.clamp_min(2**-9)
    index = torch.bucketize(scaled.abs(), (E2M1[1:] + E2M1[:-1]) / 2)
    return (E2M1[index] * scaled.sign() * scale).reshape(weight.shape)


def affine_round(weight: Tensor, bits: int) -> Tensor:
    """Round [N, K] to `bits` between the ends of each group of 64, zero kept exact as MLX does."""
    groups = weight.reshape(-1, 64)
    low, high = groups.amin(-1, keepdim=True), groups.amax(-1, keepdim=True)
    levels = 2**bits - 1
    scale = ((high - low) / levels).clamp_min(1e-7)
    negative_larger = low.abs() > high.abs()
    scale = torch.where(negative_larger, scale, -scale)
    edge = torch.where(negative_larger, low, high)
    steps = torch.round(edge / scale)
    scale = torch.where(steps != 0, edge / torch.where(steps != 0, steps, 1), scale)
    bias = torch.where(steps != 0, edge, 0)
    codes = ((groups - bias) / scale).round().clamp(0, levels)
    return (codes * scale.bfloat16().float() + bias.bfloat16().float()).reshape(weight.shape)


def fake_quantise(weight: Tensor, bits: int) -> Tensor:
    """`weight` rounded to `bits` (16 and more: as it is), passing gradients straight through."""
    if bits >= 16:
        return weight
    with torch.no_grad():
        rounded = nvfp4_round(weight) if bits == 4 else affine_round(weight, bits)
        correction = rounded - weight
    return weight + correction
