"""The one error of the store: a line that says what could not be kept or read, and why."""

from qwen_core.errors import QwenError


class StoreError(QwenError):
    """The conversations could not be read or written; what is on the screen is not affected."""
