"""Write tests/core/model/goldens/mtp-*.npz: float32 logits of drafts by mlx-vlm's `qwen3_5_mtp` drafter.

    pip install mlx-vlm==0.7.10 'mlx[cpu]'        # in an environment of its own
    PYTHONPATH=tests python tests/tools/make_mtp_goldens.py

The drafter takes the prompt's pairs at once and drafts DRAFTS tokens, each from the one before it.
"""

from importlib.metadata import version
from pathlib import Path

import mlx.core as mx
import mlx.nn as nn
import numpy as np
from mlx_vlm.speculative.drafters.qwen3_5_mtp import ModelConfig, Qwen3_5MTPDraftModel

from support.reference import CASES, DRAFTS, PROMPT, Case, mtp_hidden, mtp_weights, weights

GOLDENS = Path(__file__).resolve().parent.parent / "core" / "model" / "goldens"


class Target(nn.Module):
    """Of the model, what a drafter uses: the embedding and the head."""

    def __init__(self, case: Case) -> None:
        super().__init__()
        tensors = dict(weights(case))
        self.embed_tokens = nn.Embedding(*tensors["embed_tokens.weight"].shape)
        self.embed_tokens.weight = mx.array(tensors["embed_tokens.weight"])
        head = mx.array(tensors["embed_tokens.weight" if case.tied else "lm_head.weight"])
        self.logits: list[np.ndarray] = []
        self._head = head

    def lm_head(self, hidden: mx.array) -> mx.array:
        rows = hidden @ self._head.T
        self.logits.append(np.array(rows[0, -1]))
        return rows


def drafted_logits(case: Case) -> np.ndarray:
    """float32 logits [DRAFTS, vocab] of the drafts after the prompt's pairs, the last token being drawn and unfed."""
    config = ModelConfig.from_dict({"text_config": {**case.config, "mtp_num_hidden_layers": 1}})
    drafter = Qwen3_5MTPDraftModel(config)
    drafter.load_weights(
        list(drafter.sanitize({f"mtp.{name}": mx.array(value) for name, value in mtp_weights(case)}).items())
    )
    target = Target(case)
    drafter.reset(target)
    ids, hidden = case.ids[: PROMPT + 1], mx.array(mtp_hidden(case))

    def sampler(logits: mx.array) -> mx.array:
        return mx.argmax(logits, axis=-1)

    drafter.prefill_from_target_hidden(mx.array([ids[:PROMPT]]), hidden, ids[PROMPT], sampler, greedy=True)
    drafter.draft_block(ids[PROMPT], hidden[:, -1:], None, DRAFTS + 1, sampler, greedy=True)
    return np.stack(target.logits)


def main() -> None:
    for case in CASES:
        logits = drafted_logits(case)
        np.savez_compressed(GOLDENS / f"mtp-{case.name}.npz", logits=logits, mlx_vlm=version("mlx-vlm"))
        print(f"{case.name}: {logits.shape}, largest {np.abs(logits).max():.2f}")


if __name__ == "__main__":
    main()
