"""Conversations as token ids, such that only the chat template makes control tokens.

People, files and earlier answers may spell `<|im_end|>`. Rendered and encoded as one text, that would end the turn.
So the character that begins such a spelling is swapped for a private-use character in contents before rendering: the
template cannot see it, nothing it joins, trims, cuts or puts in lower case can make it whole, and one character cannot
be damaged. The tokenizer then finds the control tokens, which are the template's own; the runs of text between them get
their characters back and are encoded as ordinary text.

Contents with that character and no spelling are also rendered as they are, and that is what counts unless the template
has made control tokens of them. What no swap can prevent: a template that writes the beginning character itself in
place of something that a person wrote (`replace('[', '<')`).
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

from qwen_core.errors import TextError
from qwen_core.text.template import ChatTemplate
from qwen_core.text.tokenizer import Tokenizer

_MAX_DEPTH = 64
_ESCAPE = re.compile(r"\\u[0-9a-f]{4}")
# What a template asks a conversation for: our words, not a person's. A control token may begin with a letter of them.
_OWN_NAMES = frozenset(
    ("messages", "tools", "role", "content", "reasoning_content", "thinking", "tool_calls", "type", "function", "name",
     "arguments", "parameters", "description")
)  # fmt: skip
_OWN_VALUES = {"role": ("system", "user", "assistant", "tool"), "type": ("function", "text")}
_PRIVATE_USE = (range(0xE000, 0xF900), range(0xF0000, 0xFFFFE), range(0x100000, 0x10FFFE))


def encode_chat(
    template: ChatTemplate, tokenizer: Tokenizer, messages: Sequence[Mapping[str, Any]], **kwargs: Any
) -> list[int]:
    """Token ids of a conversation. `kwargs` as for `ChatTemplate.render`; of these only `tools` is not trusted.

    Contents without a control token's spelling give exactly `tokenizer.encode` of the rendered text. Raises TextError,
    also where the template makes nothing of the conversation.
    """
    chat = {"messages": list(messages), "tools": kwargs.pop("tools", None)}
    ids = _Markers(template, tokenizer, chat).encode(chat, lambda chat: template.render(**chat, **kwargs))
    if not ids:
        raise TextError(f"{template.name} makes an empty prompt of this conversation: is the file damaged?")
    return ids


def turn_suffix(
    template: ChatTemplate,
    tokenizer: Tokenizer,
    messages: Sequence[Mapping[str, Any]],
    kwargs: Mapping[str, Any],
    answer: int | None = None,
) -> list[int] | None:
    """Ids that follow an assistant message's content, the last one's or that of the message numbered `answer`: what to
    append after an answer as it was generated.

    `messages` hold that answer and what was said after it. The suffix usually begins with the end of the turn
    (`<|im_end|>`), which the caller drops if the answer's ids have it already. None if the template does not show
    the content exactly once and unchanged (white space around it apart), so that the answer's ids are not what it
    would make of them. Raises TextError.
    """
    last = max((n for n, message in enumerate(messages) if message.get("role") == "assistant"), default=None)
    last = last if answer is None else answer
    if last is None or not isinstance(messages[last].get("content"), str):
        return None
    kwargs = dict(kwargs)
    chat = {"messages": list(messages), "tools": kwargs.pop("tools", None)}
    markers = _Markers(template, tokenizer, chat)
    edge = markers.new()

    def suffix(chat: Any) -> str:
        answer = chat["messages"][last]
        # The content itself between two edges: a template that cuts or rewrites it shows by that it does.
        answer["content"] = edge + answer["content"] + edge
        rendered = template.render(**chat, **kwargs)
        if rendered.count(edge) != 2 or answer["content"] not in rendered:
            raise _Changed
        return rendered.rpartition(edge)[2]

    try:
        return markers.encode(chat, suffix)
    except _Changed:
        return None


class _Changed(Exception):
    """The template does not show an answer as it was."""


class _Markers:
    """Private characters that occur nowhere in a chat or its template, and the encoding of text that holds them."""

    def __init__(self, template: ChatTemplate, tokenizer: Tokenizer, chat: Any) -> None:
        self._tokenizer = tokenizer
        self._template = template
        self._texts = list(_strings(chat))
        self._free: Iterator[str] | None = None
        self._spelling = _pattern(tuple(sorted(filter(None, tokenizer.special_tokens), key=len, reverse=True)))
        firsts = dict.fromkeys(spelling[0] for spelling in tokenizer.special_tokens if spelling)
        self._spelt = any(map(self._spelling.search, self._texts))
        begun = self._spelt or any(first in text for text in self._texts for first in firsts)
        self._swaps = {first: self.new() for first in firsts} if begun else {}

    def new(self) -> str:
        """A character that has not been handed out yet."""
        if self._free is None:
            text = "".join([self._template.source, *self._texts])
            taken = {*text, *_ESCAPE.findall(text.lower())}
            self._free = (c for c in map(chr, _candidates()) if c not in taken and _escape(c)[:6] not in taken)
        character = next(self._free, None)
        if character is None:
            raise TextError("the conversation holds every private-use character there is: leave some out")
        return character

    def encode(self, chat: Any, render: Callable[[Any], str]) -> list[int]:
        """Ids of what `render` makes of a copy of the chat, such that the chat's words make no control token in it."""
        rendered = render(_swapped(chat, self._swaps))
        if not self._swaps:
            return self._tokenizer.encode(rendered)
        if not self._spelt:
            plain = render(_swapped(chat, {}))
            if self._spelling.findall(plain) == self._spelling.findall(rendered):
                return self._tokenizer.encode(plain)
        ids: list[int] = []
        for piece in self._tokenizer.cut_at_control(rendered):
            if isinstance(piece, int):
                ids.append(piece)
            else:
                ids += self._tokenizer.encode_ordinary(self._restored(piece))
        return ids

    def _restored(self, text: str) -> str:
        for original, marker in self._swaps.items():
            # A template may have written the contents as ASCII JSON.
            text = text.replace(marker, original).replace(_escape(marker), original)
        return text


@lru_cache(maxsize=4)
def _pattern(spellings: tuple[str, ...]) -> re.Pattern[str]:
    """Finds the first that matches of `spellings`; without any, nothing."""
    return re.compile("|".join(map(re.escape, spellings)) or "(?!)")


def _strings(value: Any) -> Iterator[str]:
    """Every string in a JSON-like value, keys too."""
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, str):
            yield item
        elif isinstance(item, Mapping):
            waiting += [*item.keys(), *item.values()]
        elif isinstance(item, list | tuple):
            waiting += item


def _swapped(value: Any, swaps: Mapping[str, str], depth: int = 0) -> Any:
    """A copy of a JSON-like value with characters swapped in every string."""
    if isinstance(value, str):
        return value.translate(str.maketrans(dict(swaps))) if swaps else value
    if depth > _MAX_DEPTH:
        raise TextError(f"a message or tool is nested more than {_MAX_DEPTH} levels deep")
    if isinstance(value, Mapping):
        return {
            key if key in _OWN_NAMES else _swapped(key, swaps, depth + 1): (
                item if key in _OWN_VALUES and item in _OWN_VALUES[key] else _swapped(item, swaps, depth + 1)
            )
            for key, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [_swapped(item, swaps, depth + 1) for item in value]
    return value


def _candidates() -> Iterator[int]:
    for block in _PRIVATE_USE:
        yield from block


def _escape(character: str) -> str:
    """The character as JSON in ASCII writes it."""
    units = character.encode("utf-16-be")
    return "".join(f"\\u{units[n]:02x}{units[n + 1]:02x}" for n in range(0, len(units), 2))
