"""The ids of a conversation as a turn needs them: what was fed stays as it was, the template writes the rest.

Which of them a state holds is session.py's question, how a template is rendered and encoded the text room's.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from qwen_core.protocol.events import Message
from qwen_core.text.chat_encoding import encode_chat, turn_suffix
from qwen_core.text.reasoning import parse_tool_calls
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


@dataclass(frozen=True)
class Head:
    """What a template writes before the first message: tokens up to the last control token, and the text behind it."""

    ids: tuple[int, ...]
    behind: str


class Prompts:
    """What one template and tokenizer make of conversations. Every method raises TextError where the template fails."""

    def __init__(self, template: ChatTemplate, tokenizer: Tokenizer, stop_ids: frozenset[int]) -> None:
        self._template = template
        self._tokenizer = tokenizer
        self._stop_ids = stop_ids
        self._control = frozenset(tokenizer.special_tokens.values())
        self._im_end = tokenizer.token_to_id("<|im_end|>")

    def encode(self, chat: list[dict[str, Any]], kwargs: Mapping[str, Any]) -> list[int]:
        """All of `chat`, rendered anew."""
        return encode_chat(self._template, self._tokenizer, chat, **kwargs)

    def chat(self, messages: Sequence[Message], system: str | None) -> list[dict[str, Any]]:
        """The conversation as the template takes it."""
        chat: list[dict[str, Any]] = [{"role": "system", "content": system}] if system else []
        for message in messages:
            entry: dict[str, Any] = {"role": message.role, "content": message.content}
            if message.role == "assistant":
                entry["reasoning_content"] = message.reasoning
                calls = parse_tool_calls(message.tool_calls)
                functions = [{"name": call.name, "arguments": dict(call.arguments)} for call in calls]
                if functions:
                    entry["tool_calls"] = [{"type": "function", "function": function} for function in functions]
            chat.append(entry)
        return chat

    def continued(
        self, run: Run, head: Head, chat: list[dict[str, Any]], kwargs: Mapping[str, Any]
    ) -> list[int] | None:
        """The ids of `run` and then the rest of `chat`; None where the template begins, or shows its last answer,
        otherwise.
        """
        if not self.begins(run.ids, head):
            return None
        base, answer = run.ids, len(run.messages) - 1 + (chat[0]["role"] == "system")
        # Reasoning and tool calls of that answer are in `base` already: only what follows them counts.
        last = {"role": "assistant", "content": run.messages[-1].content}
        whole = [*chat[:answer], last, *chat[answer + 1 :]]
        suffix = turn_suffix(self._template, self._tokenizer, whole, kwargs, answer)
        if suffix is None:
            return None
        if suffix and suffix[0] == self._im_end == base[-1]:
            suffix = suffix[1:]
        cut_off = run.reasoning_open and base[-1] not in self._stop_ids
        closing = self._tokenizer.encode("\n</think>\n\n") if cut_off else []
        return [*base, *closing, *suffix]

    def head(self, system: str | None, kwargs: Mapping[str, Any]) -> Head:
        """What the template writes before the first message: an effort may change it.

        What follows the last control token may be one token with the beginning of the message, so that is text: where
        nothing else stands there, it alone tells a question from a system prompt.
        """
        chat: list[dict[str, Any]] = [{"role": "system", "content": system}] if system else []
        one, two = (
            encode_chat(
                *(self._template, self._tokenizer, [*chat, {"role": "user", "content": word}]),
                **{**kwargs, "add_generation_prompt": False},
            )
            for word in ("a", "1")
        )
        same = next((n for n, pair in enumerate(zip(one, two, strict=False)) if pair[0] != pair[1]), 0)
        last = next((n for n in range(same, 0, -1) if one[n - 1] in self._control), 0)
        return Head(tuple(one[:last]), self._tokenizer.decode(one[last:same]))

    def begins(self, ids: Sequence[int], head: Head) -> bool:
        """Whether `ids` begin with `head`."""
        last = len(head.ids)
        # No token is shorter than a byte.
        there = self._tokenizer.decode(list(ids[last : last + len(head.behind.encode())]))
        return tuple(ids[:last]) == head.ids and there.startswith(head.behind)

    def opens_reasoning(self, ids: Sequence[int]) -> bool:
        """Whether `ids` end inside a reasoning block: the last think token opens one, in the last message."""
        opening, closing = self._tokenizer.token_to_id("<think>"), self._tokenizer.token_to_id("</think>")
        for token in reversed(ids):
            if token in (closing, self._im_end) and token is not None:
                return False
            if token == opening and token is not None:
                return True
        return False

    def boundary(self, chat: list[dict[str, Any]], target: list[int], kwargs: Mapping[str, Any]) -> int | None:
        """How many of the target ids stay the same once the answer's reasoning is dropped: a snapshot belongs there.

        That is where the text of the generation prompt and that of a finished answer part ways. None if it cannot
        be told.
        """
        answered = [*chat, {"role": "assistant", "content": "x"}, {"role": "user", "content": "x"}]
        later = encode_chat(self._template, self._tokenizer, answered, **kwargs)
        same = next((n for n, pair in enumerate(zip(target, later, strict=False)) if pair[0] != pair[1]), len(target))
        return same if 0 < same < len(target) else None
