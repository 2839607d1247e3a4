"""Text that a command is given in a file or on standard input: bounded, so that what never ends is refused."""

import sys
from pathlib import Path

from qwen_core.errors import SettingsError, quote

STANDARD_INPUT = "-"


def read_input(name: str, limit: int, what: str = "") -> str:
    """All of the file `name`, or of standard input for "-", as UTF-8. `what` comes before the name in a message.

    Raises SettingsError for more than `limit` bytes, for what is no UTF-8, or for a file that cannot be read.
    """
    where = "standard input" if name == STANDARD_INPUT else f"{what}{quote(name)}"
    try:
        if name == STANDARD_INPUT:
            data = sys.stdin.buffer.read(limit + 1)
        else:
            with Path(name).open("rb") as file:
                data = file.read(limit + 1)
    except OSError as error:
        raise SettingsError(f"{where} cannot be read: {error.strerror or error}") from None
    if len(data) > limit:
        raise SettingsError(f"{where} holds more than {limit >> 20} MiB: that is too much, give less")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise SettingsError(f"{where} is not UTF-8 text (byte {error.start}): convert it first") from None
