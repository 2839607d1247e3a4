"""The clipboard beside OSC 52: which program of this machine can take a text, and handing it over.

The app sends OSC 52 in any case; whether the terminal took it cannot be known, and some do not (Terminal on macOS).
Over ssh no program is asked: it would fill the clipboard of the machine at the other end.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence

TIMEOUT_S = 3.0
OSC52_LIMIT = 74_994
"""Characters that terminals take at least in one OSC 52: 100,000 in base64, the limit of several."""


def clipboard_command(
    platform: str, environ: Mapping[str, str], available: Callable[[str], str | None]
) -> tuple[str, ...] | None:
    """The command that puts its input on the clipboard, None where there is none. Pure: `available` is shutil.which."""
    if any(environ.get(name) for name in ("SSH_CONNECTION", "SSH_CLIENT", "SSH_TTY")):
        return None
    candidates: list[tuple[str, ...]] = []
    if platform == "darwin":
        candidates.append(("pbcopy",))
    if environ.get("WAYLAND_DISPLAY"):
        candidates.append(("wl-copy",))
    if environ.get("DISPLAY"):
        candidates.append(("xclip", "-selection", "clipboard", "-in"))
    return next((command for command in candidates if available(command[0])), None)


def copy_with_program(text: str, command: Sequence[str] | None = None) -> str:
    """Hand `text` to the clipboard's program; its name, or "" where there is none or it failed."""
    command = command or clipboard_command(sys.platform, os.environ, shutil.which)
    if command is None:
        return ""
    # pbcopy takes its input for the encoding of the locale; a terminal's may be plain C.
    environment = {**os.environ, "LC_CTYPE": "UTF-8"} if command[0] == "pbcopy" else None
    try:
        # wl-copy and xclip go on in the background: with a pipe as their output this would wait for them.
        done = subprocess.run(
            list(command),
            input=text.encode("utf-8", "replace"),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=TIMEOUT_S,
            env=environment,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return command[0] if done.returncode == 0 else ""
