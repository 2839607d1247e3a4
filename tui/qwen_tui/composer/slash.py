"""What a line in the composer means: a message to send, a slash command, or a mistake to point out. Pure."""

from dataclasses import dataclass
from difflib import get_close_matches
from typing import get_args

from qwen_core.protocol.events import ComputeType, DraftMode
from qwen_core.settings.tree import Preset


@dataclass(frozen=True)
class SlashCommand:
    """One slash command: the line that the help screen gives it, and its title in the command palette.

    `argument`: it may take something after its name, one of `choices` where there are any. `aliases`: what other
    programs call it.
    """

    name: str
    usage: str
    help: str
    title: str
    choices: tuple[str, ...] = ()
    argument: bool = False
    aliases: tuple[str, ...] = ()


COMMANDS: tuple[SlashCommand, ...] = (
    SlashCommand("help", "/help", "keys and commands", "Help", aliases=("?", "h")),
    SlashCommand(
        "new", "/new", "a new conversation, keeping the model loaded", "New conversation", aliases=("clear", "reset")
    ),
    SlashCommand(
        "resume", "/resume [ID]", "all conversations: go on with one, search, rename", "Conversations", (), True
    ),
    SlashCommand("search", "/search [TEXT]", "search the text of all conversations", "Search", (), True),
    SlashCommand("find", "/find [TEXT]", "find in this conversation", "Find", (), True),
    SlashCommand("edit", "/edit", "change the last question and ask it again", "Edit the question"),
    SlashCommand("retry", "/retry", "another answer to the last question", "Answer again"),
    SlashCommand("continue", "/continue", "go on with an answer that was cut off", "Continue the answer"),
    SlashCommand("delete", "/delete", "take the last turn out", "Delete the last turn"),
    SlashCommand("undo", "/undo", "bring back what was deleted, left out or summed up", "Undo"),
    SlashCommand("drop", "/drop [N]", "go on without the N oldest turns, which are kept", "Make room", (), True),
    SlashCommand("summary", "/summary", "go on from a summary, in a new conversation", "Go on from a summary"),
    SlashCommand(
        "copy", "/copy [WHAT]", "the last answer; code or code 2: its blocks; all", "Copy the answer", (), True
    ),
    SlashCommand("export", "/export [FILE]", "this conversation as .md, .html or .json", "Export", (), True),
    SlashCommand(
        "system", "/system [TEXT]", "show or set the system prompt; /system none: without", "System prompt", (), True
    ),
    SlashCommand(
        "set", "/set [NAME VALUE]", "how answers are sampled: temperature, top_p, seed, …", "Sampling", (), True
    ),
    SlashCommand("preset", "/preset [NAME]", "sampling as recommended", "Preset", get_args(Preset), True),
    SlashCommand(
        "think", "/think [LEVEL]", "reasoning effort: the levels that the model has", "Reasoning effort", (), True
    ),
    SlashCommand(
        *("draft", "/draft [KIND N]", "tokens drafted ahead: auto, off, mtp, lookup; or marks", "Drafts"),
        (*get_args(DraftMode), "marks"),
        True,
    ),
    SlashCommand(
        "guard", "/guard [on|off]", "stop answers that repeat themselves", "Repetition guard", ("on", "off"), True
    ),
    SlashCommand(
        "model", "/model [DIR]", "open another model; the conversation goes on", "Open another model", (), True
    ),
    SlashCommand(
        *("dtype", "/dtype [TYPE]", "load it again to compute in float32, bfloat16 or float16", "Compute type"),
        get_args(ComputeType),
        True,
    ),
    SlashCommand("inspect", "/inspect", "the layers: how each is stored, what it costs", "Layers"),
    SlashCommand("stats", "/stats", "all figures of the last answer", "Figures"),
    SlashCommand("history", "/history", "how fast each model was over all kept answers", "Figures of all answers"),
    SlashCommand(
        *("perplexity", "/perplexity [FILE]", "how surprising a text is; the last answer", "Surprise of a text"),
        (),
        True,
    ),
    SlashCommand("lens", "/lens", "how sure the model was, token by token, and what else it might have said", "Lens"),
    SlashCommand(
        *("compare", "/compare [DIR]", "the last answer read by another model; where they part", "Compare two models"),
        (),
        True,
    ),
    SlashCommand("context", "/context", "the map of the context: what takes how much of it", "Map of the context"),
    SlashCommand("settings", "/settings", "every setting, explained", "Settings"),
    SlashCommand("save", "/save", "keep in config.toml what was changed for now", "Save the settings of now"),
    SlashCommand("theme", "/theme [NAME]", "choose colours", "Theme", (), True),
    SlashCommand("editor", "/editor", "write in the editor of $VISUAL or $EDITOR", "Editor"),
    SlashCommand("save-state", "/save-state", "keep the state: this chat resumes without prefill", "Save the state"),
    SlashCommand("restart", "/restart", "start the engine again, or load again", "Restart"),
    SlashCommand("quit", "/quit", "leave", "Quit", aliases=("exit", "bye", "q")),
)


@dataclass(frozen=True)
class MessageText:
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


def parse_input(line: str) -> MessageText | Call | Mistake:
    """What to do with `line`. A first "//" sends the text with one "/"; arguments are checked here."""
    if line.startswith("//"):
        return MessageText(line[1:])
    if not line.startswith("/"):
        return MessageText(line)
    name, *rest = line[1:].split(maxsplit=1) if line[1:].strip() else [""]
    name, argument = name.lower(), "".join(rest).strip()
    command = next((c for c in COMMANDS if name in (c.name, *c.aliases)), None)
    if command is None:
        near = get_close_matches(name[:40], [c.name for c in COMMANDS], n=1)
        meant = f"Did you mean /{near[0]}? " if near else "/help lists the commands. "
        return Mistake(f"There is no command /{name[:40]}. {meant}To send a text that begins with /, type //.")
    if argument and not command.argument:
        return Mistake(f"/{name} takes nothing after it.")
    if argument and command.choices and argument.lower().split()[0] not in command.choices:
        return Mistake(f"/{name} takes one of: {', '.join(command.choices)}.")
    return Call(command.name, argument.lower() if command.choices else argument)
