"""What can be completed in the composer: the word under the cursor, and what it may become. Pure.

Three kinds of words: a command at the very beginning, its argument, and the path of a mention (attachments.py says what
is one). Names of files come from folder_listing.py.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Literal

from qwen_core.figures import decimal_size
from qwen_tui.composer.attachments import unfinished, written
from qwen_tui.composer.folder_listing import FolderEntry, folded
from qwen_tui.composer.slash import SlashCommand
from qwen_tui.text.safe import typed as cleaned

MAX_SHOWN = 200
_COMMAND = re.compile(r"/(?!/)(\S*)")


@dataclass(frozen=True)
class Word:
    """What is being written: `typed` is compared with the candidates, text[start:end] is replaced by one."""

    kind: Literal["command", "argument", "path"]
    start: int
    end: int
    typed: str
    command: str = ""  # whose argument it is


@dataclass(frozen=True)
class Candidate:
    """One thing that a word may become."""

    name: str  # compared with what was typed
    label: str
    note: str  # what the list says about it
    text: str  # what the word is replaced by
    ends: bool = True  # nothing more is to be completed after it


def word_at(text: str, place: int) -> Word | None:
    """What is being written where the cursor is: a word is completed at its end only."""
    mention = unfinished(text, place)
    if mention is not None:
        return Word("path", mention.start, mention.end, mention.name)
    head = _COMMAND.match(text)
    if head is None:
        return None
    if place == head.end():
        return Word("command", 0, place, head[1])
    rest = text[head.end() :]
    if place != len(text) or not rest.startswith(" ") or "\n" in rest:
        return None
    typed = rest.lstrip(" ")
    return Word("argument", place - len(typed), place, typed, head[1].lower())


def command_candidates(typed: str, commands: Iterable[SlashCommand]) -> list[Candidate]:
    """The commands that `typed` may become, in their own order."""
    every = (
        Candidate(
            command.name, command.usage, command.help, f"/{command.name}{' ' * command.argument}", not command.argument
        )
        for command in commands
    )
    return ranked(typed, every)


def choice_candidates(typed: str, choices: Iterable[str], command: SlashCommand) -> list[Candidate]:
    """What the argument of `command` may become; nothing more where it is one of the choices already."""
    more = len(command.usage.split()) > 2  # "/set NAME VALUE"
    every = [Candidate(choice, choice, "", choice + " " * more) for choice in choices if _can_be_typed(choice)]
    found = ranked(typed, every)
    return [] if any(choice.name == typed for choice in found) else found


def path_candidates(typed: str, entries: Iterable[FolderEntry]) -> list[Candidate]:
    """What a mention may become; `entries` are those of the folder that `typed` names, in their order."""
    folder, leaf = split_path(typed)
    wanted = folded(leaf)
    dotted = leaf.startswith(".")
    found = [entry for entry in entries if wanted in entry.key and (dotted or not entry.name.startswith("."))]
    found.sort(key=lambda entry: (entry.key != wanted, not entry.key.startswith(wanted)))
    if len(found) == 1 and found[0].name == leaf and not found[0].is_folder:
        return []
    candidates = (_path_candidate(folder, entry) for entry in found)
    return list(islice(filter(None, candidates), MAX_SHOWN))


def _path_candidate(folder: str, entry: FolderEntry) -> Candidate | None:
    """None for a name that no mention can spell: control characters, quotes."""
    # A name in this folder that begins with "~" would be somebody's home.
    path = f"./{entry.name}" if not folder and entry.name.startswith("~") else folder + entry.name
    mention = written(path + "/" * entry.is_folder)
    if mention is None or not _can_be_typed(entry.name):
        return None
    if entry.is_folder:  # the quotes stay open: a name in it comes next
        return Candidate(entry.name, f"{entry.name}/", "", mention.removesuffix('"'), False)
    return Candidate(entry.name, entry.name, decimal_size(entry.size), f"{mention} ")


def ranked(typed: str, every: Iterable[Candidate]) -> list[Candidate]:
    """Those whose names begin with `typed`, the very one first, then those that have it inside; each in their order."""
    wanted = folded(typed)
    places = ((candidate, folded(candidate.name).find(wanted)) for candidate in every)
    found = [(candidate, place) for candidate, place in places if place >= 0]
    found.sort(key=lambda one: (folded(one[0].name) != wanted, one[1] > 0))
    return [candidate for candidate, _ in found]


def split_path(typed: str) -> tuple[str, str]:
    """The folder of a path that is being written, with its "/", and the beginning of a name in it."""
    folder, slash, leaf = typed.rpartition("/")
    return folder + slash, leaf


def completed(text: str, word: Word, candidate: Candidate) -> str:
    """What replaces the word: a blank of the candidate's own only where none follows."""
    after = text[word.end : word.end + 1]
    return candidate.text.rstrip(" ") if after and not after.isalnum() else candidate.text


def is_whole(word: Word, candidates: Sequence[Candidate]) -> bool:
    """Whether what was typed is one of them already."""
    return any(folded(candidate.name) == folded(word.typed) for candidate in candidates)


def _can_be_typed(text: str) -> bool:
    return "\t" not in text and cleaned(text) == text
