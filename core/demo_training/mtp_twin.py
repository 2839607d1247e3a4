"""A PyTorch float32 twin of the MTP layer, as it is trained: all the drafts of a chain for every place at once.

Pair p is the trunk's hidden vector of token p with the embedding of token p + 1, and what comes of it predicts token
p + 2. In a chain of drafts the layer's own vector takes the place of the trunk's, one pair further on. Each of these
attends to what it finds when the engine drafts: the true pairs up to the one where its chain began, and the drafted
ones of its own chain after them (qwen_core/model/mtp.py). Parameter names are those of a raw checkpoint below `mtp.`.
"""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .twin import Block, FullAttention, Linear, Norm, TwinConfig

KeyValues = list[tuple[Tensor, Tensor]]


class MtpTwin(nn.Module):
    """One more block, of full attention. Embedding and head are the trunk's."""

    def __init__(self, c: TwinConfig) -> None:
        super().__init__()
        self.pre_fc_norm_embedding = Norm(c.hidden_size, c.rms_norm_eps)
        self.pre_fc_norm_hidden = Norm(c.hidden_size, c.rms_norm_eps)
        self.fc = Linear(2 * c.hidden_size, c.hidden_size)
        self.layers = nn.ModuleList([Block(c, c.full_attention_interval - 1)])
        self.norm = Norm(c.hidden_size, c.rms_norm_eps)

    def forward(self, embedded: Tensor, hidden: Tensor, depths: int) -> list[Tensor]:
        """`embedded` [B, T, hidden] of the tokens after those of `hidden` [B, T, hidden], behind the final norm.

        Gives for each of `depths` drafts the vectors [B, T, hidden] that the head makes logits of: [d][:, p] is the
        draft d places behind a true pair p - d, and has no meaning where p < d.
        """
        embedded = self.pre_fc_norm_embedding(embedded)
        block, before, drafts = cast(Block, self.layers[0]), KeyValues(), list[Tensor]()
        for depth in range(depths):
            if depth:
                hidden = drafts[-1].roll(1, 1)
            x = self.fc(torch.cat((embedded, self.pre_fc_norm_hidden(hidden)), -1))
            x = x + chained_attention(block.self_attn, block.input_layernorm(x), before)
            x = x + block.mlp(block.post_attention_layernorm(x))
            drafts.append(self.norm(x))
        return drafts


def chained_attention(attention: FullAttention, x: Tensor, before: KeyValues) -> Tensor:
    """The mixer of drafts `len(before)` places behind true pairs; `before` gets their keys and values, too.

    `before[0]` are those of the true pairs, of which a chain sees all up to its own, `before[d]` those of drafts d
    places behind one, of which a chain has one each.
    """
    q, k, v, gate = attention.heads(x)
    before.append((k, v))
    depth, time = len(before) - 1, x.shape[1]
    if not depth:
        return attention.output(F.scaled_dot_product_attention(q, k, v, is_causal=True), gate)
    seen = torch.ones(time, time, dtype=torch.bool).tril(-depth)
    true = (q @ before[0][0].transpose(-1, -2)).masked_fill(~seen, float("-inf"))
    own = [(keys.roll(depth - d, 2), values.roll(depth - d, 2)) for d, (keys, values) in enumerate(before) if d]
    scores = torch.cat((true, *((q * keys).sum(-1, keepdim=True) for keys, _ in own)), -1)
    shares = (scores * q.shape[-1] ** -0.5).softmax(-1)
    out = shares[..., :time] @ before[0][1]
    for d, (_, values) in enumerate(own):
        out = out + shares[..., time + d, None] * values
    return attention.output(out, gate)
