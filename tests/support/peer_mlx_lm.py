"""mlx-lm as the peer: its strictly loaded model in float32, and greedy answers of both runtimes."""

from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np

from qwen_core.model.model import load_model
from qwen_core.session.generate import decode, prefill
from qwen_core.session.sampling import Sampler, SamplingParameters

VOCABULARY, PROMPT, STEPS = 512, 40, 24


def prompt(seed: int) -> list[int]:
    return np.random.RandomState(seed).randint(0, VOCABULARY, PROMPT).tolist()


def load_peer(path: Path) -> Any:
    """mlx-lm's own loader, which is strict, with bf16 parameters as float32."""
    from mlx.utils import tree_map
    from mlx_lm.utils import load_model as load

    model, _ = load(path, strict=True)
    model.update(tree_map(lambda p: p.astype(mx.float32) if p.dtype == mx.bfloat16 else p, model.parameters()))
    return model


def peer_answer(path: Path, ids: list[int], steps: int = STEPS) -> list[int]:
    from mlx_lm.generate import generate_step

    return [int(token) for token, _ in generate_step(mx.array(ids), load_peer(path), max_tokens=steps)]


def our_answer(path: Path, ids: list[int], steps: int = STEPS) -> list[int]:
    model = load_model(path, "float32")
    state, sampler = model.new_state(), Sampler(SamplingParameters(temperature=0.0), VOCABULARY, VOCABULARY)
    *_, last = prefill(model, state, ids)
    assert last.logits is not None
    return list(decode(model, state, last.logits, sampler, limit=steps))
