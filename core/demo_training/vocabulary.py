"""The demo model's tokenizer: a byte-level BPE like Qwen's, trained on the corpus.

The same normalisation (NFC), the same splitting expression and the same 33 added tokens with the same `special`
flags as Qwen3.5; only the merges, and with them all ids, are its own. `<think>` and its kin are not special, so that
decoding shows them.
"""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from .corpus.corpus import conversations

SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)
# In Qwen's order; True: special, left out when decoding with skip_special_tokens.
ADDED_TOKENS: dict[str, bool] = {
    "<|endoftext|>": True, "<|im_start|>": True, "<|im_end|>": True, "<|object_ref_start|>": True,
    "<|object_ref_end|>": True, "<|box_start|>": True, "<|box_end|>": True, "<|quad_start|>": True,
    "<|quad_end|>": True, "<|vision_start|>": True, "<|vision_end|>": True, "<|vision_pad|>": True,
    "<|image_pad|>": True, "<|video_pad|>": True, "<tool_call>": False, "</tool_call>": False,
    "<|fim_prefix|>": False, "<|fim_middle|>": False, "<|fim_suffix|>": False, "<|fim_pad|>": False,
    "<|repo_name|>": False, "<|file_sep|>": False, "<tool_response>": False, "</tool_response>": False,
    "<think>": False, "</think>": False, "<|audio_start|>": True, "<|audio_end|>": True, "<tts_pad>": True,
    "<tts_text_bos>": True, "<tts_text_eod>": True, "<tts_text_bos_single>": True, "<|audio_pad|>": True,
}  # fmt: skip

_FLAGS = ("content", "lstrip", "normalized", "rstrip", "single_word", "special")


def train_tokenizer(size: int, seed: int, samples: int = 20_000) -> Tokenizer:
    """`size` ordinary tokens learnt from `samples` conversations, and the added ones behind them."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(SPLIT), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size, initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()), show_progress=False
    )
    texts = (
        piece
        for conversation in itertools.islice(conversations(seed), samples)
        for turn in conversation.turns
        for piece in (conversation.system or "", turn.question, turn.thought, turn.answer)
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.add_tokens([AddedToken(t, special=s, normalized=False) for t, s in ADDED_TOKENS.items()])
    return tokenizer


def write_tokenizer(tokenizer: Tokenizer, directory: Path, template: str) -> None:
    """tokenizer.json (compact: it ships in the wheel) and tokenizer_config.json."""
    data = json.loads(tokenizer.to_str())
    _write(directory / "tokenizer.json", data)
    decoder = {str(token["id"]): {key: token[key] for key in _FLAGS} for token in data["added_tokens"]}
    config = {
        "add_bos_token": False,
        "add_prefix_space": False,
        "added_tokens_decoder": decoder,
        "bos_token": None,
        "chat_template": template,
        "clean_up_tokenization_spaces": False,
        "eos_token": "<|im_end|>",
        "errors": "replace",
        "model_max_length": 4096,
        "pad_token": "<|endoftext|>",
        "split_special_tokens": False,
        "tokenizer_class": "PreTrainedTokenizerFast",
        "unk_token": None,
    }
    _write(directory / "tokenizer_config.json", config)


def _write(path: Path, data: dict[str, Any]) -> None:
    path.write_text(json.dumps(data, ensure_ascii=False, separators=(",", ":")), encoding="utf-8")
