"""Fuzz what a model directory is read from: headers, config.json, the index and tokenizer.json.

    python tests/tools/fuzz_checkpoints.py [--count 200000] [--seed 1]

Each input is a small checkpoint, of MLX's or of NVIDIA's tools, or a tokenizer, with some damage. Whatever it is,
opening it, describing its layout, reading values of it and encoding with it ends well or with one line. Exit code 1
where it does not.
"""

import json
import struct
import sys
from collections.abc import Callable
from functools import cache
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any

from qwen_core.checkpoint.directory import open_checkpoint
from qwen_core.checkpoint.layout import make_layout
from qwen_core.checkpoint.variants import identify
from qwen_core.convert.alignment import alignment_advice
from qwen_core.tensors.values import read_values
from qwen_core.text.tokenizer import Tokenizer, byte_alphabet
from qwen_core.text.tokenizer_file import _CUTS

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from support.checkpoints import edit_config, read_header_json, write_checkpoint
from support.fuzzing import change, damage, dumped, junk, main, words
from support.nvfp4_files import MODELOPT, PARTS, WAYS, Way, write_nvfp4

ONE, INDEX = "model.safetensors", "model.safetensors.index.json"
FILES = ("config.json", "generation_config.json", "hf_quant_config.json", INDEX)
DTYPES = ("U32", "U8", "BF16", "F16", "F32", "F8_E4M3", "F8_E5M2", "I64", "F4", "BOOL", "Q4", 3)
# The last words of names that some tool gives a part of a weight, or a scale beside it.
ENDS = tuple({part for parts in PARTS.values() for part in parts} | {"biases", "input_scale", "k_scale", "g_idx"})
TEXTS = ("Hello <|im_end|> 你好", "", "a" * 500, "\U0001f600\u0301 \r\n\t x", "'s 12 ===")
TYPES = (
    "BPE", "Unigram", "WordPiece", "ByteLevel", "Sequence", "Split", "Replace", "Prepend", "NFC", "NFKC",
    "Lowercase", "Strip", "Precompiled", "Metaspace", "Fuse", "TemplateProcessing", "Digits", "Whitespace",
)  # fmt: skip


def attempt(random: Random, place: Path) -> str:
    kind = random.randrange(3)
    if kind == 2:
        return _tokenizer(random, place)
    if random.random() < 0.4:
        path = _nvfp4(place, random.choice(WAYS))
    else:
        path = _checkpoint(place, random.choice(("nvfp4", "q4", "mxfp8")), random.random() < 0.3)
    if kind == 1:
        return _config(random, path)
    return _header(random, path)


@cache
def _checkpoint(place: Path, variant: str, sharded: bool) -> Path:
    """A whole checkpoint, made once in each process."""
    path = place / f"{variant}-{sharded}"
    write_checkpoint(path, variant, shard_cap=100_000 if sharded else None, text={"num_hidden_layers": 4})
    (path / "generation_config.json").write_text(
        '{"temperature": 0.6, "top_k": 20, "top_p": 0.95, "eos_token_id": [1]}'
    )
    return path


@cache
def _nvfp4(place: Path, way: Way) -> Path:
    """The same as other tools write it. Of modelopt the file beside config.json alone says so."""
    path = place / way
    write_nvfp4(path, way, text={"num_hidden_layers": 4})
    if way == "modelopt":
        edit_config(path, quantization_config=None)
        (path / "hf_quant_config.json").write_text(json.dumps({"producer": {"name": way}, "quantization": MODELOPT}))
    return path


def _opened(path: Path) -> str:
    checkpoint = open_checkpoint(path)
    for module in islice(checkpoint.used_specs, 2):
        read_values(checkpoint, module)
    layout = make_layout(checkpoint)
    identify(layout)
    alignment_advice(checkpoint)
    for line in (*checkpoint.warnings, checkpoint.mtp_problem):
        if not line.isprintable():
            raise AssertionError(f"not printable: {line!r}")
    return "opened"


def _header(random: Random, path: Path) -> str:
    file = random.choice(sorted(path.glob("*.safetensors")))
    original = file.read_bytes()
    (length,) = struct.unpack("<Q", original[:8])
    header, body = original[8 : 8 + length], original[8 + length :]
    how = random.randrange(4)
    if how == 0:
        header = damage(random, header)
    elif how == 1:
        tree = read_header_json(file)
        for _ in range(random.randint(1, 3)):
            change(random, tree)
        header = dumped(tree)
    else:
        header = dumped(_lies(random, read_header_json(file)))
    length = (
        len(header) if random.random() < 0.9 else random.choice((0, 1 << 63, length + 1, random.randrange(1 << 20)))
    )
    if random.random() < 0.1:
        body = body[: random.randrange(len(body))] if random.random() < 0.5 else body + random.randbytes(9)
    try:
        file.write_bytes(struct.pack("<Q", length) + header + body)
        return _opened(path)
    finally:
        file.write_bytes(original)


