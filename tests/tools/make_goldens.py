"""Write tests/core/model/goldens/*.npz: float32 logits of transformers' Qwen3.5 for the models of support/reference.py.

    python tests/tools/make_goldens.py [NAME]...    # needs torch and transformers; not run by the tests

The prompt is fed in one pass and the rest token by token over the reference's own cache, as a runtime would. Of a
stretched context also the first draft of an MTP layer (mtp-*.npz), made of the reference's own parts: it has none, and
mlx-vlm's, of which make_mtp_goldens.py takes the others, knows no YaRN.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import torch
import transformers
from transformers.models.qwen3_5 import Qwen3_5ForCausalLM, Qwen3_5TextConfig
from transformers.models.qwen3_5.modeling_qwen3_5 import (
    Qwen3_5DecoderLayer,
    Qwen3_5RMSNorm,
    Qwen3_5TextRotaryEmbedding,
)
from transformers.models.qwen3_5_moe import Qwen3_5MoeForCausalLM, Qwen3_5MoeTextConfig

from support.reference import CASES, MIXTURES, PROMPT, STRETCHED, Case, mtp_hidden, mtp_weights, weights


def reference_logits(case: Case) -> np.ndarray:
    """float32 logits [PROMPT + STEPS, vocab] of transformers' implementation."""
    if case.is_mixture:
        model = Qwen3_5MoeForCausalLM(Qwen3_5MoeTextConfig(**case.config)).float().eval()
    else:
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


def reference_draft(case: Case) -> np.ndarray:
    """float32 logits [1, vocab] of the first draft behind the prompt's pairs (FORMAT.md, step 10)."""
    config = Qwen3_5TextConfig(**case.config)
    assert config.layer_types is not None
    config._attn_implementation = "eager"
    tensors = {name: torch.from_numpy(value.copy()) for name, value in mtp_weights(case)}
    model = {name: torch.from_numpy(value.copy()) for name, value in weights(case)}
    layer = Qwen3_5DecoderLayer(config, config.layer_types.index("full_attention"))
    part = "layers.0."
    layer.load_state_dict({name.removeprefix(part): value for name, value in tensors.items() if name.startswith(part)})

    def norm(x: torch.Tensor, name: str) -> torch.Tensor:
        module = Qwen3_5RMSNorm(config.hidden_size, config.rms_norm_eps)
        module.load_state_dict({"weight": tensors[f"{name}.weight"]})
        return module(x)

    with torch.no_grad():
        embedded = model["embed_tokens.weight"][torch.tensor([case.ids[1 : PROMPT + 1]])]
        hidden = torch.from_numpy(mtp_hidden(case).copy())
        pairs = torch.cat([norm(embedded, "pre_fc_norm_embedding"), norm(hidden, "pre_fc_norm_hidden")], dim=-1)
        x = pairs @ tensors["fc.weight"].T
        positions = torch.arange(PROMPT)[None]
        rotation = Qwen3_5TextRotaryEmbedding(config)(x, positions[None].expand(3, 1, -1))
        mask = torch.full((PROMPT, PROMPT), float("-inf")).triu(1)[None, None]
        out = layer(x, position_embeddings=rotation, attention_mask=mask)
        out = out[0] if isinstance(out, tuple) else out
        head = model["embed_tokens.weight" if case.tied else "lm_head.weight"]
        return (norm(out, "norm")[0, -1:] @ head.T).numpy()


def main() -> None:
    folder = Path(__file__).resolve().parent.parent / "core" / "model" / "goldens"
    folder.mkdir(exist_ok=True)
    wanted = sys.argv[1:] or [case.name for case in (*CASES, *MIXTURES, *STRETCHED)]
    for case in (case for case in (*CASES, *MIXTURES, *STRETCHED) if case.name in wanted):
        logits = reference_logits(case)
        np.savez_compressed(folder / f"{case.name}.npz", logits=logits, transformers=transformers.__version__)
        print(f"{case.name}: {logits.shape}, largest {np.abs(logits).max():.2f}")
    for case in (case for case in STRETCHED if case.name in wanted):
        logits = reference_draft(case)
        np.savez_compressed(folder / f"mtp-{case.name}.npz", logits=logits, transformers=transformers.__version__)
        print(f"mtp-{case.name}: {logits.shape}, largest {np.abs(logits).max():.2f}")


if __name__ == "__main__":
    main()
