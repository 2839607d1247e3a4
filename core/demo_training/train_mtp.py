"""Train the demo model's MTP layer on the frozen trunk: `python -m demo_training.train_mtp --out RAW`.

The trunk is the published model, its weights as they were rounded. Over the corpus the layer learns, from the trunk's
hidden vectors, the trunk's own distributions of the tokens of answers and thoughts, as the first, second and third
draft of a chain. RAW is one file as a shard of a raw checkpoint would be: `mtp.*` in bfloat16, norms stored as w with
1 + w meant. The converter puts the layer beside the model, whose own files stay as they are:

    qwen-tui convert --add-mtp RAW core/qwen_core/demo/model

Needs torch (the `train` extra) and, with the default arguments, less than ten minutes of one processor core.
Progress goes to stderr.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import time
from pathlib import Path

try:
    import torch
    import torch.nn.functional as F
except ImportError as error:
    raise SystemExit("demo_training.train_mtp: training needs torch; pip install '.[train]'") from error
from safetensors.torch import save_file
from torch import Tensor

from qwen_core.demo import demo_model_path

from .mtp_twin import MtpTwin
from .start import published_tokenizer, published_weights
from .train import VOCABULARY, batches, optimizers, rate
from .twin import Twin, TwinConfig

DEPTHS = 3


def places(learn: Tensor, depth: int) -> Tensor:
    """Pairs [B, T - 2] whose draft, `depth` places behind a true pair, is of use: an answer's first token is drawn
    before there is a draft, so all tokens of the chain and the one before them have to be learnt ones."""
    wanted = learn[:, 2:]
    for behind in range(depth + 1):
        wanted = wanted & learn.roll(behind - 1, 1)[:, :-2]
    return wanted


def losses(trunk: Twin, layer: MtpTwin, ids: Tensor, learn: Tensor) -> tuple[Tensor, list[float]]:
    """The mean distance from the trunk's distributions, and for each depth the share of drafts that are its choice."""
    with torch.no_grad():
        hidden = trunk.hidden(ids)
        embedded = F.embedding(ids[:, 1:], trunk.embed_tokens.weight)
    total, shares = torch.zeros(()), []
    for depth, drafts in enumerate(layer(embedded, hidden[:, :-1], DEPTHS)):
        wanted = places(learn, depth)
        with torch.no_grad():
            truth = trunk.lm_head(hidden[:, 1:-1][wanted])
        guess = trunk.lm_head(drafts[:, :-1][wanted])
        total = total + F.kl_div(guess.log_softmax(-1), truth.log_softmax(-1), log_target=True, reduction="batchmean")
        shares.append((guess.argmax(-1) == truth.argmax(-1)).float().mean().item())
    return total / DEPTHS, shares


def write_raw(layer: MtpTwin, file: Path) -> None:
    """The tensors as a shard of the model in Hugging Face's layout would hold them."""
    tensors = {f"mtp.{name}": p.detach().to(torch.bfloat16).contiguous() for name, p in layer.state_dict().items()}
    save_file(tensors, file, metadata={"format": "pt"})


def train(model: Path, out: Path, steps: int, budget: int, seed: int) -> None:
    """Train for `steps` batches on the trunk that the directory `model` holds, and leave the layer in `out`."""
    torch.manual_seed(seed)
    started = time.time()
    trunk = Twin(TwinConfig(VOCABULARY)).requires_grad_(False)
    trunk.load_state_dict(published_weights(model))
    layer = MtpTwin(trunk.c)
    print(f"{sum(p.numel() for p in layer.parameters()):,} parameters", file=sys.stderr, flush=True)
    opts = optimizers(layer)
    full_rates = [group["lr"] for opt in opts for group in opt.param_groups]
    source = batches(published_tokenizer(model), seed + 1, budget)
    for step, (ids, learn) in enumerate(itertools.islice(source, steps)):
        for group, full in zip((g for opt in opts for g in opt.param_groups), full_rates, strict=True):
            group["lr"] = full * rate(step, steps)
        loss, shares = losses(trunk, layer, ids, learn)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(layer.parameters(), 1.0)
        for opt in opts:
            opt.step()
            opt.zero_grad(set_to_none=True)
        if step % 20 == 0 or step + 1 == steps:
            right = ", ".join(f"{share:.1%}" for share in shares)
            print(
                f"step {step + 1}/{steps}  loss {loss.item():.4f}  the trunk's choice by depth: {right}  "
                f"{time.time() - started:,.0f} s",
                file=sys.stderr, flush=True,
            )  # fmt: skip
    write_raw(layer, out)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m demo_training.train_mtp", description=__doc__)
    parser.add_argument("--model", type=Path, default=demo_model_path(), help="the published trunk")
    parser.add_argument("--out", type=Path, required=True, help="file to write")
    parser.add_argument("--steps", type=int, default=220)
    parser.add_argument("--budget", type=int, default=2048, help="tokens in a batch, padding included")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    train(args.model, args.out, args.steps, args.budget, args.seed)


if __name__ == "__main__":
    main()
