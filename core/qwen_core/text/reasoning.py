"""What a model says, taken apart: reasoning, answer and tool calls, by token id and never by matching text.

Everything inside reasoning is reasoning until `</think>`, a tool call too. Also reads a tool call's XML into a name
and arguments; nothing here runs one.
"""

import json
import re
from dataclasses import dataclass, field
from typing import Any, Protocol

from qwen_core.files import strict_json
from qwen_core.protocol.events import Part, Piece, joined


class TagIds(Protocol):
    """What the splitter needs of a tokenizer."""

    def token_to_id(self, token: str, /) -> int | None: ...


class Splitter:
    """A stream of tokens in, ordered (part, text) pieces out.

    Newlines that only set the parts apart belong to none of them: those at both ends of a reasoning block, and those
    at the start of the answer after it (as the model's own template removes them). White space between two tool
    calls stays with the calls. A tool call's text keeps its tags. A tokenizer without these tokens gives answers only.
    """

    def __init__(self, tokenizer: TagIds, in_reasoning: bool = False) -> None:
        """`in_reasoning`: whether the prompt ended with an open `<think>`."""
        self._tags = {
            id: spelling
            for spelling in ("<think>", "</think>", "<tool_call>", "</tool_call>")
            if (id := tokenizer.token_to_id(spelling)) is not None
        }
        self._part: Part = "reasoning" if in_reasoning else "answer"
        self._skip_newlines = in_reasoning  # at the start of a part that follows a tag
        self._answered = False  # the answer has a character other than white space
        self._after_call = False  # in the answer, with nothing but white space since a tool call
        self._held = ""  # white space that the next character decides about

    @property
    def in_reasoning(self) -> bool:
        """Whether the next text is reasoning."""
        return self._part == "reasoning"

    def push(self, token_id: int, text: str) -> list[Piece]:
        """Take a token and the text that the stream decoder gave for it."""
        tag = self._tags.get(token_id)
        if tag is None:
            return self.push_text(text)
        # Whatever precedes the tag is the end of a character that the tag cut short.
        return list(joined([*self.push_text(text.removesuffix(tag)), *self._turn(tag)]))

    def push_text(self, text: str) -> list[Piece]:
        """Take text that belongs to no token of its own, such as the stream decoder's last."""
        if self._skip_newlines:
            text = text.lstrip("\n")
        if not text:
            return []
        self._skip_newlines = False
        if self._part == "tool_call":
            return [("tool_call", text)]
        if self._part == "reasoning":
            text = self._held + text
            kept = text.rstrip("\n")
            self._held = text[len(kept) :]
            return [("reasoning", kept)] if kept else []
        if text.isspace() and self._after_call:
            self._held += text
            return []
        text, self._held = self._held + text, ""
        self._after_call = False
        self._answered = self._answered or not text.isspace()
        return [("answer", text)]

    def flush(self) -> list[Piece]:
        """End the stream. An unclosed tool call or reasoning block keeps what came of it."""
        self._held = ""
        return []

    def _turn(self, tag: str) -> list[Piece]:
        """Act on a control token: change the part, or take the token as text where it means nothing."""
        if self._part == "reasoning":
            if tag == "</think>":
                self._part, self._held, self._skip_newlines = "answer", "", True
                return []
            if tag == "<think>" and self._skip_newlines:  # the model repeats what the prompt ended with
                return []
        elif self._part == "tool_call":
            if tag == "</tool_call>":
                self._part, self._after_call = "answer", True
                return [("tool_call", tag)]
        elif tag == "<tool_call>":
            between, self._held = self._held, ""
            self._part, self._skip_newlines, self._after_call = "tool_call", False, False
            return [("tool_call", between + tag)]
        elif tag == "<think>" and not self._answered and not self._after_call:
            self._part, self._skip_newlines = "reasoning", True
            return []
        return self.push_text(tag)


@dataclass(frozen=True)
class ToolCall:
    """A call the model asked for. Argument values are JSON where their text is, else strings."""

    name: str
    arguments: dict[str, Any] = field(default_factory=dict)


# Names are bounded and hold no newline, so that no text makes these search long from one place.
_FUNCTION = re.compile(r"<function=([^>\n]{1,256})>")
_NEXT = re.compile(r"<parameter=([^>\n]{1,256})>|</function>|<function=")
_PARAMETER_END = re.compile(r"\n?</parameter>")


def parse_tool_calls(text: str) -> list[ToolCall]:
    """The calls in the text of a tool_call part, in order; time linear in the text, and never an error.

    A call that was cut short counts with the parameters that were complete.
    """
    calls: list[ToolCall] = []
    position = 0
    while function := _FUNCTION.search(text, position):
        position = function.end()
        call = ToolCall(function[1].strip())
        calls.append(call)
        while (found := _NEXT.search(text, position)) and found[1] is not None:
            begin = found.end()
            end = _PARAMETER_END.search(text, begin)
            if end is None:
                return calls
            call.arguments[found[1].strip()] = _value(text[begin : end.start()].removeprefix("\n"))
            position = end.end()
    return calls


def _value(text: str) -> Any:
    """`text` as JSON where writing that back gives the same text, so that a template renders it as it was; else `text`.

    A quoted string stays as it is: templates write strings without quotes.
    """
    try:
        value = strict_json(text)
        same = not isinstance(value, str) and json.dumps(value, ensure_ascii=False) == text
    except (ValueError, RecursionError):
        return text
    return value if same else text
