"""Files: an untrusted one read bounded, with every failure one line; strict JSON; files and folders for their owner."""

import json
import math
import os
import stat
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

from qwen_core.errors import CheckpointError, quote


def require_file(path: Path) -> int:
    """Size in bytes of a regular file (symlinks followed). Raises CheckpointError for anything else.

    A named pipe in a model directory would otherwise be waited on for ever.
    """
    try:
        status = path.stat()
    except FileNotFoundError:
        kind = "a symbolic link to a missing file" if path.is_symlink() else "missing"
        raise CheckpointError(f"{quote(path)} is {kind}") from None
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{quote(path)} cannot be read: {quote(_reason(error))}") from None
    if not stat.S_ISREG(status.st_mode):
        raise CheckpointError(f"{quote(path)} is not a regular file")
    return status.st_size


def read_bytes(path: Path, limit: int) -> bytes:
    """Contents of a file of at most `limit` bytes."""
    size = require_file(path)
    if size > limit:
        raise CheckpointError(f"{quote(path)} has {size:,} bytes, more than the {limit:,} that such a file may have")
    try:
        with path.open("rb") as file:
            return file.read(limit)
    except OSError as error:
        raise CheckpointError(f"{quote(path)} cannot be read: {quote(_reason(error))}") from None


def read_text(path: Path, limit: int) -> str:
    """Contents of a UTF-8 file of at most `limit` bytes."""
    try:
        return read_bytes(path, limit).decode("utf-8")
    except UnicodeDecodeError as error:
        raise CheckpointError(f"{quote(path)} is not UTF-8 text (byte {error.start})") from None


def read_json_object(path: Path, limit: int) -> dict[str, Any]:
    """The JSON object in a file of at most `limit` bytes."""
    return parse_json_object(read_bytes(path, limit), quote(path))


MAX_VALUES = 1_000_000


def parse_json_object(data: bytes, where: str, most_values: int = MAX_VALUES) -> dict[str, Any]:
    """The one object that `data` holds, as `strict_json` reads it. `where` begins the messages of CheckpointError."""
    try:
        value = strict_json(data.decode("utf-8"), most_values)
    except ValueError as error:
        raise CheckpointError(f"{where}: not valid JSON: {quote(error)}") from None
    if not isinstance(value, dict):
        raise CheckpointError(f"{where}: expected a JSON object, found {type(value).__name__}")
    return value


def strict_json(text: str, most_values: int = MAX_VALUES) -> Any:
    """Parse JSON: no key twice, no NaN or Infinity, no number that would become Infinity.

    ValueError says what is wrong; it may also be the depth, or a number of thousands of digits. A value takes up to 40
    times as much memory as the two bytes that it may have in a file, so they are counted first, roughly: a comma in a
    text counts as well.
    """
    if (values := sum(map(text.count, ",[{"))) > most_values:
        raise ValueError(f"it holds some {values:,} values, more than the {most_values:,} it may have")
    try:
        return json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant, parse_float=_finite)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def json_text(value: Any, *, ascii_only: bool = False, indent: int | None = None, sort_keys: bool = False) -> str:
    """JSON that every reader takes. Raises ValueError for NaN and infinity, TypeError for what
    JSON cannot hold."""
    return json.dumps(value, ensure_ascii=ascii_only, allow_nan=False, indent=indent, sort_keys=sort_keys)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise ValueError(f"key {key!r} occurs twice")
            seen.add(key)
    return result


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


def _finite(literal: str) -> float:
    value = float(literal)
    if math.isinf(value):
        raise ValueError(f"the number {literal} is too large")
    return value


def _reason(error: OSError | ValueError) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def private_folder(path: Path) -> None:
    """Make a folder that its owner alone may enter. One that exists keeps the mode it was given. Raises OSError."""
    path.mkdir(mode=0o700, exist_ok=True)


def write_private(path: Path, data: bytes, *, new: bool = False) -> None:
    """Write a file that its owner alone may read, the whole of it or nothing. Raises OSError or ValueError.

    Where a link leads to it, the file itself is written. `new`: FileExistsError where there is something already.
    """
    if not new:
        path = path.resolve()
    # Cut, so that a name as long as a name can be does not become too long.
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name[:40]}-", dir=path.parent)
    place = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if new:
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))  # of two that write it one fails
        place.replace(path)
    except BaseException:
        with suppress(OSError):
            place.unlink()
        raise
