"""The fingerprint: the same for the same files wherever they are, another for anything that changes the model."""

import json
import shutil
from pathlib import Path

import pytest

from qwen_core.checkpoint.directory import open_checkpoint
from qwen_core.checkpoint.fingerprint import fingerprint
from qwen_core.errors import CheckpointError
from support.checkpoints import write_checkpoint
from support.text import write_text_files


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "one"
    write_checkpoint(path)
    write_text_files(path)
    return path


def of(path: Path) -> str:
    return fingerprint(open_checkpoint(path))


def test_a_copy_has_the_same_and_it_is_short(model: Path, tmp_path: Path) -> None:
    shutil.copytree(model, tmp_path / "copy")
    assert of(tmp_path / "copy") == of(model)
    assert len(of(model)) == 32


def change_config(path: Path) -> None:
    file = path / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "made_by": "another tool"}))


def change_tokenizer(path: Path) -> None:
    (path / "tokenizer.json").write_text((path / "tokenizer.json").read_text() + "\n")


def change_template(path: Path) -> None:
    (path / "chat_template.jinja").write_text("{{ messages }}")


def lose_template(path: Path) -> None:
    (path / "chat_template.jinja").unlink()


def quantise_otherwise(path: Path) -> None:
    shutil.rmtree(path)
    write_checkpoint(path, "q4")
    write_text_files(path)


@pytest.mark.parametrize(
    "change", [change_config, change_tokenizer, change_template, lose_template, quantise_otherwise]
)
def test_any_change_gives_another(model: Path, tmp_path: Path, change: object) -> None:
    assert callable(change)
    path = tmp_path / "changed"
    shutil.copytree(model, path)
    change(path)
    assert of(path) != of(model)


def test_a_tokenizer_that_is_gone_is_one_line(model: Path, tmp_path: Path) -> None:
    path = tmp_path / "changed"
    shutil.copytree(model, path)
    checkpoint = open_checkpoint(path)
    (path / "tokenizer.json").unlink()
    with pytest.raises(CheckpointError, match=r"tokenizer\.json is missing"):
        fingerprint(checkpoint)
