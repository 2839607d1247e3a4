"""What a model is called on screen, from the place it lies in."""

from dataclasses import replace
from pathlib import Path

import pytest

from qwen_core.demo import demo_model_path
from qwen_tui.chat.welcome import welcome_lines
from qwen_tui.conversation.conversation import Conversation
from qwen_tui.text.model_name import model_name, pending_name
from qwen_tui.widgets.header import model_pieces
from support.fake_engine import MODEL

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.mark.parametrize(
    ("path", "name"),
    [
        (str(demo_model_path()), "demo model"),
        (f"/cache/models--unsloth--Qwen3.6-27B-MLX/snapshots/{COMMIT}", "Qwen3.6-27B-MLX"),
        (f"/cache/models--owner--two--dashes/snapshots/{COMMIT}", "two--dashes"),
        (f"/elsewhere/snapshots/{COMMIT}", COMMIT),
        ("/models/Qwen3.6-27B-UD-NVFP4_K_XL-mlx/", "Qwen3.6-27B-UD-NVFP4_K_XL-mlx"),
        ("/models/model", "model"),
        ("/", "/"),
    ],
)
def test_a_model_is_called_what_a_person_calls_it(path: str, name: str) -> None:
    assert pending_name(path) == name
    loaded = replace(MODEL, path=path, name=Path(path).name)
    assert model_name(loaded) == name
    assert model_pieces(loaded)[0] == name
    conversation = Conversation(engine="ready", model=loaded)
    assert name in [text for text, _ in welcome_lines(conversation, "", 100)]


def test_the_directory_one_is_in_has_its_own_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "inside").mkdir()
    monkeypatch.chdir(tmp_path / "inside")
    assert pending_name(".") == "inside"
    assert pending_name("..") == tmp_path.name
    assert model_name(replace(MODEL, path=".", name="")) == "inside"


def test_the_engines_own_name_comes_before_the_directorys() -> None:
    assert model_name(MODEL) == "Qwen3.6-27B"