def _lies(random: Random, tree: dict[str, Any]) -> dict[str, Any]:
    """Headers that are well-formed and say what is not so of one or two tensors."""
    for _ in range(random.randint(1, 2)):
        name = random.choice([name for name in tree if name != "__metadata__"])
        entry = tree[name]
        what = random.randrange(6)
        if what == 0:
            entry["dtype"] = random.choice(DTYPES)
        elif what == 1 and entry["shape"]:
            entry["shape"][random.randrange(len(entry["shape"]))] = random.choice(
                (0, 1, -1, 1 << 62, random.randrange(99))
            )
        elif what == 2:
            entry["shape"] = [random.choice((0, 1, 2, 1 << 32))] * random.randrange(40)
        elif what == 4:
            tree[f"{name.rpartition('.')[0]}.{random.choice(ENDS)}"] = tree.pop(name)
        elif what == 3:
            entry["data_offsets"] = [random.choice((0, -1, 1 << 62, random.randrange(10**6))) for _ in range(2)]
        else:
            tree[random.choice((words(random), f"mtp.{name}", f"model.{name}", "x" * 70_000))] = tree.pop(name)
    return tree


def _config(random: Random, path: Path) -> str:
    file = path / random.choice([name for name in FILES if (path / name).exists()])
    original = file.read_bytes()
    try:
        file.write_bytes(_changed(random, original, 0.2, change))
        return _opened(path)
    finally:
        file.write_bytes(original)


def _changed(random: Random, data: bytes, damaged: float, edit: Callable[[Random, Any], None]) -> bytes:
    """A JSON file with some edits, or for a share of `damaged` with damage to its bytes."""
    if random.random() < damaged:
        return damage(random, data)
    tree = json.loads(data)
    for _ in range(random.randint(1, 3)):
        edit(random, tree)
    return dumped(tree)


@cache
def _whole_tokenizer() -> bytes:
    vocabulary = {character: number for number, character in enumerate(byte_alphabet())}
    merges = ["h e", "l l", "he ll", "Ġ a"]
    vocabulary |= {merge.replace(" ", ""): len(vocabulary) + number for number, merge in enumerate(merges)}
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False}
    split = {"type": "Split", "pattern": {"Regex": _CUTS[1]}, "behavior": "Isolated", "invert": False}
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    added = [
        {"id": 300 + n, "content": text, **flags} for n, text in enumerate(("<|im_start|>", "<|im_end|>", "<think>"))
    ]
    model = {"type": "BPE", "vocab": vocabulary, "merges": merges, "byte_fallback": False, "ignore_merges": False}
    return dumped(
        {
            "version": "1.0",
            "truncation": None,
            "padding": None,
            "added_tokens": added,
            "normalizer": {"type": "NFC"},
            "pre_tokenizer": {"type": "Sequence", "pretokenizers": [split, byte_level]},
            "post_processor": byte_level,
            "decoder": byte_level,
            "model": model,
        }
    )


def _tokenizer(random: Random, place: Path) -> str:
    file = place / "tokenizer.json"
    file.write_bytes(_changed(random, _whole_tokenizer(), 0.15, _change_tokenizer))
    tokenizer = Tokenizer(file)
    for text in TEXTS:
        ids = tokenizer.encode(text)
        tokenizer.decode(ids)
        tokenizer.cut_at_control(text)
    for id in (-1, 0, 300, 1 << 20):
        tokenizer.token_bytes(id)
    return "a tokenizer"


def _change_tokenizer(random: Random, tree: dict[str, Any]) -> None:
    what = random.randrange(8)
    if what == 0:
        part = random.choice(("normalizer", "pre_tokenizer", "decoder", "post_processor"))
        tree[part] = {"type": random.choice(TYPES), words(random): junk(random)}
    elif what == 1 and isinstance(tree.get("model"), dict):
        model = tree["model"]
        model[
            random.choice(
                (*model, "dropout", "unk_token", "fuse_unk", "continuing_subword_prefix", "end_of_word_suffix")
            )
        ] = junk(random)
    elif what == 2 and isinstance(tree.get("added_tokens"), list):
        content = random.choice((words(random), "", "a", "he", "x" * 300, " "))
        flags = {flag: random.random() < 0.5 for flag in ("single_word", "lstrip", "rstrip", "normalized", "special")}
        tree["added_tokens"].append({"id": random.choice((0, 5, 400, 1 << 20, 1 << 31)), "content": content, **flags})
    elif what == 3:
        side = {
            "direction": "Right",
            "max_length": random.choice((0, 1, 1 << 40)),
            "strategy": "LongestFirst",
            "stride": 9,
        }
        tree[random.choice(("truncation", "padding"))] = side
    else:
        change(random, tree)


if __name__ == "__main__":
    sys.exit(main(attempt, "headers, configs and tokenizers", 200_000))
