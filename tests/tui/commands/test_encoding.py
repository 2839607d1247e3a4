"""Standard output that is not UTF-8: what it cannot say becomes question marks, and no command fails of it."""

import io
from contextlib import closing

import pytest

from qwen_tui import cli
from qwen_tui.store import open_store
from support.fake_session import said
from support.scripted_session import ScriptedSession
from support.stores import turn

TEXT = "before 你好 \u201cquoted\u201d \U0001f642 é after"


@pytest.mark.parametrize("encoding", ["latin-1", "ascii", "cp1252", "utf-8"])
@pytest.mark.parametrize("line", ["run ./dir -p x", "export --last", "bench --variants"])
def test_what_an_encoding_cannot_say_is_replaced(line: str, encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qwen_core.checkpoint.locate.resolve_model_path", lambda text: text)
    if line.startswith("run"):
        ScriptedSession(events=[said(TEXT, 1)]).install(monkeypatch)
    if line.startswith("export"):
        with closing(open_store()) as store:
            turn(store, store.conversations.begin(), "question", TEXT)
    data = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(data, encoding=encoding))
    assert cli.main(line.split()) == 0
    out = data.getvalue().decode(encoding)
    if line.startswith("bench"):
        assert "NVFP4" in out
    else:
        assert TEXT.encode(encoding, "replace").decode(encoding) in out
