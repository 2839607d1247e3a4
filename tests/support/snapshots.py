"""Screens as committed text and styles: `QWEN_TUI_UPDATE_SNAPSHOTS=1` writes them anew."""

import os
from difflib import unified_diff
from pathlib import Path

FOLDER = Path(__file__).resolve().parent.parent / "tui" / "snapshots"


def compare(drawn: str, file: str) -> None:
    """That `drawn` is what was committed under this name."""
    path = FOLDER / f"{file}.txt"
    if os.environ.get("QWEN_TUI_UPDATE_SNAPSHOTS"):
        path.write_text(drawn, encoding="utf-8")
    committed = path.read_text(encoding="utf-8")
    # Which rows differ is told here: pytest shortens what it shows of two long texts where it runs unattended.
    rows = "\n".join(unified_diff(committed.splitlines(), drawn.splitlines(), "committed", "drawn", n=0, lineterm=""))
    assert drawn == committed, f"{file}:\n{rows}"
