"""Screens as committed text and styles: `QWEN_TUI_UPDATE_SNAPSHOTS=1` writes them anew."""

import os
from pathlib import Path

FOLDER = Path(__file__).resolve().parent.parent / "tui" / "snapshots"


def compare(drawn: str, file: str) -> None:
    """That `drawn` is what was committed under this name."""
    path = FOLDER / f"{file}.txt"
    if os.environ.get("QWEN_TUI_UPDATE_SNAPSHOTS"):
        path.write_text(drawn, encoding="utf-8")
    assert drawn == path.read_text(encoding="utf-8")
