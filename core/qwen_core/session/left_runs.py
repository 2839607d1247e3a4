"""Runs of a conversation that another effort or system prompt has left, and how a way back to them is told apart."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from qwen_core.protocol.events import Message
from qwen_core.text.chat_encoding import encode_chat
from qwen_core.text.template import ChatTemplate
from qwen_core.text.tokenizer import Tokenizer


@dataclass(frozen=True)
class Run:
    """The ids of finished turns as they were fed, the messages they stand for, and whether they end in reasoning."""

    ids: tuple[int, ...]
    messages: tuple[Message, ...]
    reasoning_open: bool

    def begins(self, messages: Sequence[Message]) -> bool:
        """Whether it ends in an answer and the conversation of these messages goes on from there."""
        told = len(self.messages)
        is_answered = told > 0 and self.messages[-1].role == "assistant"
        return bool(self.ids) and is_answered and self.messages == tuple(messages[:told])


def begins_alike(
    ids: Sequence[int], template: ChatTemplate, tokenizer: Tokenizer, system: str | None, kwargs: Mapping[str, Any]
) -> bool:
    """Whether `ids` begin with what the template writes before the first message: an effort may change it.

    Tokens are compared up to the last control token. What follows that may be one token with the beginning of the
    message, so it is compared as text: where nothing else stands there, it alone tells a question from a system prompt.
    """
    chat = [{"role": "system", "content": system}] if system else []
    one, two = (
        encode_chat(
            *(template, tokenizer, [*chat, {"role": "user", "content": word}]),
            **{**kwargs, "add_generation_prompt": False},
        )
        for word in ("a", "1")
    )
    same = next((n for n, pair in enumerate(zip(one, two, strict=False)) if pair[0] != pair[1]), 0)
    control = frozenset(tokenizer.special_tokens.values())
    last = next((n for n in range(same, 0, -1) if one[n - 1] in control), 0)
    behind = tokenizer.decode(one[last:same])
    # No token is shorter than a byte.
    there = tokenizer.decode(list(ids[last : last + len(behind.encode())]))
    return list(ids[:last]) == one[:last] and there.startswith(behind)
