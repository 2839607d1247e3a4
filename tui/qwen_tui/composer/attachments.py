"""`@path` in a message: finds the mentions, reads the text files, and adds them below the message.

A mention is an "@" at the beginning of a word that is followed by the name of a file. An e-mail address has its "@"
inside a word; a decorator, a handle or a package (@types/node) names no file: all of them stay text. Only a path that
cannot be anything else (./, ../, /, ~/ or in quotes) is reported when no file is there. Nothing in a block or a span of
code is a mention.
"""

import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from qwen_core.errors import quote

MAX_FILES = 20
MAX_TRAILING = 4
_MENTION = re.compile(r'(?<![\w@/.+`-])@(?:"([^"\n]{1,1000})"|([^\s"`@][^\s"`]{0,999}))')
_UNFINISHED = re.compile(r'(?<![\w@/.+`-])@(?:"([^"\n]{0,1000})|([^\s"`@][^\s"`]{0,999})?)\Z')
_CODE = re.compile(r"^(`{3,}|~{3,})[^\n]*\n.*?(?:^\1[`~]*[ \t]*$|\Z)|`[^`\n]+`", re.MULTILINE | re.DOTALL)
_DECORATOR = re.compile(
    r"^[ \t]*@[^\n]*\n(?:[ \t]*(?:@[^\n]*)?\n){0,20}[ \t]*"
    r"(?:async|def|class|export|function|public|private|protected|static|final|abstract|interface|fun|struct|func)\b",
    re.MULTILINE,
)
_FILE_NAME = re.compile(r"[^@]*[^@/.]\.[a-zA-Z][a-zA-Z0-9]{0,7}")
_TRAILING = ".,;:!?)]}'\"’”»"
_SIGNS = f"/~{_TRAILING}"


@dataclass(frozen=True)
class Attachment:
    """A file that a message brings along. `name` is how the message calls it."""

    name: str
    path: Path
    size: int
    text: str


@dataclass(frozen=True)
class Attached:
    """A message with its files: `text` is what the model gets. With `problems` it should not be sent.

    `unknown`: what reads like the name of a file, and is none. Whoever wrote it may have meant text.
    """

    text: str
    files: tuple[Attachment, ...] = ()
    problems: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()


@dataclass(frozen=True)
class Unfinished:
    """A mention that is being written: what there is of its name, and which part of the text it takes."""

    name: str
    start: int
    end: int


class _RefusedError(Exception):
    """Why a file cannot be attached."""


def attach(text: str, folder: Path, limit: int, sent: str | None = None) -> Attached:
    """`text` with the files it mentions, read relative to `folder`; together they may have `limit` bytes.

    `sent` is `text` with its pastes in full: what was pasted mentions nothing.
    """
    sent = text if sent is None else sent
    files: dict[Path, Attachment] = {}
    problems: list[str] = []
    left = limit
    for name, path in mentions(text, folder):
        if path in files:
            continue
        try:
            if len(files) >= MAX_FILES:
                raise _RefusedError(f"a message takes at most {MAX_FILES} files")
            content = _read(path, left, limit)
        except _RefusedError as error:
            problems.append(f"@{quote(name)}: {error}")
            continue
        size = len(content.encode("utf-8"))
        left -= size
        files[path] = Attachment(name, path, size, content)
    unknown = tuple(_unknown(text, folder))
    if not files:
        return Attached(sent, (), tuple(problems), unknown)
    blocks = [sent.rstrip("\n"), *(_block(file) for file in files.values())]
    return Attached("\n\n".join(blocks), tuple(files.values()), tuple(problems), unknown)


def _unknown(text: str, folder: Path) -> Iterator[str]:
    """Mentions that end like a file's name, where there is no such file and the path does not say that one is meant."""
    hidden = _hidden(text)
    known = {name for name, _ in mentions(text, folder)}
    for match in _MENTION.finditer(text):
        name = (match[2] or "").rstrip(_TRAILING)
        is_hidden = any(begin <= match.start() < end for begin, end in hidden)
        if _FILE_NAME.fullmatch(name) and not is_hidden and match[2] not in known and name not in known:
            yield name


