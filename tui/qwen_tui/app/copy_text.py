"""What can be copied out of a conversation as text: code blocks, an answer, all of it. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass

from markdown_it import MarkdownIt

from qwen_core.protocol.events import Message

_PARSER = MarkdownIt("commonmark", {"html": False}).disable(["inline", "text_join"], ignoreInvalid=True)


@dataclass(frozen=True)
class CodeBlock:
    """A block of code in Markdown: the first word after its fence, and its lines."""

    language: str
    text: str

    @property
    def lines(self) -> int:
        return self.text.count("\n") + (not self.text.endswith("\n") and bool(self.text))


def code_blocks(markdown: str) -> list[CodeBlock]:
    """The fenced and indented blocks of code, in order, also those in lists and quotes. A block cut short counts."""
    return [
        CodeBlock((token.info.split() or [""])[0], token.content)
        for token in _PARSER.parse(markdown)
        if token.type in ("fence", "code_block")
    ]


def conversation_text(messages: Iterable[Message]) -> str:
    """A conversation for the clipboard: who said what, reasoning left out."""
    named = {"user": "You", "assistant": "Answer", "system": "System", "tool": "Tool"}
    blocks = [
        f"## {named[message.role]}\n\n{message.content.strip(chr(10))}" for message in messages if message.content
    ]
    return "\n\n".join(blocks) + "\n" if blocks else ""
