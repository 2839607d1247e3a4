"""What the tests of commands share."""

import pytest

from support.scripted_session import ScriptedSession


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> ScriptedSession:
    """A session that a script plays, in place of every model."""
    monkeypatch.setattr("qwen_core.checkpoint.locate.resolve_model_path", lambda text: text)
    return ScriptedSession().install(monkeypatch)
