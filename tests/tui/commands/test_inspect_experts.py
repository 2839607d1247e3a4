"""A mixture of experts in `inspect`: what a token and a longer pass read, and one expert's values."""

import io
import json
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import pytest

from qwen_core.checkpoint.directory import open_checkpoint
from qwen_core.tensors.values import read_values
from qwen_tui import cli
from support.checkpoints import write_checkpoint
from support.published_plan import FULL_MIXTURE, SMALL_MIXTURE

UP = "layers.0.mlp.switch_mlp.up_proj"


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models")
    write_checkpoint(path / "full", full=True, text=FULL_MIXTURE)
    write_checkpoint(path / "nvfp4", text=SMALL_MIXTURE, seed=1)
    write_checkpoint(path / "bf16", "bf16", text=SMALL_MIXTURE, seed=1)
    return path


def said(*words: str | Path, code: int = 0) -> str:
    """What `inspect` prints, standard error too, in one line."""
    out = io.StringIO()
    with redirect_stdout(out), redirect_stderr(out):
        assert cli.main(["inspect", *map(str, words)]) == code, out.getvalue()
    return " ".join(out.getvalue().split())


def fields(*words: str | Path) -> dict[str, Any]:
    return json.loads(said(*words, "--json"))


def test_what_a_token_and_a_prompt_read(models: Path) -> None:
    text = said(models / "full")
    assert "UD-NVFP4_K_XL" in text
    assert "per token 2,714,692,480 bytes (2.71 GB) of weights" in text
    assert "8 of 256 and a shared one in each layer; a pass of several tokens reads more" in text
    assert "experts (a token uses 8 of 256) 18.85 GB in 280 tensors" in text
    assert "256 experts, a token reads 8" in text
    report = fields(models / "full")
    assert report["model"]["mixture"] == {"experts": 256, "used": 8, "size": 512, "shared_size": 512}
    stacks = [module for module in report["modules"] if module["experts"]]
    assert len(stacks) == 120
    assert all(stack["weight_bytes_per_token"] * 32 == stack["bytes"] for stack in stacks)
    assert "≡ up_proj" in said(models / "full", "--tensors")
    assert "nvfp4" in said(models / "full", "--layers")


def test_the_values_of_one_expert(models: Path) -> None:
    values = read_values(open_checkpoint(models / "nvfp4"), UP, expert=5)
    found = fields(models / "nvfp4", "--tensor", UP, "--expert", "5")
    assert (found["experts"], found["expert"], found["shape"]) == (8, 5, [64, 128])
    assert found["minimum"] == values.minimum
    assert "expert 5 of 8" in said(models / "nvfp4", "--tensor", UP, "--expert", "5")
    assert "all 8 experts" in said(models / "nvfp4", "--tensor", UP)
    compared = fields(models / "nvfp4", "--tensor", UP, "--expert", "5", "--reference", models / "bf16")
    assert 15 < compared["error"]["snr_db"] < 25  # 4 bits


def test_an_expert_that_is_not_there(models: Path) -> None:
    assert "has no expert 8: choose 0 to 7" in said(models / "nvfp4", "--tensor", UP, "--expert", "8", code=1)
    assert "has no experts" in said(models / "nvfp4", "--tensor", "lm_head", "--expert", "0", code=1)
    assert "--expert belongs to --tensor" in said(models / "nvfp4", "--expert", "0", code=2)
