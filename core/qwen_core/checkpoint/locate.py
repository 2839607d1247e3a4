"""From what a person typed to a model directory: a path, or `owner/name` looked up in the local Hugging Face cache;
and from a model directory to what a person calls it.

Nothing is downloaded and no network is used. Reading the directory is directory.py's business.
"""

import os
import re
from pathlib import Path

from qwen_core.checkpoint.directory import open_checkpoint
from qwen_core.demo import demo_model_path
from qwen_core.errors import CheckpointError, quote
from qwen_core.files import read_text

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}/[A-Za-z0-9][A-Za-z0-9._-]{0,95}")
MAX_REF_BYTES = 200
_COMMIT = re.compile(r"[0-9a-fA-F]{7,64}")


def resolve_model_path(text: str) -> Path:
    """The directory that `text` means: an existing path as it is, else a repository in the Hugging Face cache.

    Raises CheckpointError: with the download command for an `owner/name` that is not in the cache, else saying that
    there is no such directory.
    """
    path = _expanded(text)
    try:
        if path.exists():
            return path
    except (OSError, ValueError):  # too long a name, or a NUL in it
        pass
    if not _NAME.fullmatch(text) or ".." in text:
        raise CheckpointError(f"model directory {quote(text)} does not exist")
    repository = hub_cache() / f"models--{text.replace('/', '--')}"
    snapshot = _snapshot(repository)
    if snapshot is None:
        raise CheckpointError(
            f"{text} is neither a directory nor in the Hugging Face cache ({quote(hub_cache())}); "
            f"download it with: hf download {text}"
        )
    return snapshot


def hub_cache() -> Path:
    """Where Hugging Face tools keep repositories: HF_HUB_CACHE, else HF_HOME/hub, else ~/.cache/huggingface/hub."""
    for variable, below in (("HF_HUB_CACHE", ""), ("HUGGINGFACE_HUB_CACHE", ""), ("HF_HOME", "hub")):
        value = os.environ.get(variable)
        if value:
            return _expanded(value) / below
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return _expanded(base) / "huggingface" / "hub"


def model_name(path: str | Path) -> str:
    """What the model in the directory `path` is called: by the directory, where that says something.

    The name of the bundled model's does not, nor does that of a snapshot in the Hugging Face cache, which is a commit.
    """
    place = Path(path).absolute()
    if place == demo_model_path():
        return "demo model"
    repository = place.parent.parent.name
    if place.parent.name == "snapshots" and repository.startswith("models--"):
        return repository.removeprefix("models--").split("--", 1)[-1]
    return place.resolve().name or str(path)


def _expanded(text: str) -> Path:
    """`text` with a leading ~ or ~user as the home directory; unchanged where there is no such home."""
    path = Path(text)
    try:
        return path.expanduser()
    except RuntimeError:
        return path


def _snapshot(repository: Path) -> Path | None:
    """The snapshot that `main` points at, else the most complete one; None where there is none with a config.json."""
    snapshots = repository / "snapshots"
    try:
        commit = read_text(repository / "refs" / "main", MAX_REF_BYTES).strip()
    except CheckpointError:
        commit = ""
    if _COMMIT.fullmatch(commit) and (snapshots / commit / "config.json").exists():
        return snapshots / commit
    try:
        found = [entry for entry in snapshots.iterdir() if (entry / "config.json").exists()]
    except OSError:
        return None
    return max(found, key=_completeness, default=None)


def _completeness(snapshot: Path) -> tuple[bool, int, float]:
    """Whether it can be opened, how many files it has that lead somewhere, and how new it is."""
    try:
        open_checkpoint(snapshot)
        opens = True
    except CheckpointError:
        opens = False
    return opens, sum(entry.is_file() for entry in snapshot.iterdir()), snapshot.stat().st_mtime
