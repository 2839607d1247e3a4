"""A text written in the person's own editor: $VISUAL, else $EDITOR. Waits until it ends; leaves nothing behind."""

import os
import shlex
import signal
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from qwen_core.errors import QwenError, quote
from qwen_core.files import write_private
from qwen_tui.text.safe import typed

LOOK_S = 1.0
"""How often it is seen whether the terminal is still there."""


def edit_externally(text: str) -> str:
    """`text` as the person left it in the editor. QwenError where there is none, or it failed: `text` is to be kept.

    The editor gets the terminal of this process, which must not be drawn on meanwhile.
    """
    command = _command()
    # A folder of its own, for this person alone: what an editor puts beside the file (copies, swap files) goes along.
    with tempfile.TemporaryDirectory(prefix="qwen-tui-", ignore_cleanup_errors=True) as folder:
        path = Path(folder) / "message.md"
        write_private(path, text.encode("utf-8", "replace"), new=True)
        try:
            with _interrupts_are_the_editors():
                code = _waited_for(subprocess.Popen([*command, str(path)]))
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else None
            raise QwenError(f"The editor {quote(command[0])} did not start: {reason or error}. Set $EDITOR.") from None
        if code != 0:
            ended = f"by signal {-code}" if code < 0 else f"with exit code {code}"
            raise QwenError(f"The editor {quote(command[0])} ended {ended}: your text is as it was.")
        try:
            edited = path.read_bytes().decode("utf-8", "replace")
        except OSError as error:
            raise QwenError(
                f"What the editor left cannot be read ({error.strerror}): your text is as it was."
            ) from None
    edited = typed(edited)
    # Editors end a file with a newline of their own.
    return edited.removesuffix("\n") if not text.endswith("\n") else edited


def _waited_for(editor: subprocess.Popen[bytes]) -> int:
    """What it ends with. It may have a window of its own and not see that the terminal ends, and nobody else looks."""
    has_terminal = os.isatty(0)
    while True:
        with suppress(subprocess.TimeoutExpired):
            return editor.wait(LOOK_S)
        if has_terminal and not os.isatty(0):
            os.kill(os.getpid(), signal.SIGHUP)
            raise QwenError("The terminal has ended: your text is as it was.")


def _command() -> list[str]:
    for variable in ("VISUAL", "EDITOR"):
        value = os.environ.get(variable, "").strip()
        if not value:
            continue
        try:
            return shlex.split(value)
        except ValueError as error:
            raise QwenError(f"${variable} cannot be understood: {str(error).lower()} in {quote(value)}.") from None
    raise QwenError("No editor is set: start with EDITOR=nano qwen-tui, or export EDITOR in your shell's profile.")


@contextmanager
def _interrupts_are_the_editors() -> Iterator[None]:
    """Ctrl+C goes to every process of the terminal: it must not end this one while the editor has the keys."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    # A function rather than SIG_IGN, which the editor would inherit.
    before = signal.signal(signal.SIGINT, lambda number, frame: None)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.SIG_DFL if before is None else before)
