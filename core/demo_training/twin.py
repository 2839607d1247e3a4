"""A PyTorch float32 twin of the architecture, small enough to train on a processor.

Mathematics of the `qwen3_5` text model: Gated DeltaNet layers and full attention 3:1. The recurrence is computed a
chunk at a time (`chunked_delta_rule`); `recurrent_delta_rule` is the one-token-at-a-time reference the tests compare
it with. Parameter names are those of a raw Hugging Face checkpoint below `model.language_model.`, so that `train.py`
writes them as they are. Nothing here is imported by the engine: torch is needed for training alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .fake_quantise import fake_quantise


@dataclass(frozen=True)
class TwinConfig:
    """The shape of the demo model. 128-wide linear heads are those MLX's recurrence kernels are built for."""

    vocab_size: int
    hidden_size: int = 256
    intermediate_size: int = 384
    num_hidden_layers: int = 4
    full_attention_interval: int = 4
    num_attention_heads: int = 4
    num_key_value_heads: int = 2
    head_dim: int = 64
    partial_rotary_factor: float = 0.25
    rope_theta: float = 1e7
    linear_num_key_heads: int = 1
    linear_num_value_heads: int = 2
    linear_key_head_dim: int = 128
    linear_value_head_dim: int = 128
    linear_conv_kernel_dim: int = 4
    rms_norm_eps: float = 1e-6

    def is_full(self, layer: int) -> bool:
        return (layer + 1) % self.full_attention_interval == 0


def chunked_delta_rule(q: Tensor, k: Tensor, v: Tensor, g: Tensor, beta: Tensor, chunk: int = 64) -> Tensor:
    """The gated delta rule over whole sequences.

    q, k [B, H, T, Dk], v [B, H, T, Dv], g (log decay, <= 0) and beta [B, H, T]; returns [B, H, T, Dv].
    Within a chunk the corrections d of all steps solve one triangular system,
    (I + tril(beta exp(G_t - G_i) k_t.k_i, -1)) d = beta (v - exp(G) S0 k), where G is the running sum of g.
    """
    batch, heads, time, dk = q.shape
    dv = v.shape[-1]
    pad = -time % chunk
    if pad:  # beta 0 and decay 1 leave the state alone
        q, k, v = (F.pad(x, (0, 0, 0, pad)) for x in (q, k, v))
        g, beta = F.pad(g, (0, pad)), F.pad(beta, (0, pad))
    n = (time + pad) // chunk
    q, k, v = (x.reshape(batch, heads, n, chunk, -1) for x in (q, k, v))
    g, beta = (x.reshape(batch, heads, n, chunk) for x in (g, beta))
    total = g.cumsum(-1)
    difference = total[..., :, None] - total[..., None, :]
    lower = torch.ones(chunk, chunk, dtype=torch.bool, device=q.device).tril()
    decay = difference.masked_fill(~lower, float("-inf")).exp()
    system = (beta[..., None] * decay * (k @ k.transpose(-1, -2))).tril(-1)
    carried = beta * total.exp()
    right = torch.cat((beta[..., None] * v, carried[..., None] * k), -1)
    solved = torch.linalg.solve_triangular(system, right, upper=False, unitriangular=True)
    from_values, from_state = solved.split((dv, dk), -1)
    scores = decay * (q @ k.transpose(-1, -2))
    q_carried = total.exp()[..., None] * q
    k_remaining = (total[..., -1:] - total).exp()[..., None] * k
    chunk_decay = total[..., -1].exp()[..., None, None]
    state = q.new_zeros(batch, heads, dk, dv)
    outputs = []
    for i in range(n):
        if i == 0:
            d = from_values[:, :, 0]
            out = scores[:, :, 0] @ d
        else:
            d = from_values[:, :, i] - from_state[:, :, i] @ state
            out = q_carried[:, :, i] @ state + scores[:, :, i] @ d
        outputs.append(out)
        if i + 1 < n:
            state = chunk_decay[:, :, i] * state + k_remaining[:, :, i].transpose(-1, -2) @ d
    return torch.cat(outputs, 2)[:, :, :time]


def recurrent_delta_rule(q: Tensor, k: Tensor, v: Tensor, g: Tensor, beta: Tensor) -> Tensor:
    """The same, step by step as it is defined: S *= decay; d = (v - S k) beta; S += d k^T; o = S q."""
    state = q.new_zeros(*q.shape[:2], v.shape[-1], q.shape[-1])
    outputs = []
    for t in range(q.shape[2]):
        state = state * g[:, :, t, None, None].exp()
        d = (v[:, :, t] - (state @ k[:, :, t, :, None])[..., 0]) * beta[:, :, t, None]
        state = state + d[..., None] * k[:, :, t, None, :]
        outputs.append((state @ q[:, :, t, :, None])[..., 0])
    return torch.stack(outputs, 2)


