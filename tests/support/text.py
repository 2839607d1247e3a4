"""Text files for small test checkpoints: a tokenizer with Qwen's added tokens, and a ChatML template of our own.

    write_text_files(directory)   tokenizer.json, tokenizer_config.json, chat_template.jinja, generation_config.json

The tokenizer is byte-level BPE with merges learnt from a few sentences here: TOKENIZER_SIZE ids in all, so it fits
every embedding with that many rows. The template follows the ChatML dialect of Qwen3.5: a generation prompt that opens
reasoning (or closes it when `enable_thinking` is false), past reasoning dropped, contents trimmed.
"""

import json
from functools import cache
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import AddedToken, decoders, models, normalizers, pre_tokenizers, trainers

ORDINARY_IDS = 320
# Spelling -> whether tokenizer.json flags it special, in the order of Qwen3.5's ids.
ADDED_TOKENS: dict[str, bool] = {
    **dict.fromkeys(("<|endoftext|>", "<|im_start|>", "<|im_end|>"), True),
    **dict.fromkeys(("<|object_ref_start|>", "<|object_ref_end|>", "<|box_start|>", "<|box_end|>"), True),
    **dict.fromkeys(("<|quad_start|>", "<|quad_end|>", "<|vision_start|>", "<|vision_end|>"), True),
    **dict.fromkeys(("<|vision_pad|>", "<|image_pad|>", "<|video_pad|>"), True),
    **dict.fromkeys(("<tool_call>", "</tool_call>", "<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>"), False),
    **dict.fromkeys(("<|fim_pad|>", "<|repo_name|>", "<|file_sep|>"), False),
    **dict.fromkeys(("<tool_response>", "</tool_response>", "<think>", "</think>"), False),
    **dict.fromkeys(("<|audio_start|>", "<|audio_end|>", "<tts_pad>", "<tts_text_bos>"), True),
    **dict.fromkeys(("<tts_text_eod>", "<tts_text_bos_single>", "<|audio_pad|>"), True),
}
TOKENIZER_SIZE = ORDINARY_IDS + len(ADDED_TOKENS)

TEMPLATE = """\
{%- for message in messages %}
    {%- if message.role not in ('system', 'user', 'assistant', 'tool') %}
        {{- raise_exception('Unknown role ' ~ message.role) }}
    {%- endif %}
    {{- '<|im_start|>' ~ message.role ~ '\\n' }}
    {%- if message.role == 'assistant' and (preserve_thinking or loop.last) and message.reasoning_content %}
        {{- '<think>\\n' ~ message.reasoning_content | trim ~ '\\n</think>\\n\\n' }}
    {%- endif %}
    {{- message.content | trim ~ '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n<think>\\n' }}
    {%- if enable_thinking is defined and not enable_thinking %}
        {{- '\\n</think>\\n\\n' }}
    {%- endif %}
{%- endif %}
"""

# The dialect of Qwen3.8: an effort by name, two of which change the text before the conversation; any other one raises.
EFFORT_TEMPLATE = """\
{%- set instructions = '' %}
{%- if enable_thinking is undefined or enable_thinking %}
    {%- set effort = reasoning_effort|default('xhigh') %}
    {%- if effort not in ('xhigh', 'medium', 'low') %}{{- raise_exception('no effort ' ~ effort) }}{%- endif %}
    {%- if effort != 'medium' %}{%- set instructions = 'Think at ' ~ effort ~ '.' %}{%- endif %}
{%- endif %}
{%- if instructions %}{{- '<|im_start|>system\\n' ~ instructions ~ '<|im_end|>\\n' }}{%- endif %}
""" + TEMPLATE.replace("(preserve_thinking or loop.last)", "(preserve_thinking|default(true) or loop.last)")

# A template that changes contents on the way, so that no answer comes back as it was.
REWRITING_TEMPLATE = TEMPLATE.replace("message.content | trim", "message.content | upper | replace('A', 'AA') | trim")

_SAMPLES = (
    "What is the capital of France? The capital of France is Paris.",
    "And which of those three cities is the largest? Tokyo is the largest of the three.",
    "Weights are stored in groups of sixteen, and each group has a scale.",
    "user\n assistant\n system\n thinking about the answer\n\n",
)


@cache
def tokenizer_json() -> str:
    """The text of tokenizer.json."""
    tokenizer = tokenizers.Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=ORDINARY_IDS, initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()), show_progress=False
    )
    tokenizer.train_from_iterator(_SAMPLES, trainer)
    tokenizer.add_tokens(
        [AddedToken(text, special=special, normalized=False) for text, special in ADDED_TOKENS.items()]
    )
    if tokenizer.get_vocab_size() != TOKENIZER_SIZE:
        raise AssertionError(f"{tokenizer.get_vocab_size()} ids instead of {TOKENIZER_SIZE}: too few merges to learn")
    return tokenizer.to_str()


def write_text_files(directory: Path, template: str = TEMPLATE, generation: dict[str, Any] | None = None) -> None:
    """Add the four text files to a checkpoint directory. `generation` adds to generation_config.json."""
    ids = {token["content"]: token["id"] for token in json.loads(tokenizer_json())["added_tokens"]}
    (directory / "tokenizer.json").write_text(tokenizer_json(), encoding="utf-8")
    settings = {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>", "tokenizer_class": "Qwen2Tokenizer"}
    (directory / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    (directory / "chat_template.jinja").write_text(template, encoding="utf-8")
    defaults = {"eos_token_id": [ids["<|im_end|>"], ids["<|endoftext|>"]], "pad_token_id": ids["<|endoftext|>"]}
    (directory / "generation_config.json").write_text(json.dumps(defaults | (generation or {})), encoding="utf-8")
