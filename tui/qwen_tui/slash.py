"""What a line in the composer means: a message to send, a slash command, or a mistake to point out. Pure."""

from dataclasses import dataclass
from difflib import get_close_matches

from qwen_core.events import Effort

EFFORTS: tuple[Effort, ...] = ("none", "low", "medium", "high")


@dataclass(frozen=True)
class SlashCommand:
    """One slash command, and the line that the help screen gives it."""

    name: str
    usage: str
    help: str
    choices: tuple[str, ...] = ()
    argument: bool = False


COMMANDS: tuple[SlashCommand, ...] = (
    SlashCommand("help", "/help", "keys and commands"),
    SlashCommand("new", "/new", "a new conversation"),
    SlashCommand("inspect", "/inspect", "the layers of the model: how each is stored, what it costs"),
    SlashCommand("think", "/think LEVEL", "reasoning effort: none, low, medium or high", EFFORTS, True),
    SlashCommand("retry", "/retry", "send the unanswered question again"),
    SlashCommand("restart", "/restart", "start the engine again, or load again"),
    SlashCommand("copy", "/copy", "copy the last answer"),
    SlashCommand("theme", "/theme [NAME]", "choose colours", (), True),
    SlashCommand("quit", "/quit", "leave"),
)


@dataclass(frozen=True)
class Text:
    """A message for the model."""

    text: str


@dataclass(frozen=True)
class Call:
    """A slash command with its argument ("" when none was given)."""

    name: str
    argument: str = ""


@dataclass(frozen=True)
class Mistake:
    """A line that begins like a command and is none; it is not sent."""

    message: str


def parse_input(line: str) -> Text | Call | Mistake:
    """What to do with `line`. A first "//" sends the text with one "/"; arguments are checked here."""
    if line.startswith("//"):
        return Text(line[1:])
    if not line.startswith("/"):
        return Text(line)
    name, _, argument = line[1:].partition(" ")
    name, argument = name.strip().lower(), argument.strip()
    command = next((c for c in COMMANDS if c.name == name), None)
    if command is None:
        near = get_close_matches(name[:40], [c.name for c in COMMANDS], n=1)
        meant = f"Did you mean /{near[0]}? " if near else "/help lists the commands. "
        return Mistake(f"There is no command /{name[:40]}. {meant}To send a text that begins with /, type //.")
    if argument and not command.argument:
        return Mistake(f"/{name} takes nothing after it.")
    if command.choices and argument.lower() not in command.choices:
        return Mistake(f"/{name} takes one of: {', '.join(command.choices)}.")
    return Call(name, argument.lower() if command.choices else argument)
