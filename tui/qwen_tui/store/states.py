"""Saved states of conversations: a file each beside the store, which goes when its conversation does, and the parts
that other ranks on this machine have of it.

The engine writes them (session/state_file.py, model/part_files.py), first under a name that holds its process id.
"""

import os
import re
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

from qwen_core.settings.paths import data_dir

FOLDER = "states"
_SAVED = re.compile(r"(\d{1,19})(?:\.rank\d{1,4})?\.safetensors")
_BEING_SAVED = re.compile(r"\.\d{1,19}(?:\.rank\d{1,4})?\.safetensors\.(\d{1,9})\.safetensors")


def state_file(conversation_id: int) -> Path:
    """Where a conversation's saved state is, or would be. QwenError where there is no directory for data."""
    return data_dir() / FOLDER / f"{conversation_id}.safetensors"


def remove_state(folder: Path, conversation_id: int) -> None:
    """Take a conversation's saved state away, if there is one: without it resuming costs a prefill."""
    with suppress(OSError):
        for path in (folder / f"{conversation_id}.safetensors", *folder.glob(f"{conversation_id}.rank*.safetensors")):
            path.unlink(missing_ok=True)


def sweep_states(folder: Path, kept: Collection[int]) -> None:
    """Take away states of conversations other than `kept`, and what a process that is gone had begun to save."""
    with suppress(OSError):
        for path in list(folder.iterdir()):
            saved, begun = _SAVED.fullmatch(path.name), _BEING_SAVED.fullmatch(path.name)
            if (saved and int(saved[1]) not in kept) or (begun and not _is_alive(int(begun[1]))):
                path.unlink(missing_ok=True)


def _is_alive(process: int) -> bool:
    if process == os.getpid():  # which has saved nothing yet: the number is used again
        return False
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # someone else's
        return True
    return True
