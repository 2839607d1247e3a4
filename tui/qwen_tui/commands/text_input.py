"""Text that a command is given in a file or on standard input: bounded, so that what never ends is refused."""

import sys
from codecs import getincrementaldecoder
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

from qwen_core.errors import SettingsError, quote
from qwen_core.figures import decimal_size

STANDARD_INPUT = "-"
PIECE = 1 << 20


def read_input(name: str, limit: int, what: str = "") -> str:
    """All of the file `name`, or of standard input for "-", as UTF-8. `what` comes before the name in a message.

    Raises SettingsError for more than `limit` bytes, for what is no UTF-8, or for a file that cannot be read.
    """
    return "".join(input_pieces(name, limit, what))


def input_pieces(name: str, limit: int, what: str = "") -> Iterator[str]:
    """The same in pieces, so that nobody needs to hold all of it. A file that is too large is refused before any."""
    where = "standard input" if name == STANDARD_INPUT else f"{what}{quote(name)}"
    decode, before, done = getincrementaldecoder("utf-8")(), 0, 0
    too_much = SettingsError(f"{where} holds more than {decimal_size(limit)}: give less")
    try:
        if name != STANDARD_INPUT and Path(name).stat().st_size > limit:
            raise too_much
        with nullcontext(sys.stdin.buffer) if name == STANDARD_INPUT else Path(name).open("rb") as file:
            while data := file.read(PIECE):
                before, done = done - len(decode.getstate()[0]), done + len(data)
                if done > limit:
                    raise too_much
                yield decode.decode(data)
            before = done - len(decode.getstate()[0])
            yield decode.decode(b"", final=True)
    except OSError as error:
        raise SettingsError(f"{where} cannot be read: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        raise SettingsError(f"{where} is not UTF-8 text (byte {before + error.start}): convert it first") from None
