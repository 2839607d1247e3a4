"""tokenizer.json, which is untrusted, as the library's tokenizer: only what Qwen models have, and no more of it.

A normaliser may multiply text, a pattern may search for ever or crash the library: so both are taken from a list.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import tokenizers

from qwen_core.checkpoint.directory import MAX_TOKENIZER_BYTES
from qwen_core.errors import CheckpointError, TextError, quote
from qwen_core.files import parse_json_object, read_bytes

MAX_VALUES = 2_000_000  # Qwen3.5 has 1,300,000
# Qwen3.5 adds 33, the longest of 21 characters. Each is looked for at every place of a text.
MAX_ADDED, MAX_ADDED_LENGTH = 512, 64
MAX_LENGTH = 1024  # of any token, in characters: Qwen3.5's longest, of blanks, has 128. An answer is many of them.
MAX_STEPS = 3  # of a normaliser, a pre-tokenizer or a decoder; Qwen has two. A step twice may double a text.

# How text is cut before it becomes tokens: Qwen2 to Qwen3, and Qwen3.5 on, where marks belong to their letters.
_CUTS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|"
    r"\s+(?!\S)|\s+",
)
# What BPE can do beside merging; some of it crashes the library where it does not fit the vocabulary.
_UNUSED_OPTIONS = (
    "dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix", "fuse_unk", "byte_fallback",
)  # fmt: skip

Result = TypeVar("Result")


def read_tokenizer(path: Path) -> tokenizers.Tokenizer:
    """The byte-level BPE tokenizer in the file. Raises TextError, naming it, for anything else."""
    try:
        data = read_bytes(path, MAX_TOKENIZER_BYTES)
        fields = parse_json_object(data, f"{quote(path)} is damaged", MAX_VALUES)
    except CheckpointError as error:
        raise TextError(str(error)) from None
    if problem := _problem(fields):
        raise TextError(f"{quote(path)} is not a tokenizer of a Qwen model: {problem}")
    made = called(path, lambda: tokenizers.Tokenizer.from_buffer(data))
    made.no_padding()
    made.no_truncation()
    return made


def called(path: Path, work: Callable[[], Result]) -> Result:
    """`work`, which calls the library. Raises TextError for whatever goes wrong in it, a crash of its Rust side too."""
    try:
        return work()
    except (KeyboardInterrupt, SystemExit, MemoryError):
        raise
    except BaseException as error:  # a panic of the Rust side is no Exception
        reason = quote(str(error).splitlines()[0] if str(error) else type(error).__name__)
        raise TextError(f"{quote(path)} is damaged, it is not a tokenizer: {reason}; fetch it again") from None


def _problem(fields: dict[str, Any]) -> str:
    """What is wrong with the file; nothing where it is what Qwen models have."""
    model, decoder = fields.get("model"), fields.get("decoder")
    if not isinstance(model, dict) or model.get("type", "BPE") != "BPE":
        return "its model is not byte-level BPE"
    for option in _UNUSED_OPTIONS:
        if model.get(option):
            return f"its model has {option}, where Qwen has none"
    vocabulary = model.get("vocab")
    if isinstance(vocabulary, dict) and max(map(len, vocabulary), default=0) > MAX_LENGTH:
        return f"a token of more than {MAX_LENGTH:,} characters"
    if not _merges_fit(model.get("merges"), vocabulary):
        return "it merges what is no token"
    if "ByteLevel" not in (entry.get("type") for entry in _flat(decoder, "decoders")):
        return "its decoder is not byte-level BPE's"
    for entry in _flat(fields.get("normalizer"), "normalizers"):
        if entry.get("type") != "NFC":
            return f"the normaliser {_named(entry)}, where Qwen has NFC or none"
    for entry in _flat(fields.get("pre_tokenizer"), "pretokenizers"):
        if entry.get("type") == "Split":
            if entry.get("pattern") not in [{"Regex": cut} for cut in _CUTS]:
                return "it cuts text by a pattern of its own"
        elif entry.get("type") != "ByteLevel":
            return f"the pre-tokenizer {_named(entry)}, where Qwen has Split and ByteLevel"
    for entry in _flat(fields.get("post_processor"), "processors"):
        if entry.get("type") != "ByteLevel":
            return f"the post-processor {_named(entry)}, where Qwen has ByteLevel or none"
    for part, members in (
        ("normalizer", "normalizers"),
        ("pre_tokenizer", "pretokenizers"),
        ("decoder", "decoders"),
        ("post_processor", "processors"),
    ):
        kinds = [json.dumps(entry.get("type")) for entry in _flat(fields.get(part), members)]
        if len(kinds) > MAX_STEPS or len(set(kinds)) < len(kinds):
            return f"its {part} takes a step twice, or more than {MAX_STEPS}"
    added = fields.get("added_tokens") or []
    if not isinstance(added, list) or len(added) > MAX_ADDED:
        return f"more than {MAX_ADDED:,} added tokens"
    for token in added:
        text = token.get("content") if isinstance(token, dict) else None
        if not isinstance(text, str) or len(text) > MAX_ADDED_LENGTH:
            return f"an added token that is not text of at most {MAX_ADDED_LENGTH} characters"
    return ""


def _merges_fit(merges: Any, vocabulary: Any) -> bool:
    """Whether each merge, "a b" or ["a", "b"], gives a token: the library may crash where one does not."""
    if not isinstance(merges, list) or not isinstance(vocabulary, dict):
        return False
    try:
        return all("".join(merge.split(" ") if isinstance(merge, str) else merge) in vocabulary for merge in merges)
    except TypeError:
        return False


def _flat(part: Any, members: str) -> list[dict[str, Any]]:
    """The steps of a part: none, one, or those of a sequence, which may hold no other sequence."""
    steps = part.get(members) if isinstance(part, dict) and part.get("type") == "Sequence" else part
    if steps is None:
        return []
    steps = steps if isinstance(steps, list) else [steps]
    return [step if isinstance(step, dict) else {"type": type(step).__name__} for step in steps]


def _named(step: dict[str, Any]) -> str:
    return quote(json.dumps(step.get("type"))[:40])
