"""The repository that the tests are in, as files."""

import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def tracked(folder: str) -> list[str]:
    """The files of `folder` ("": all) that git knows; all that are there in a copy without git."""
    try:
        done = subprocess.run(["git", "ls-files", folder or "."], cwd=ROOT, capture_output=True, text=True, check=False)
        found = done.stdout.splitlines() if done.returncode == 0 else []
    except FileNotFoundError:
        found = []
    if not found:
        paths = (path for path in (ROOT / folder).rglob("*") if path.is_file() and "__pycache__" not in path.parts)
        found = [path.relative_to(ROOT).as_posix() for path in paths]
    return [name for name in found if (ROOT / name).is_file()]
