"""Fuzz the importance matrices that `convert --imatrix` reads: GGUF heads, true ones with damage and invented ones.

    python tests/tools/fuzz_gguf.py [--count 100000] [--seed 1]

Reading ends with the importance of some modules or with one line. Exit code 1 where it does not.
"""

import struct
import sys
from functools import cache
from pathlib import Path
from random import Random

import numpy as np

from qwen_core.checkpoint.config import ModelConfig, parse_config
from qwen_core.convert.imatrix import read_imatrix

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from support.fuzzing import damage, main, words
from support.importance import random_importance, write_imatrix
from support.published_plan import text_config

NAMES = (
    "blk.0.ffn_up.weight.in_sum2", "blk.0.ffn_up.weight.counts", "blk.3.attn_q.weight.in_sum2",
    "output.weight.in_sum2", "blk.9999.ffn_up.weight.in_sum2", "blk.4.nextn.eh_proj.weight.in_sum2", ".in_sum2",
    "token_embd.weight.in_sum2",
)  # fmt: skip
HUGE = (0, 1, 2, 255, 1 << 31, 1 << 32, 1 << 33, 1 << 62, (1 << 64) - 1)
SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}


@cache
def _config() -> ModelConfig:
    text = text_config(True, {"num_hidden_layers": 4})
    return parse_config({"model_type": "qwen3_5", "text_config": {"model_type": "qwen3_5_text", **text}}, "config.json")


@cache
def _whole(place: Path) -> bytes:
    config = _config()
    return write_imatrix(place / "whole.gguf", random_importance(config, 0), config.num_hidden_layers).read_bytes()


def attempt(random: Random, place: Path) -> str:
    file = place / "imatrix.gguf"
    whole = _whole(place)
    how = random.randrange(3)
    if how == 0:  # anywhere in the head, which is where the bytes mean something
        head = whole[: len(whole) // 2]
        file.write_bytes(damage(random, head) + whole[len(head) :])
    elif how == 1:
        at = random.randrange(len(whole) - 8)
        number = struct.pack("<Q", random.choice(HUGE))
        file.write_bytes(whole[:at] + number + whole[at + 8 :] if random.random() < 0.8 else whole[:at])
    else:
        file.write_bytes(_invented(random))
    found = read_imatrix(file, _config(), mtp=random.random() < 0.5)
    if not all(bool(np.isfinite(values).all()) for values in found.values()):
        raise AssertionError("an importance that is no number")
    return "read"


def _invented(random: Random) -> bytes:
    """A head from the grammar of the format, counts and lengths true or not."""
    keys, tensors = random.randrange(4), random.randrange(5)
    order = random.choice(("<", "<", "<", ">"))

    def count(true: int) -> bytes:
        return struct.pack(f"{order}Q", true if random.random() < 0.95 else random.choice(HUGE))

    def text(value: str) -> bytes:
        data = value.encode("utf-8", "surrogatepass")
        return count(len(data)) + data

    def value(kind: int, depth: int) -> bytes:
        if kind in SCALARS:
            return struct.pack(f"{order}{SCALARS[kind]}", random.randrange(2))
        if kind == 8:
            return text(words(random))
        if kind == 9 and depth < 9:
            inner, length = random.choice((4, 8, 9)), random.randrange(4)
            return (
                struct.pack(f"{order}I", inner)
                + count(length)
                + b"".join(value(inner, depth + 1) for _ in range(length))
            )
        return b""

    out = (
        b"GGUF" + struct.pack(f"{order}I", random.choice((1, 2, 3, 3, 3, 3, 4, 1 << 16))) + count(tensors) + count(keys)
    )
    for _ in range(keys):
        kind = random.choice((*SCALARS, 8, 8, 9, 9, 13, 1 << 31))
        name = random.choice(("general.alignment", "general.type", "split.count", words(random)))
        out += text(name) + struct.pack(f"{order}I", kind) + value(kind, 0)
    for _ in range(tensors):
        sizes = [random.choice((1, 1, 2, 64, *HUGE)) for _ in range(random.choice((0, 1, 2, 2, 4, 9)))]
        out += text(random.choice((*NAMES, words(random)))) + struct.pack(f"{order}I", len(sizes))
        out += b"".join(struct.pack(f"{order}Q", size) for size in sizes)
        out += struct.pack(
            f"{order}IQ", random.choice((0, 0, 0, 1, 2, 12, 24, 40, 99)), random.choice((0, 0, 32, 64, *HUGE))
        )
    return out + bytes(random.randrange(2000))


if __name__ == "__main__":
    sys.exit(main(attempt, "GGUF heads", 100_000))
