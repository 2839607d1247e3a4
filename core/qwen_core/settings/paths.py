"""Every path of the program's own files: configuration, data and state, and the log of the engine process.

The folders are those of the system (`platformdirs`), or `config`, `data` and `state` under `QWEN_TUI_HOME` where that
is set. Each is created when it is asked for, readable by its owner alone. What the files hold is others' business.
"""

import os
from pathlib import Path

from platformdirs import PlatformDirs

from qwen_core.errors import SettingsError, quote
from qwen_core.files import private_folder

HOME_VARIABLE = "QWEN_TUI_HOME"
KINDS = ("config", "data", "state")


def config_dir() -> Path:
    """Settings and themes that a person wrote. Raises SettingsError if the folder cannot be made."""
    return _private("config")


def data_dir() -> Path:
    """Conversations. Raises SettingsError if the folder cannot be made."""
    return _private("data")


def state_dir() -> Path:
    """Logs, input history and whatever else may be lost. Raises SettingsError if the folder cannot be made."""
    return _private("state")


def engine_log_path() -> Path:
    """Where the engine process writes what it would have said on a terminal. The file may not exist yet."""
    return location("state") / "engine.log"


def location(kind: str) -> Path:
    """The absolute path of one of KINDS, without creating it."""
    home = os.environ.get(HOME_VARIABLE)
    if home:
        return Path(home).expanduser().absolute() / kind
    dirs = PlatformDirs("qwen-tui", appauthor=False)
    paths = {"config": dirs.user_config_path, "data": dirs.user_data_path, "state": dirs.user_state_path}
    # macOS has one folder for all three kinds; they stay apart inside it.
    shared = len(set(paths.values())) < len(paths)
    return paths[kind] / kind if shared else paths[kind]


def _private(kind: str) -> Path:
    path = location(kind)
    try:
        # A folder that exists keeps the mode its owner gave it; those above it are not only ours.
        if not path.is_dir():
            path.parent.mkdir(parents=True, exist_ok=True)
            private_folder(path)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise SettingsError(
            f"the {kind} folder {quote(path)} cannot be created: {reason}; "
            f"set {HOME_VARIABLE} to a folder that you can write in"
        ) from error
    return path
