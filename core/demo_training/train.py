"""Train the demo model by one command: `python -m demo_training.train --out DIR --publish MODEL_DIR`.

From nothing, or with `--start MODEL_DIR` on from a model that was published before. Writes a raw checkpoint in the
Hugging Face layout (bfloat16, norms stored as w with 1 + w meant, conv1d [C, 1, 4]) with its tokenizer to DIR; with
`--publish MODEL_DIR` the converter (publish.py) then makes of it the quantised model that ships. Needs torch (the
`train` extra) and, with the default arguments, about an hour on two processor cores. Progress goes to stderr.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import random
import sys
import time
from collections.abc import Iterator
from pathlib import Path

try:
    import torch
    import torch.nn.functional as F
except ImportError as error:
    raise SystemExit("demo_training.train: training needs torch; pip install '.[train]'") from error
from safetensors.torch import save_file
from tokenizers import Tokenizer
from torch import Tensor, nn

from .configuration import generation_config, raw_config
from .corpus.corpus import conversations, encode
from .muon import Muon
from .publish import publish
from .start import published_tokenizer, published_weights
from .twin import Twin, TwinConfig
from .vocabulary import train_tokenizer, write_tokenizer

TEMPLATE = Path(__file__).with_name("chat_template.jinja")
ORDINARY_TOKENS = 3000
VOCABULARY = 3072  # more than the tokenizer has, as in the real checkpoint: the rest must never be sampled
LONGEST = 1024
POOL = 2048


def batches(tokenizer: Tokenizer, seed: int, budget: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Endless (ids [B, T], learn [B, T]) of about `budget` tokens, rows of like length together."""
    source = conversations(seed)
    rng = random.Random(seed)

    def tokenize(text: str) -> list[int]:
        return tokenizer.encode(text, add_special_tokens=False).ids

    while True:
        rows = [encode(conversation, tokenize) for conversation in itertools.islice(source, POOL)]
        rows = sorted((row for row in rows if len(row[0]) <= LONGEST), key=lambda row: len(row[0]))
        groups: list[list[tuple[list[int], list[bool]]]] = [[]]
        for row in rows:
            if len(row[0]) * (len(groups[-1]) + 1) > budget and groups[-1]:
                groups.append([])
            groups[-1].append(row)
        rng.shuffle(groups)
        for group in groups:
            width = max(len(ids) for ids, _ in group)
            ids = torch.zeros(len(group), width, dtype=torch.long)
            learn = torch.zeros(len(group), width, dtype=torch.bool)
            for i, (row, mask) in enumerate(group):
                ids[i, : len(row)] = torch.tensor(row)
                learn[i, : len(row)] = torch.tensor(mask)
            yield ids, learn


def loss_of(model: Twin, ids: Tensor, learn: Tensor) -> Tensor:
    """Mean cross-entropy of the tokens to be learnt; only those rows go through lm_head."""
    wanted = learn[:, 1:]
    return F.cross_entropy(model.lm_head(model.hidden(ids)[:, :-1][wanted]), ids[:, 1:][wanted])


def optimizers(model: nn.Module) -> list[torch.optim.Optimizer]:
    """Muon for the layers' matrices; Adam for embeddings, head, convolutions, norms and gates."""
    matrices, tables, small = [], [], []
    for name, p in model.named_parameters():
        if name.startswith(("embed_tokens", "lm_head")):
            tables.append(p)
        elif p.ndim == 2 and min(p.shape) >= 64:
            matrices.append(p)
        else:
            small.append(p)
    adam = torch.optim.Adam(tables + small, lr=4e-3, betas=(0.9, 0.97), eps=1e-10)
    return [Muon(matrices, 0.02), adam]


def rate(step: int, steps: int) -> float:
    """Share of the full learning rate: a short warm-up, level, then down to nothing over the last 60 %."""
    warm, left = (step + 1) / 40, (steps - step) / (0.6 * steps)
    return min(1.0, warm, left)


