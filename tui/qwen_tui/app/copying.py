"""Copying out of the conversation, by OSC 52 and by the machine's own program, and saying what took it."""

import asyncio
from typing import TYPE_CHECKING

from qwen_tui.app.clipboard import OSC52_LIMIT, copy_with_program
from qwen_tui.app.copy_text import code_blocks, conversation_text
from qwen_tui.conversation.turns import Turn
from qwen_tui.text.safe import visible

if TYPE_CHECKING:
    from qwen_tui.app.app import QwenApp


class CopyActions:
    def __init__(self, app: "QwenApp") -> None:
        self._app = app

    async def copy(self, turn: Turn | None, what: str) -> None:
        """`what`: nothing for the answer, "code" for its last block of code, "code 2" for the second, or "all"."""
        conversation = self._app.conversation
        answer = conversation.last_answer() if turn is None else turn.answer
        name, _, number = what.lower().partition(" ")
        if name == "all":
            text = conversation_text(message for turn in conversation.turns for message in turn.messages())
            await self._put(text, "the conversation")
        elif name == "code":
            await self._copy_code(answer, number.strip())
        elif name in ("", "answer"):
            await self._put(answer, "the answer")
        else:
            self._app.flash("/copy takes: answer, code, code 2 (the second block), or all.")

    async def _copy_code(self, answer: str, number: str) -> None:
        blocks = code_blocks(answer)
        if number and not (
            number.isascii() and number.isdigit() and len(number) < 7 and 1 <= int(number) <= len(blocks)
        ):
            self._app.flash(f"The answer has {len(blocks)} blocks of code; there is no {number[:20]!r}.")
            return
        place = int(number) if number else len(blocks)
        await self._put(blocks[place - 1].text if blocks else "", f"block {place} of {len(blocks)}")

    async def _put(self, text: str, named: str) -> None:
        if not text:
            self._app.flash(f"There is nothing to copy: {named} is empty.")
            return
        text = visible(text)
        asked = len(text) <= OSC52_LIMIT
        if asked:
            self._app.copy_to_clipboard(text)
        program = await asyncio.to_thread(copy_with_program, text)
        if program:
            self._app.flash(f"Copied {named} ({program}).")
        elif asked:
            self._app.flash(f"Copied {named}, if the terminal takes it (OSC 52).")
        else:
            self._app.flash(f"Not copied: {named} is too long for the terminal. /export writes it to a file.")
