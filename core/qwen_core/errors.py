"""The errors a person can cause or meet, each one clear line: what is wrong, where, and what to do.

Messages may quote file names, tensor names and template output, none of which is trusted: every message is made
printable and bounded here, so that no caller has to remember it.
"""

MAX_MESSAGE = 600
MAX_QUOTE = 160


def printable(text: str, limit: int | None = None) -> str:
    """`text` on one line with control, format and surrogate characters escaped, cut in the middle above `limit`."""
    if limit is not None and len(text) > limit:
        half = (limit - 3) // 2
        text = f"{text[:half]}...{text[-half:]}"
    if text.isprintable():  # nearly every name: reading a header quotes thousands of them
        return text
    return "".join(c if c == " " or c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def quote(text: object) -> str:
    """An untrusted name for use inside a message: printable, at most MAX_QUOTE characters."""
    return printable(str(text), MAX_QUOTE)


class QwenError(Exception):
    """Anything the program refuses or fails at that a person can act on. `str(error)` is one printable line."""

    def __init__(self, message: str) -> None:
        super().__init__(printable(message, MAX_MESSAGE))


class CheckpointError(QwenError):
    """A model directory, its config, index, headers or tensors are missing, damaged or not supported."""


class BackendError(QwenError):
    """No MLX backend is installed, or the one that is cannot do what was asked."""


class CapacityError(QwenError):
    """The model or the context does not fit this machine; `dtypes`: compute types in which it would."""

    def __init__(self, message: str, dtypes: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.dtypes = dtypes


class TextError(QwenError):
    """The tokenizer or the chat template is missing, damaged, raised an error or ran over its deadline."""


class SettingsError(QwenError):
    """A generation or program setting is out of its range."""


class EngineError(QwenError):
    """The engine process could not be started, or ended when it should not have."""
