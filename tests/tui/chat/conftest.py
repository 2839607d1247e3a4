"""What tests of the transcript share."""

import pytest

from qwen_tui.chat import turn_window


@pytest.fixture
def few_widgets(monkeypatch: pytest.MonkeyPatch) -> None:
    """A window of three tenths: the walks are the same ones, but each step lays out and draws as many fewer widgets."""
    for name, items in (("END", 12), ("STEP", 6), ("MOST", 18)):
        monkeypatch.setattr(turn_window, name, items)
