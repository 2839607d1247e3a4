"""`--effort` with a word that is no level: the levels that the model's own template has, before anything is loaded."""

from pathlib import Path

import pytest

from qwen_core.demo import demo_model_path
from qwen_core.model import model as loading
from qwen_core.text.effort import EFFORTS
from qwen_tui import cli
from support.checkpoints import write_checkpoint
from support.text import EFFORT_TEMPLATE, write_text_files


@pytest.fixture(autouse=True)
def _no_loading(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "load_weights", lambda *_, **__: pytest.fail("weights were loaded"))


@pytest.mark.parametrize("command", [["run", "-p", "Hi"], []], ids=["run", "chat"])
@pytest.mark.parametrize("placed", ["behind", "before"])
def test_the_levels_of_the_template(
    command: list[str], placed: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_checkpoint(tmp_path)
    write_text_files(tmp_path)
    (tmp_path / "chat_template.jinja").write_text(EFFORT_TEMPLATE)
    words = ["--effort", "much"]
    asked = [*words, str(tmp_path)] if placed == "before" else [str(tmp_path), *words]
    assert cli.main([*command[:1], *asked, *command[1:]]) == 2
    said = capsys.readouterr().err
    assert "much is not a reasoning effort: this model has none, low, medium, xhigh." in said
    assert "high, xhigh" not in said


def test_the_bundled_model_is_meant_where_none_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert demo_model_path().is_dir()
    assert cli.main(["run", "-p", "Hi", "--effort", "much"]) == 2
    assert "this model has none, low, medium, high." in capsys.readouterr().err


@pytest.mark.parametrize("there", [True, False])
def test_where_no_template_can_be_read_all_that_templates_have(
    there: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if there:
        write_checkpoint(tmp_path / "model")
    assert cli.main(["run", "-p", "Hi", str(tmp_path / "model"), "--effort", "much"]) == 2
    assert f"models have some of {', '.join(EFFORTS)}." in capsys.readouterr().err
