"""Copying out of the conversation: code blocks, an answer, all of it; by OSC 52 and by the machine's own program.

What took the text is said.
"""

import asyncio
from collections.abc import Callable, Iterable

from markdown_it import MarkdownIt

from qwen_core.protocol.events import Message
from qwen_tui.app.clipboard import OSC52_LIMIT, copy_with_program
from qwen_tui.app.context import AppContext
from qwen_tui.conversation.turns import Turn
from qwen_tui.text import formatting
from qwen_tui.text.safe import visible

_PARSER = MarkdownIt("commonmark", {"html": False}).disable(["inline", "text_join"], ignoreInvalid=True)


def code_blocks(markdown: str) -> list[str]:
    """The fenced and indented blocks of code, in order, also those in lists and quotes. A block cut short counts."""
    return [token.content for token in _PARSER.parse(markdown) if token.type in ("fence", "code_block")]


def conversation_text(messages: Iterable[Message]) -> str:
    """A conversation for the clipboard: who said what, reasoning left out."""
    named = {"user": "You", "assistant": "Answer", "system": "System", "tool": "Tool"}
    blocks = [
        f"## {named[message.role]}\n\n{message.content.strip(chr(10))}" for message in messages if message.content
    ]
    return "\n\n".join(blocks) + "\n" if blocks else ""


class Copying:
    """`to_terminal` takes a text by OSC 52; whether the terminal took it cannot be known."""

    def __init__(self, context: AppContext, to_terminal: Callable[[str], object]) -> None:
        self._context = context
        self._to_terminal = to_terminal

    async def copy(self, turn: Turn | None, what: str) -> None:
        """`what`: nothing for the answer, "code" for its last block of code, "code 2" for the second, or "all"."""
        conversation = self._context.conversation
        answer = conversation.last_answer() if turn is None else turn.answer
        name, _, number = what.lower().partition(" ")
        if name == "all":
            text = conversation_text(message for turn in conversation.turns for message in turn.messages())
            await self.put(text, "the conversation")
        elif name == "code":
            await self._copy_code(answer, number.strip())
        elif name in ("", "answer"):
            await self.put(answer, "the answer")
        else:
            self._context.flash("/copy takes: answer, code, code 2 (the second block) or all.")

    async def _copy_code(self, answer: str, number: str) -> None:
        blocks = code_blocks(answer)
        if not blocks:
            self._context.flash("The last answer has no block of code.")
            return
        if number and not (
            number.isascii() and number.isdigit() and len(number) < 7 and 1 <= int(number) <= len(blocks)
        ):
            self._context.flash(
                f"The answer has {formatting.counted(len(blocks), 'block')} of code; there is no {number[:20]!r}."
            )
            return
        place = int(number) if number else len(blocks)
        await self.put(blocks[place - 1], f"block {place} of {len(blocks)}")

    async def put(self, text: str, named: str) -> None:
        """Copy `text`, which people know as `named`, and say what took it."""
        if not text:
            self._context.flash(f"There is nothing to copy: {named} is empty.")
            return
        text = visible(text)
        asked = len(text) <= OSC52_LIMIT
        if asked:
            self._to_terminal(text)
        program = await asyncio.to_thread(copy_with_program, text)
        if program:
            self._context.flash(f"Copied {named} ({program}).")
        elif asked:
            self._context.flash(f"Copied {named}, if the terminal takes it (OSC 52).")
        else:
            self._context.flash(f"Not copied: {named} is too long for the terminal. /export writes it to a file.")
