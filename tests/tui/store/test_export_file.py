"""`/export` writes one new file where it should, and nowhere else."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwen_core.errors import QwenError
from qwen_tui.settings.themes import colours_of
from qwen_tui.store.export_file import export_conversation, file_name
from support.stores import opened, turn

COLOURS = colours_of("midnight")


@given(st.text())
def test_a_title_never_leads_elsewhere(title: str) -> None:
    name = file_name(title)
    assert name
    assert Path(name).name == name
    assert not name.startswith((".", "-"))
    assert name.isprintable()


def test_by_title_or_by_name_and_never_over_another_file(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        conversation = store.conversations.begin()
        turn(store, conversation, "../What is NVFP4?", "A format.")
        first = export_conversation(store, conversation, "", tmp_path, COLOURS)
        second = export_conversation(store, conversation, "markdown", tmp_path, COLOURS)
        assert [first.name, second.name] == ["What-is-NVFP4.md", "What-is-NVFP4-2.md"]
        assert "A format." in first.read_text()
        assert first.stat().st_mode & 0o077 == 0
        data = export_conversation(store, conversation, "chat.json", tmp_path, COLOURS)
        assert json.loads(data.read_text())
        assert export_conversation(store, conversation, "json", tmp_path, COLOURS).name == "What-is-NVFP4.json"
        with pytest.raises(QwenError, match="exists"):
            export_conversation(store, conversation, "chat.json", tmp_path, COLOURS)
        page = export_conversation(store, conversation, "html", tmp_path, COLOURS)
        assert (page.name, page.read_text()[:15]) == ("What-is-NVFP4.html", "<!DOCTYPE html>")
        with pytest.raises(QwenError, match="no export as"):
            export_conversation(store, conversation, "chat.docx", tmp_path, COLOURS)
        for place in ("no/such/folder.md", "bad\0name"):
            with pytest.raises(QwenError, match="cannot be written"):
                export_conversation(store, conversation, place, tmp_path, COLOURS)