class Norm(nn.Module):
    """RMSNorm whose stored weight w means 1 + w (`shifted`), except inside the linear mixer."""

    def __init__(self, size: int, eps: float, shifted: bool = True) -> None:
        super().__init__()
        self.eps, self.shifted = eps, shifted
        self.weight = nn.Parameter(torch.zeros(size) if shifted else torch.ones(size))

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x, x.shape[-1:], self.weight + 1 if self.shifted else self.weight, self.eps)


class Table(nn.Module):
    """Nothing but a weight: the embedding, and the kernel of the convolution."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)


class Linear(nn.Module):
    """A projection without bias that can act as it will once quantised to `bits`, to get used to the rounding."""

    def __init__(self, inputs: int, outputs: int, bits: int = 16, gain: float = 1.0) -> None:
        super().__init__()
        self.bits, self.rounded = bits, False
        self.weight = nn.Parameter(torch.randn(outputs, inputs) * (gain * inputs**-0.5))

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, fake_quantise(self.weight, self.bits) if self.rounded else self.weight)


class LinearAttention(nn.Module):
    """Gated DeltaNet: causal convolution, gated delta rule, norm before gate."""

    def __init__(self, c: TwinConfig) -> None:
        super().__init__()
        self.c = c
        self.key_size = c.linear_num_key_heads * c.linear_key_head_dim
        self.value_size = c.linear_num_value_heads * c.linear_value_head_dim
        channels = 2 * self.key_size + self.value_size
        self.in_proj_qkv = Linear(c.hidden_size, channels, 6)
        self.in_proj_z = Linear(c.hidden_size, self.value_size, 6)
        self.in_proj_b = Linear(c.hidden_size, c.linear_num_value_heads)
        self.in_proj_a = Linear(c.hidden_size, c.linear_num_value_heads)
        self.out_proj = Linear(self.value_size, c.hidden_size, 16, 0.3)
        self.conv1d = Table(torch.randn(channels, 1, c.linear_conv_kernel_dim) * 0.3)
        self.norm = Norm(c.linear_value_head_dim, c.rms_norm_eps, shifted=False)
        # Time constants between about ten and a thousand tokens: with the usual A in [0, 16] a small model forgets
        # the beginning of the conversation before it has learnt to keep it.
        self.A_log = nn.Parameter(torch.zeros(c.linear_num_value_heads))
        step = torch.logspace(-3, -1, c.linear_num_value_heads)
        self.dt_bias = nn.Parameter(step + torch.log(-torch.expm1(-step)))

    def forward(self, x: Tensor) -> Tensor:
        c, (batch, time, _) = self.c, x.shape
        mixed = self.in_proj_qkv(x)
        kernel = self.conv1d.weight[:, 0]
        width = kernel.shape[-1]
        padded = F.pad(mixed, (0, 0, width - 1, 0))
        mixed = sum((padded[:, i : i + time] * kernel[:, i] for i in range(width)), torch.zeros(()))
        q, k, v = F.silu(mixed).split((self.key_size, self.key_size, self.value_size), -1)
        q, k = (y.reshape(batch, time, c.linear_num_key_heads, -1).transpose(1, 2) for y in (q, k))
        v = v.reshape(batch, time, c.linear_num_value_heads, -1).transpose(1, 2)
        q, k = (y * torch.rsqrt(y.square().sum(-1, keepdim=True) + 1e-6) for y in (q, k))
        repeat = c.linear_num_value_heads // c.linear_num_key_heads
        q = (q * c.linear_key_head_dim**-0.5).repeat_interleave(repeat, 1)
        k = k.repeat_interleave(repeat, 1)
        beta = torch.sigmoid(self.in_proj_b(x)).transpose(1, 2)
        g = (-self.A_log.exp() * F.softplus(self.in_proj_a(x) + self.dt_bias)).transpose(1, 2)
        out = chunked_delta_rule(q, k, v, g, beta).transpose(1, 2)
        z = self.in_proj_z(x).reshape(batch, time, c.linear_num_value_heads, -1)
        return self.out_proj((self.norm(out) * F.silu(z)).reshape(batch, time, -1))


class FullAttention(nn.Module):
    """Grouped-query attention with per-head norms, partial rotary embedding and an output gate."""

    def __init__(self, c: TwinConfig) -> None:
        super().__init__()
        self.c = c
        self.q_proj = Linear(c.hidden_size, 2 * c.num_attention_heads * c.head_dim, 6)
        self.k_proj = Linear(c.hidden_size, c.num_key_value_heads * c.head_dim, 6)
        self.v_proj = Linear(c.hidden_size, c.num_key_value_heads * c.head_dim, 6)
        self.o_proj = Linear(c.num_attention_heads * c.head_dim, c.hidden_size, 16, 0.3)
        self.q_norm = Norm(c.head_dim, c.rms_norm_eps)
        self.k_norm = Norm(c.head_dim, c.rms_norm_eps)

    def rotate(self, x: Tensor) -> Tensor:
        """Rotary embedding of x [B, H, T, D]: the first quarter of D, pairs (i, i + half)."""
        size = int(self.c.head_dim * self.c.partial_rotary_factor)
        half = size // 2
        frequency = self.c.rope_theta ** (-torch.arange(half, dtype=torch.float32) / half)
        angle = torch.arange(x.shape[2], dtype=torch.float32)[:, None] * frequency
        cos, sin = angle.cos(), angle.sin()
        a, b, rest = x[..., :half], x[..., half:size], x[..., size:]
        return torch.cat((a * cos - b * sin, b * cos + a * sin, rest), -1)

    def heads(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Queries, keys and values [B, H, T, D], one key and value for each query, and the output gate [B, T, H, D]."""
        c, (batch, time, _) = self.c, x.shape
        q, gate = self.q_proj(x).reshape(batch, time, c.num_attention_heads, 2 * c.head_dim).chunk(2, -1)
        k = self.k_proj(x).reshape(batch, time, c.num_key_value_heads, -1)
        v = self.v_proj(x).reshape(batch, time, c.num_key_value_heads, -1).transpose(1, 2)
        q = self.rotate(self.q_norm(q).transpose(1, 2))
        k = self.rotate(self.k_norm(k).transpose(1, 2))
        repeat = c.num_attention_heads // c.num_key_value_heads
        return q, k.repeat_interleave(repeat, 1), v.repeat_interleave(repeat, 1), gate

    def output(self, out: Tensor, gate: Tensor) -> Tensor:
        """What the heads found, [B, H, T, D], through the gate and the last projection."""
        return self.o_proj((out.transpose(1, 2) * torch.sigmoid(gate)).flatten(2))

    def forward(self, x: Tensor) -> Tensor:
        q, k, v, gate = self.heads(x)
        return self.output(F.scaled_dot_product_attention(q, k, v, is_causal=True), gate)


