"""A script called `ssh` that leads to no other machine: it gives the command a terminal here, as ssh -tt does there.

The host `refused` cannot be reached, `silent` never answers, and any other is this machine.
"""

import os
import sys
from pathlib import Path

import pytest

_SCRIPT = f"""#!{sys.executable}
import os, pty, sys, time
host, command = sys.argv[-2:]
if host == "refused":
    sys.exit(255)
while host == "silent":
    time.sleep(60)
print("Welcome to", host, flush=True)
sys.exit(os.waitstatus_to_exitcode(pty.spawn(["/bin/bash", "-c", command])))
"""


def install(folder: Path, patch: pytest.MonkeyPatch) -> None:
    """Have it found first."""
    folder.mkdir()
    (folder / "ssh").write_text(_SCRIPT)
    (folder / "ssh").chmod(0o755)
    patch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
