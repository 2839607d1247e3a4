"""Write tests/core/model/goldens/*.npz: float32 logits of transformers' Qwen3.5 for the models of support/reference.py.

    python tests/tools/make_goldens.py        # needs torch and transformers; not run by the tests

The prompt is fed in one pass and the rest token by token over the reference's own cache, as a runtime would.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import torch
import transformers
from transformers.models.qwen3_5 import Qwen3_5ForCausalLM, Qwen3_5TextConfig

from support.reference import CASES, PROMPT, Case, weights


def reference_logits(case: Case) -> np.ndarray:
    """float32 logits [PROMPT + STEPS, vocab] of transformers' implementation."""
    model = Qwen3_5ForCausalLM(Qwen3_5TextConfig(**case.config)).float().eval()
    model.set_attn_implementation("eager")
    tensors = {
        name if name.startswith("lm_head") else f"model.{name}": torch.from_numpy(value)
        for name, value in weights(case)
    }
    missing, unexpected = model.load_state_dict(tensors, strict=False)
    assert not unexpected, unexpected
    assert set(missing) <= {"lm_head.weight"} and bool(missing) == case.tied, missing
    rows = []
    with torch.no_grad():
        out = model(torch.tensor([case.ids[:PROMPT]]), use_cache=True)
        rows.append(out.logits[0])
        for token in case.ids[PROMPT:]:
            out = model(torch.tensor([[token]]), past_key_values=out.past_key_values, use_cache=True)
            rows.append(out.logits[0])
    return torch.cat(rows).numpy()


def main() -> None:
    folder = Path(__file__).resolve().parent.parent / "core" / "model" / "goldens"
    folder.mkdir(exist_ok=True)
    for case in CASES:
        logits = reference_logits(case)
        np.savez_compressed(folder / f"{case.name}.npz", logits=logits, transformers=transformers.__version__)
        print(f"{case.name}: {logits.shape}, largest {np.abs(logits).max():.2f}")


if __name__ == "__main__":
    main()