class Mlp(nn.Module):
    """SwiGLU."""

    def __init__(self, c: TwinConfig) -> None:
        super().__init__()
        self.gate_proj = Linear(c.hidden_size, c.intermediate_size, 4)
        self.up_proj = Linear(c.hidden_size, c.intermediate_size, 4)
        self.down_proj = Linear(c.intermediate_size, c.hidden_size, 5, 0.3)

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Block(nn.Module):
    """h += mixer(norm(h)); h += mlp(norm(h))."""

    def __init__(self, c: TwinConfig, layer: int) -> None:
        super().__init__()
        self.input_layernorm = Norm(c.hidden_size, c.rms_norm_eps)
        self.post_attention_layernorm = Norm(c.hidden_size, c.rms_norm_eps)
        self.full = c.is_full(layer)
        if self.full:
            self.self_attn = FullAttention(c)
        else:
            self.linear_attn = LinearAttention(c)
        self.mlp = Mlp(c)

    def forward(self, x: Tensor) -> Tensor:
        mixer = self.self_attn if self.full else self.linear_attn
        x = x + mixer(self.input_layernorm(x))
        return x + self.mlp(self.post_attention_layernorm(x))


class Twin(nn.Module):
    """The whole model. Rows are independent sequences padded on the right, which a causal model never sees."""

    def __init__(self, c: TwinConfig) -> None:
        super().__init__()
        self.c = c
        self.embed_tokens = Table(torch.randn(c.vocab_size, c.hidden_size) * 0.2)
        self.layers = nn.ModuleList(Block(c, i) for i in range(c.num_hidden_layers))
        self.norm = Norm(c.hidden_size, c.rms_norm_eps)
        self.lm_head = Linear(c.hidden_size, c.vocab_size, 8, 0.1)
        self.rounded = False

    def set_rounded(self, rounded: bool) -> None:
        """From here on compute with weights rounded as publishing will round them (straight-through gradients)."""
        self.rounded = rounded
        for module in self.modules():
            if isinstance(module, Linear):
                module.rounded = rounded

    def hidden(self, ids: Tensor) -> Tensor:
        """ids [B, T] -> hidden states after the final norm [B, T, hidden]."""
        table = fake_quantise(self.embed_tokens.weight, 6) if self.rounded else self.embed_tokens.weight
        x = F.embedding(ids, table)
        for layer in self.layers:
            x = layer(x)
        return self.norm(x)

    def forward(self, ids: Tensor) -> Tensor:
        """ids [B, T] -> logits [B, T, vocab]."""
        return self.lm_head(self.hidden(ids))
