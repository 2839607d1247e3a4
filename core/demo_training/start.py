"""The twin's weights out of a published model, so that training goes on from it: `train.py --start MODEL_DIR`.

What `publish.py` did, backwards: packed weights unpacked, norms stored as w again, the convolution [C, 1, kernel].
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer
from torch import Tensor

from qwen_core.checkpoint.architecture import text_tensors
from qwen_core.checkpoint.directory import Checkpoint, open_checkpoint
from qwen_core.tensors.decoding import dequantise


def published_weights(directory: Path) -> dict[str, Tensor]:
    """Every parameter of the twin by its own name, float32. Raises QwenError for what is no model."""
    checkpoint = open_checkpoint(directory)
    stored: dict[str, Tensor] = {}
    for shard in checkpoint.shards:
        stored |= load_file(shard)
    weights = {}
    for tensor in text_tensors(checkpoint.config, lm_head=not checkpoint.config.tie_word_embeddings):
        value = _value(checkpoint, stored, tensor.module, tensor.name)
        if tensor.kind == "norm":
            value = value - 1
        if tensor.kind == "conv":
            value = value.reshape(tensor.shape).swapaxes(1, 2)
        weights[tensor.name] = value.contiguous()
    return weights


def published_tokenizer(directory: Path) -> Tokenizer:
    """The tokenizer those weights were trained with: ids mean nothing without it."""
    return Tokenizer.from_file(str(directory / "tokenizer.json"))


def _value(checkpoint: Checkpoint, stored: dict[str, Tensor], module: str, name: str) -> Tensor:
    spec = checkpoint.specs.get(module)
    weight = stored[checkpoint.text[name].name]
    if spec is None:
        return weight.float()
    parts = [stored[info.name] for end in (".scales", ".biases") if (info := checkpoint.text.get(module + end))]
    scales, *biases = (part.numpy() if part.dtype == torch.uint8 else part.float().numpy() for part in parts)
    words = weight.view(torch.int32).numpy().view(np.uint32)
    return torch.from_numpy(dequantise(words, scales, biases[0] if biases else None, spec))