def mentions(text: str, folder: Path) -> Iterator[tuple[str, Path]]:
    """What `text` mentions, in order: the name as written, and the path it means. The path may be missing."""
    hidden = _hidden(text)
    for match in _MENTION.finditer(text):
        if any(begin <= match.start() < end for begin, end in hidden):
            continue
        if match[1] is not None:
            yield match[1], resolved(match[1], folder)
            continue
        name = match[2]
        # The end of a sentence is no part of the name, unless the file is really called so.
        least = max(len(name.rstrip(_TRAILING)), len(name) - MAX_TRAILING, 1)
        endings = (name[:length] for length in range(len(name), least - 1, -1))
        found = next((ending for ending in endings if _is_there(ending, folder)), None)
        if found is not None:
            yield found, resolved(found, folder)
        elif name.startswith(("./", "../", "/", "~/")) and name.strip(_SIGNS):
            yield name, resolved(name, folder)


def unfinished(text: str, place: int) -> Unfinished | None:
    """The mention that ends at `place`, where the cursor is. Nothing in the middle of a word, and nothing in code."""
    match = _UNFINISHED.search(text[:place])
    after = text[place : place + 1]
    if match is None or any(begin <= match.start() < end for begin, end in _hidden(text)):
        return None
    if match[1] is not None:
        return Unfinished(match[1], match.start(), place + (after == '"'))
    if after and not after.isspace() and after not in _TRAILING:
        return None
    return Unfinished(match[2] or "", match.start(), place)


def written(name: str) -> str | None:
    """How a message mentions the file `name`: bare, in quotes, or None where no mention can spell it."""
    for mention, group in ((f"@{name}", 2), (f'@"{name}"', 1)):
        match = _MENTION.fullmatch(mention)
        if match is not None and match[group] == name and (group == 1 or name.strip(_SIGNS)):
            return mention
    return None


def _hidden(text: str) -> list[tuple[int, int]]:
    """Where nothing is a mention: code, and decorators."""
    return [match.span() for pattern in (_CODE, _DECORATOR) for match in pattern.finditer(text)]


def resolved(name: str, folder: Path) -> Path:
    """The path that a mention of `name` means."""
    try:
        # "./~name" is no home, but a Path forgets the "./".
        return folder / (Path(name).expanduser() if name.startswith("~") else name)
    except RuntimeError:  # ~somebody who does not exist
        return folder / name


def _is_there(name: str, folder: Path) -> bool:
    """Whether a name without quotes means something: a folder only where it is written as a path."""
    if not name.strip(_SIGNS):
        return False
    path = resolved(name, folder)
    try:
        return path.exists() and ("/" in name or not path.is_dir())
    except (OSError, ValueError):
        return False


def _read(path: Path, left: int, limit: int) -> str:
    """The text of a file of at most `left` bytes."""
    try:
        # Not blocking: a named pipe is refused below, not waited for.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else None
        raise _RefusedError(f"cannot be read: {reason or 'this is not a file name'}") from None
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        is_folder = stat.S_ISDIR(status.st_mode)
        raise _RefusedError("is a folder; name a file in it" if is_folder else "is not a regular file")
    with os.fdopen(descriptor, "rb") as file:
        try:
            data = file.read(left + 1)
        except OSError as error:
            raise _RefusedError(f"cannot be read: {error.strerror or error}") from None
    if len(data) > left:
        size = max(status.st_size, len(data))
        raise _RefusedError(
            f"has {size:,} bytes; a message may bring {limit:,} along"
            + (f", {left:,} of them are left" if left < limit else "")
            + " (composer.attach_limit_kb)"
        )
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        raise _RefusedError("is not UTF-8 text")
    return text


def _block(file: Attachment) -> str:
    """A file below the message, fenced so that nothing in it ends the fence."""
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", file.text)), default=0))
    newline = "" if file.text.endswith("\n") or not file.text else "\n"
    return f"File {file.name} ({file.size:,} bytes):\n{fence}\n{file.text}{newline}{fence}"
