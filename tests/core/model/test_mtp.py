"""The MTP layer against mlx-vlm's drafter in float32 (make_mtp_goldens.py wrote what that computes)."""

from collections.abc import Mapping
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest

from qwen_core.checkpoint.config import ModelConfig
from qwen_core.checkpoint.directory import Checkpoint, TensorInfo, open_checkpoint
from qwen_core.checkpoint.mtp import SIDECARS, find_mtp
from qwen_core.model.model import Model, load_model
from qwen_core.model.mtp import MtpLayer, load_mtp
from support.checkpoints import write_safetensors
from support.reference import (
    CASES,
    DRAFTS,
    PROMPT,
    STRETCHED,
    Case,
    laid_out,
    mtp_hidden,
    mtp_weights,
    write_case,
)

# Both sides are float32 and sum in different orders; the bound leaves room for other machines.
# Measured: up to 2e-6.
TOLERANCE = 1e-3
GOLDENS = Path(__file__).resolve().parent / "goldens"


def loaded(checkpoint: Checkpoint) -> tuple[Model, MtpLayer]:
    found = find_mtp(checkpoint.path, checkpoint.config, checkpoint.tensors, checkpoint.converted)
    assert found is not None
    model = load_model(checkpoint, "float32")
    return model, load_mtp(model, found)


@pytest.mark.parametrize("where", ["inside", "mtp.safetensors"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
@pytest.mark.parametrize("pieces", [[PROMPT], [1, 40, PROMPT - 41]], ids=["whole", "in pieces"])
def test_drafts_equal_mlx_vlm(case: Case, where: str, pieces: list[int], tmp_path: Path) -> None:
    """The pairs of a prompt fed at once or in pieces, the first draft and those that follow from drafts."""
    write_case(case, tmp_path, mtp=where)
    model, layer = loaded(open_checkpoint(tmp_path))
    state, ids, hidden = model.new_state(), mx.array([case.ids]), mx.array(mtp_hidden(case))
    begin = 0
    for length in pieces:
        end = begin + length
        state.advance(length)
        state.mtp.take(ids[:, begin:end], hidden[:, begin:end])
        layer.catch_up(state.mtp)
        begin = end
    expected = np.load(GOLDENS / f"mtp-{case.name}.npz")["logits"]
    for _ in range(2):  # nothing of the drafts is kept
        rows = layer.draft_logits(ids[0, PROMPT : PROMPT + 1], DRAFTS, model.config.vocab_size, state.mtp)
        difference = np.abs(np.array(mx.concatenate(rows)) - expected).max()
        print(f"{case.name}: largest difference {difference:.1e}")
        assert difference <= TOLERANCE


@pytest.mark.parametrize("case", STRETCHED, ids=lambda case: case.name)
def test_a_first_draft_turns_as_the_stretched_model_does(case: Case, tmp_path: Path) -> None:
    """Against the same made of transformers' parts (make_goldens.py): mlx-vlm's drafter knows no YaRN."""
    write_case(case, tmp_path, mtp="inside")
    model, layer = loaded(open_checkpoint(tmp_path))
    state, ids = model.new_state(), mx.array([case.ids])
    state.advance(PROMPT)
    state.mtp.take(ids[:, :PROMPT], mx.array(mtp_hidden(case)))
    rows = layer.draft_logits(ids[0, PROMPT : PROMPT + 1], 1, model.config.vocab_size, state.mtp)
    expected = np.load(GOLDENS / f"mtp-{case.name}.npz")["logits"]
    assert np.abs(np.array(rows[0]) - expected).max() <= TOLERANCE


@pytest.mark.parametrize("pattern", SIDECARS)
def test_a_file_beside_the_model_is_found_with_and_without_prefix(pattern: str, tmp_path: Path) -> None:
    case = CASES[2]
    write_case(case, tmp_path)
    assert find_mtp(tmp_path, *opened(tmp_path)) is None
    path = tmp_path / pattern.replace("*", "-00001-of-00001")
    path.parent.mkdir(exist_ok=True)
    write_safetensors(path, {name: laid_out(case, name, value) for name, value in mtp_weights(case)})
    found = find_mtp(tmp_path, *opened(tmp_path))
    assert found is not None
    assert found.file == path


def opened(path: Path) -> tuple[ModelConfig, Mapping[str, TensorInfo], bool]:
    checkpoint = open_checkpoint(path)
    return checkpoint.config, checkpoint.tensors, checkpoint.converted
