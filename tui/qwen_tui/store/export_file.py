"""`/export`: one conversation into a file, never over another one."""

from collections.abc import Mapping
from pathlib import Path

from qwen_core.errors import SettingsError, quote
from qwen_core.files import write_private
from qwen_tui.store import Store
from qwen_tui.store.export import ENDINGS, exported, kind_named, kind_of
from qwen_tui.text.safe import one_line

MAX_NAME = 60
TRIES = 1000


def file_name(title: str) -> str:
    """A file name from a title: its letters, digits, hyphens and underscores; nothing that leads elsewhere."""
    kept = "".join(sign if sign.isalnum() or sign in " -_" else " " for sign in one_line(title, 200))
    name = "-".join(kept.split())[:MAX_NAME].strip("-_")
    return name or "conversation"


def export_conversation(
    store: Store, conversation_id: int, argument: str, folder: Path, colours: Mapping[str, str]
) -> Path:
    """Write a conversation to `argument`, or to a free name in `folder` from its title; where it was written.

    An `argument` of "markdown", "json" or "html" chooses the format alone; of a name its ending does. `colours`: a
    theme's. Raises SettingsError for a file that exists or cannot be written, or an ending that means no format,
    StoreError where there is no such conversation.
    """
    title = store.conversations.get(conversation_id).title
    named = kind_named(argument)
    if argument and named is None:
        candidates = [folder / Path(argument).expanduser()]
    else:
        name, ending = file_name(title), ENDINGS[named or "markdown"]
        candidates = [folder / f"{name}{f'-{count}' if count > 1 else ''}{ending}" for count in range(1, TRIES)]
    kind = named or kind_of(candidates[0])
    return write_new(candidates, exported(store, [conversation_id], kind, colours))


def write_new(candidates: list[Path], text: str) -> Path:
    """Write `text` to the first of `candidates` that does not exist, for its owner's eyes only."""
    for path in candidates:
        try:
            write_private(path, text.encode(), new=True)
        except FileExistsError:
            continue
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise SettingsError(f"{quote(path)} cannot be written: {reason}") from None
        return path
    raise SettingsError(f"{quote(candidates[0])} exists: choose another name")
