"""Whether the program runs for the first time here: a marker in the state directory remembers that it has."""

from pathlib import Path

from qwen_core.errors import SettingsError
from qwen_core.settings.paths import state_dir

MARKER = "greeted"


def first_start(folder: Path | None = None) -> bool:
    """True once for each `folder` (None: the state directory), and each time where nothing can be written. No error."""
    try:
        folder = state_dir() if folder is None else folder
        folder.mkdir(parents=True, exist_ok=True)
        (folder / MARKER).touch(exist_ok=False)  # of two programs that start together, one made it
    except FileExistsError:
        return not (folder is not None and (folder / MARKER).exists())
    except (OSError, SettingsError):
        return True
    return True
