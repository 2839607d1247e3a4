"""`qwen-tui run` while a template renders that does not end."""

import os
import signal
from typing import Any

import pytest

from qwen_core.text.template import ChatTemplate
from qwen_core.text.template_process import TemplateProcess
from qwen_tui import cli
from support.scripted_session import ScriptedSession

HOURS = "{% set a = 'a' * 8000000 %}{{ a.rfind('ab' ~ 'a' * 4000000) }}"


def test_ctrl_c_is_taken(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The alarm stands for a finger: it comes while this thread waits for the rendering."""
    process, fake = TemplateProcess(1.0), ScriptedSession()

    def load_session(*args: Any, **keywords: Any) -> None:
        process.render("", None)
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        ChatTemplate(HOURS).render([])

    monkeypatch.setattr("qwen_core.text.template.TEMPLATE_PROCESS", process)
    monkeypatch.setattr("qwen_core.checkpoint.locate.resolve_model_path", lambda text: text)
    monkeypatch.setattr(fake, "load_session", load_session)
    fake.install(monkeypatch)
    before = signal.signal(signal.SIGALRM, lambda *_: os.kill(os.getpid(), signal.SIGINT))
    try:
        assert cli.main(["run", "dir", "-p", "x"]) == 130
    finally:
        signal.signal(signal.SIGALRM, before)
        process.close()
    assert capsys.readouterr().err == "qwen-tui: interrupted\n"
