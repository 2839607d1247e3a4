"""What a headless command is asked: the prompt from -p, a pipe or a file, checked before a model is loaded."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, get_args

import click

from qwen_core.errors import SettingsError, quote
from qwen_core.files import strict_json
from qwen_tui.commands.text_input import STANDARD_INPUT, read_input

if TYPE_CHECKING:  # slow to import, and the help of the program needs none of it
    from qwen_core.protocol.events import Message

MAX_INPUT_BYTES = 16_000_000
MAX_MESSAGES = 10_000


@dataclass(frozen=True)
class RunRequest:
    """One question: the text to answer, or raw ids, and the conversation before it."""

    text: str = ""
    prompt_ids: tuple[int, ...] | None = None
    history: tuple[Message, ...] = ()
    system: str | None = None


def read_request(
    prompt: str | None, messages: str | None, prompt_ids: tuple[int, ...] | None, system: str | None
) -> RunRequest:
    """The request that the options make. UsageError where they contradict each other, SettingsError for bad input."""
    for name, value in (("-p", prompt), ("--system", system)):
        if value is not None and _has_surrogates(value):
            raise SettingsError(f"the text of {name} is not UTF-8: convert it first")
    given = [
        name
        for name, value in (("-p", prompt), ("--messages", messages), ("--prompt-ids", prompt_ids))
        if value is not None
    ]
    if len(given) > 1:
        raise click.UsageError(f"{given[0]} and {given[1]} cannot be used together.")
    if prompt_ids is not None:
        if system is not None:
            raise click.UsageError("--prompt-ids takes the ids as they are: --system cannot be used with it.")
        return RunRequest(prompt_ids=prompt_ids)
    if messages is not None:
        return _from_messages(messages, system)
    if prompt is None or prompt == "-":
        if sys.stdin.isatty():
            raise click.UsageError("Nothing to answer: give -p TEXT, --messages FILE, or a pipe.")
        prompt = _drop_last_newline(read_input(STANDARD_INPUT, MAX_INPUT_BYTES))
    if not prompt.strip():
        raise SettingsError("the prompt is empty: give -p TEXT, or text on standard input")
    return RunRequest(text=prompt, system=system)


def parse_messages(text: str, where: str) -> tuple[list[Message], str | None]:
    """A JSON list of {"role", "content"} as messages, and the system prompt if the first one is that."""
    try:
        raw = strict_json(text)
    except ValueError as error:
        raise SettingsError(f"{where} is not JSON: {quote(error)}") from None
    if not isinstance(raw, list) or not raw or len(raw) > MAX_MESSAGES:
        raise SettingsError(f"{where} must hold a JSON list of 1 to {MAX_MESSAGES:,} messages")
    messages = [_message(entry, f"{where}, message {index + 1}") for index, entry in enumerate(raw)]
    if any(message.role == "system" for message in messages[1:]):
        raise SettingsError(f"{where}: only the first message may have the role system")
    if messages[-1].role != "user":
        raise SettingsError(f"{where} must end with a message of the role user: that is what gets answered")
    if messages[0].role == "system":
        return messages[1:], messages[0].content
    return messages, None


def _from_messages(name: str, system: str | None) -> RunRequest:
    text = read_input(name, MAX_INPUT_BYTES, "the messages file ")
    where = "standard input" if name == STANDARD_INPUT else f"the messages file {quote(name)}"
    messages, own = parse_messages(text, where)
    if own is not None and system is not None:
        raise click.UsageError("--system and a system message in --messages cannot be used together.")
    *history, question = messages
    return RunRequest(text=question.content, history=tuple(history), system=system if own is None else own)


def _message(entry: Any, where: str) -> Message:
    from qwen_core.protocol.events import Message, Role

    if not isinstance(entry, dict):
        raise SettingsError(f"{where} is not an object with role and content")
    unknown = sorted(set(entry) - {"role", "content", "reasoning_content"})
    if unknown:
        raise SettingsError(f"{where} has the key {quote(unknown[0])}: it takes role, content, reasoning_content")
    for key, value in (("role", entry.get("role")), ("content", entry.get("content"))):
        if not isinstance(value, str):
            raise SettingsError(f"{where} needs a {key} that is text")
    reasoning = entry.get("reasoning_content", "")
    if not isinstance(reasoning, str):
        raise SettingsError(f"{where} has a reasoning_content that is not text")
    role: Role | None = next((role for role in get_args(Role) if role == entry["role"]), None)
    if role is None:
        raise SettingsError(
            f"{where} has the role {quote(entry['role'])}: it must be one of {', '.join(get_args(Role))}"
        )
    for value in (entry["content"], reasoning):
        if _has_surrogates(value):
            raise SettingsError(f"{where} holds half of a surrogate pair, which is not text")
    return Message(role, entry["content"], reasoning)


def _has_surrogates(text: str) -> bool:
    """Whether `text` holds what no UTF-8 can: an undecodable argument, or half a pair from JSON."""
    return any("\ud800" <= character <= "\udfff" for character in text)


def _drop_last_newline(text: str) -> str:
    """A pipe's last line end is the shell's, not the question's."""
    return text[:-2] if text.endswith("\r\n") else text.removesuffix("\n")
