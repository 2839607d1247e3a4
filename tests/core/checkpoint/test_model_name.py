"""What a model is called, from the place it lies in."""

from pathlib import Path

import pytest

from qwen_core.checkpoint.locate import model_name
from qwen_core.demo import demo_model_path

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
    assert model_name(path) == model_name(Path(path)) == name


def test_the_directory_one_is_in_has_its_own_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "inside").mkdir()
    monkeypatch.chdir(tmp_path / "inside")
    assert model_name(".") == "inside"
    assert model_name("..") == tmp_path.name
