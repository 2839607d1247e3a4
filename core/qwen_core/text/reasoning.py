"""What a model says, taken apart: reasoning, answer and tool calls, by token id and never by matching text.

Everything inside reasoning is reasoning until `</think>`, a tool call too. Also reads a tool call's XML into a name
and arguments; nothing here runs one.
"""

import json
import re
from dataclasses import dataclass, field
from typing import Any, Protocol

from qwen_core.files import strict_json
from qwen_core.protocol.pieces import Part, Piece, joined


class TagIds(Protocol):
    """What the splitter needs of a tokenizer."""

    def token_to_id(self, token: str, /) -> int | None: ...


class Splitter:
    """A stream of tokens in, ordered (part, text) pieces out.

    Newlines that only set the parts apart belong to none of them: those at both ends of a reasoning block, and those
    at the start of the answer after it (as the model's own template removes them). White space between two tool
    calls stays with the calls. A tool call's text keeps its tags. A tokenizer without these tokens gives answers only.

    A `</think>` in the answer that closes no `<think>` of the answer's text is never text: the model has reasoned
    unmarked. Said is said, so where more follows an empty line takes the tag's place, and `late_reasoning` tells how
    much was reasoning. Where nothing follows, the model meant its end, and the answer is the answer.
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
        self.late_reasoning = 0
        """Characters from the start of the answer's text that a later `</think>` has shown to be reasoning."""
        self._said = 0  # characters of the answer's text
        self._answered = False  # the answer has a character other than white space, since a stray `</think>`
        self._stray = False  # there was one after an answer, and nothing but white space since
        self._written = 0  # `<think>`s that are text of the answer, and unclosed
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
        if text.isspace() and (self._after_call or self._stray):
            self._held += text
            return []
        text, self._held = self._held + text, ""
        if self._stray:
            text = "\n\n" + text
            self.late_reasoning, self._stray = self._said + 2, False
        self._after_call = False
        self._answered = self._answered or not text.isspace()
        self._said += len(text)
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
            if self._stray:
                self.late_reasoning, self._stray = self._said, False
            self._part, self._skip_newlines, self._after_call = "tool_call", False, False
            return [("tool_call", between + tag)]
        elif tag == "<think>" and not self._answered and not self._after_call:
            self._part, self._held, self._skip_newlines = "reasoning", "", True
            return []
        elif tag == "<think>":
            self._written += 1
        elif tag == "</think>" and self._written:
            self._written -= 1
        elif tag == "</think>":
            self._stray, self._answered = self._stray or self._answered, False
            self._held, self._skip_newlines, self._after_call = "", True, False
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
