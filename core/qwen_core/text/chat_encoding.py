"""Conversations as token ids, such that only the chat template makes control tokens.

People, files and earlier answers may spell `<|im_end|>`. Rendered and encoded as one text, that would end the turn.
So where contents hold such a spelling, the character that begins it is swapped for a private-use character before
rendering: the template cannot see it, nothing it joins, trims or cuts can make it whole, and one character cannot be
damaged. The tokenizer then finds the control tokens, which are the template's own; the runs of text between them get
their characters back and are encoded as ordinary text. Without such spellings nothing is swapped.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

from qwen_core.errors import TextError
from qwen_core.text.template import ChatTemplate
from qwen_core.text.tokenizer import Tokenizer

_MAX_DEPTH = 64
_ESCAPE = re.compile(r"\\u[0-9a-f]{4}")
_PRIVATE_USE = (range(0xE000, 0xF900), range(0xF0000, 0xFFFFE), range(0x100000, 0x10FFFE))


def encode_chat(
    template: ChatTemplate, tokenizer: Tokenizer, messages: Sequence[Mapping[str, Any]], **kwargs: Any
) -> list[int]:
    """Token ids of a conversation. `kwargs` as for `ChatTemplate.render`; of these only `tools` is not trusted.

    Contents without a control token's spelling give exactly `tokenizer.encode` of the rendered text. Raises TextError,
    also where the template makes nothing of the conversation.
    """
    chat = {"messages": list(messages), "tools": kwargs.pop("tools", None)}
    markers = _Markers(template, tokenizer, chat)
    ids = markers.encode(template.render(**_swapped(chat, markers.swaps), **kwargs))
    if not ids:
        raise TextError(f"{template.name} makes an empty prompt of this conversation: is the file damaged?")
    return ids


def turn_suffix(
    template: ChatTemplate, tokenizer: Tokenizer, messages: Sequence[Mapping[str, Any]], kwargs: Mapping[str, Any]
) -> list[int] | None:
    """Ids that follow the last assistant message's content: what to append after an answer as it was generated.

    `messages` hold that answer and what was said after it. The suffix usually begins with the end of the turn
    (`<|im_end|>`), which the caller drops if the answer's ids have it already. None if the template does not show
    the content exactly once and unchanged (white space around it apart), so that the answer's ids are not what it
    would make of them. Raises TextError.
    """
    last = max((n for n, message in enumerate(messages) if message.get("role") == "assistant"), default=None)
    if last is None or not isinstance(messages[last].get("content"), str):
        return None
    kwargs = dict(kwargs)
    chat = {"messages": list(messages), "tools": kwargs.pop("tools", None)}
    markers = _Markers(template, tokenizer, chat)
    edge = markers.new()
    chat = _swapped(chat, markers.swaps)
    answer = chat["messages"][last]
    # The content itself between two edges: a template that cuts or rewrites it shows by that it does.
    answer["content"] = edge + answer["content"] + edge
    rendered = template.render(**chat, **kwargs)
    if rendered.count(edge) != 2 or answer["content"] not in rendered:
        return None
    return markers.encode(rendered.rpartition(edge)[2])


class _Markers:
    """Private characters that occur nowhere in a chat or its template, and the encoding of text that holds them."""

    def __init__(self, template: ChatTemplate, tokenizer: Tokenizer, chat: Any) -> None:
        self._tokenizer = tokenizer
        self._template = template
        self._texts = list(_strings(chat))
        self._free: Iterator[str] | None = None
        spellings = tuple(sorted(filter(None, tokenizer.special_tokens)))
        self.swaps: dict[str, str] = {}
        if spellings and _any_spelling(self._texts, spellings):
            self.swaps = {first: self.new() for first in dict.fromkeys(spelling[0] for spelling in spellings)}

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

    def encode(self, rendered: str) -> list[int]:
        if not self.swaps:
            return self._tokenizer.encode(rendered)
        ids: list[int] = []
        for piece in self._tokenizer.cut_at_control(rendered):
            if isinstance(piece, int):
                ids.append(piece)
            else:
                ids += self._tokenizer.encode_ordinary(self._restored(piece))
        return ids

    def _restored(self, text: str) -> str:
        for original, marker in self.swaps.items():
            # A template may have written the contents as ASCII JSON.
            text = text.replace(marker, original).replace(_escape(marker), original)
        return text


@lru_cache(maxsize=4)
def _pattern(spellings: tuple[str, ...]) -> re.Pattern[str]:
    """Finds a control token's spelling, or at the end of a text the beginning of one.

    The beginning counts because templates put texts side by side, and because they trim them.
    """
    beginnings = {spelling[:end] for spelling in spellings for end in range(1, len(spelling))}
    whole, part = ("|".join(map(re.escape, sorted(texts, key=len, reverse=True))) for texts in (spellings, beginnings))
    return re.compile(f"(?:{whole})" + (rf"|(?:{part})\s*\Z" if part else ""))


def _any_spelling(texts: Iterable[str], spellings: tuple[str, ...]) -> bool:
    pattern = _pattern(spellings)
    return any(pattern.search(text) for text in texts)


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
        return {_swapped(key, swaps, depth + 1): _swapped(item, swaps, depth + 1) for key, item in value.items()}
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
