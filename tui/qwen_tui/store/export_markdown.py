"""A conversation as Markdown for people: questions and answers as they read, reasoning and tool calls folded."""

import re
import time
from collections.abc import Sequence

from qwen_tui.store.records import ConversationSummary, StoredMessage, plain_line, turn_stats
from qwen_tui.text.formatting import ending, turn_line


def conversation_markdown(conversation: ConversationSummary, messages: Sequence[StoredMessage]) -> str:
    """The branch `messages` of a conversation, ending with a newline."""
    blocks = [f"# {_one_line(conversation.title)}", f"*{dated(conversation)}*"]
    if conversation.system:
        blocks += ["## System", conversation.system.strip("\n")]
    for message in messages:
        blocks += _question(message) if message.role == "user" else _answer(message)
    return "\n\n".join(block for block in blocks if block) + "\n"


def _question(message: StoredMessage) -> list[str]:
    return ["## You", message.content.strip("\n")]


def _answer(message: StoredMessage) -> list[str]:
    blocks = [f"## {heading(message)}"]
    if message.reasoning:
        blocks.append(_folded("Reasoning", message.reasoning))
    blocks.append(message.content.strip("\n"))
    if message.tool_calls:
        blocks.append(_folded("Tool call", message.tool_calls))
    said = figures(message)
    return [*blocks, f"*{said}*" if said else ""]


def dated(conversation: ConversationSummary) -> str:
    """When it began and with which model, in one line."""
    day = time.strftime("%Y-%m-%d %H:%M", time.localtime(conversation.created_at))
    model = conversation.model
    named = f" · {' '.join(part for part in (model.name, model.variant) if part)}" if model else ""
    return f"{day}{_one_line(named, edges=True)}"


def heading(message: StoredMessage) -> str:
    """Who answers: the model's name where it is known."""
    model = message.model
    return _one_line(model.name) if model and model.name.strip() else "Answer"


def figures(message: StoredMessage) -> str:
    """What is told below an answer: its figures, and how it ended where it did not end by itself."""
    stats = turn_stats(message.stats)
    notes = [turn_line(stats)] if stats else []
    if message.status == "interrupted":
        notes.append("interrupted")
    elif message.status == "failed":
        notes.append(f"failed: {_one_line(message.error)}")
    elif ended := ending(message.finish_reason, message.content + message.tool_calls, message.reasoning):
        notes.append(ended)
    return " · ".join(notes)


def _folded(title: str, text: str) -> str:
    """Text that is folded where Markdown is shown, fenced so that nothing in it ends the fold."""
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", text)), default=0))
    return f"<details><summary>{title}</summary>\n\n{fence}text\n{text.strip(chr(10))}\n{fence}\n\n</details>"


def _one_line(text: str, *, edges: bool = False) -> str:
    line = plain_line(text)
    return f" {line}" if edges and line else line
