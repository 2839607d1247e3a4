"""What conversations are exported as, by a name or by the ending of a file."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from qwen_core.errors import SettingsError, quote
from qwen_tui.store import Store
from qwen_tui.store.export_html import conversations_html
from qwen_tui.store.export_json import export_json
from qwen_tui.store.export_markdown import conversation_markdown

ExportKind = Literal["markdown", "json", "html"]
ENDINGS: dict[ExportKind, str] = {"markdown": ".md", "json": ".json", "html": ".html"}
_KINDS: dict[str, ExportKind] = {
    "": "markdown", ".md": "markdown", ".markdown": "markdown", ".txt": "markdown", ".json": "json", ".html": "html",
    ".htm": "html",
}  # fmt: skip


def kind_named(name: str) -> ExportKind | None:
    """The kind that is called so, "html" or "md"; None where there is none."""
    for kind, ending in ENDINGS.items():
        if name.lower() in (kind, ending[1:]):
            return kind
    return None


def kind_of(path: Path) -> ExportKind:
    """What the ending of a file asks for. Raises SettingsError for one that asks for something else."""
    kind = _KINDS.get(path.suffix.lower())
    if kind is None:
        raise SettingsError(f"{quote(path.name)}: there is no export as {quote(path.suffix)}; .md, .html or .json")
    return kind


def exported(store: Store, ids: Sequence[int], kind: ExportKind, colours: Mapping[str, str]) -> str:
    """The conversations `ids` as text; `colours` are those of a theme. Raises StoreError where there is none of one."""
    if kind == "json":
        return export_json(store, ids)
    found = [(store.conversations.get(number), store.tree.path(number)) for number in ids]
    if kind == "html":
        return conversations_html(found, colours)
    return "\n---\n\n".join(conversation_markdown(summary, messages) for summary, messages in found)