def write_raw(model: Twin, tokenizer: Tokenizer, directory: Path) -> None:
    """The checkpoint as Hugging Face would store it."""
    directory.mkdir(parents=True, exist_ok=True)
    tensors = {}
    for name, p in model.state_dict().items():
        full = name if name.startswith("lm_head") else f"model.language_model.{name}"
        tensors[full] = p.detach().to(torch.bfloat16).contiguous()
    save_file(tensors, directory / "model.safetensors", metadata={"format": "pt"})
    template = TEMPLATE.read_text(encoding="utf-8")
    (directory / "chat_template.jinja").write_text(template, encoding="utf-8")
    write_tokenizer(tokenizer, directory, template)
    for file, data in (
        ("config.json", raw_config(model.c, tokenizer)),
        ("generation_config.json", generation_config(tokenizer)),
    ):
        (directory / file).write_text(json.dumps(data, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def train(
    out: Path,
    steps: int,
    budget: int,
    rounded_share: float,
    seed: int,
    save_every: int,
    start: Path | None,
    share: float,
) -> None:
    """Train for `steps` batches and leave the result in `out`; every `save_every` steps too."""
    torch.manual_seed(seed)
    started = time.time()
    tokenizer = train_tokenizer(ORDINARY_TOKENS, seed) if start is None else published_tokenizer(start)
    model = Twin(TwinConfig(VOCABULARY))
    if start is not None:
        model.load_state_dict(published_weights(start))
    count = sum(p.numel() for p in model.parameters())
    print(f"{count:,} parameters, {tokenizer.get_vocab_size()} tokens in the vocabulary", file=sys.stderr, flush=True)
    write_raw(model, tokenizer, out)
    opts = optimizers(model)
    full_rates = [group["lr"] for opt in opts for group in opt.param_groups]
    seen, learnt, smooth = 0, 0, math.nan
    for step, (ids, learn) in enumerate(itertools.islice(batches(tokenizer, seed + 1, budget), steps)):
        if step == int(steps * (1 - rounded_share)):
            model.set_rounded(True)
        for group, full in zip((g for opt in opts for g in opt.param_groups), full_rates, strict=True):
            group["lr"] = full * share * rate(step, steps)
        loss = loss_of(model, ids, learn)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for opt in opts:
            opt.step()
            opt.zero_grad(set_to_none=True)
        seen, learnt = seen + ids.numel(), learnt + int(learn.sum())
        smooth = loss.item() if math.isnan(smooth) else 0.95 * smooth + 0.05 * loss.item()
        if step % 20 == 0 or step + 1 == steps:
            spent = time.time() - started
            print(
                f"step {step + 1}/{steps}  loss {smooth:.4f}  {seen:,} tokens ({learnt:,} learnt)  "
                f"{seen / spent:,.0f} tokens/s  {spent:,.0f} s",
                file=sys.stderr, flush=True,
            )  # fmt: skip
        if (step + 1) % save_every == 0:
            write_raw(model, tokenizer, out)
    write_raw(model, tokenizer, out)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m demo_training.train", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="directory of the raw checkpoint")
    parser.add_argument("--publish", type=Path, help="directory of the quantised model, new or empty")
    parser.add_argument("--start", type=Path, help="published model to go on from, with its tokenizer")
    parser.add_argument("--rate", type=float, default=1.0, help="share of the usual learning rates")
    parser.add_argument("--steps", type=int, default=1800)
    parser.add_argument("--budget", type=int, default=4096, help="tokens in a batch, padding included")
    parser.add_argument("--rounded-share", type=float, default=0.15, help="share of the steps on rounded weights")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--save-every", type=int, default=100)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    train(args.out, args.steps, args.budget, args.rounded_share, args.seed, args.save_every, args.start, args.rate)
    if args.publish is not None:
        publish(args.out, args.publish)


if __name__ == "__main__":
    main()
