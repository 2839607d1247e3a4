"""`/export`: one conversation into a file, never over another one."""

from pathlib import Path

from qwen_core.errors import SettingsError, quote
from qwen_core.files import write_private
from qwen_tui.store import Store
from qwen_tui.store.export_json import export_json
from qwen_tui.store.export_markdown import conversation_markdown
from qwen_tui.text.safe import one_line

MAX_NAME = 60
TRIES = 1000


def file_name(title: str) -> str:
    """A file name from a title: its letters, digits, hyphens and underscores; nothing that leads elsewhere."""
    kept = "".join(sign if sign.isalnum() or sign in " -_" else " " for sign in one_line(title, 200))
    name = "-".join(kept.split())[:MAX_NAME].strip("-_")
    return name or "conversation"


def export_conversation(store: Store, conversation_id: int, argument: str, folder: Path) -> Path:
    """Write a conversation to `argument`, or to a free name in `folder` from its title; where it was written.

    An `argument` of "json" or "markdown" chooses the format alone; a name ending in .json is JSON, another Markdown.
    Raises SettingsError for a file that exists or cannot be written, StoreError where there is no such conversation.
    """
    summary = store.conversations.get(conversation_id)
    ending = {"json": ".json", "markdown": ".md", "md": ".md", "": ".md"}.get(argument.lower())
    if ending is None:
        candidates = [folder / Path(argument).expanduser()]
    else:
        name = file_name(summary.title)
        candidates = [folder / f"{name}{f'-{count}' if count > 1 else ''}{ending}" for count in range(1, TRIES)]
    if candidates[0].suffix.lower() == ".json":
        text = export_json(store, [conversation_id])
    else:
        text = conversation_markdown(summary, store.tree.path(conversation_id))
    return write_new(candidates, text)


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
