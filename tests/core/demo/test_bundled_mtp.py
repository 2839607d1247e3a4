"""The bundled model's MTP layer: it came to a trunk that stayed as it was, and its drafts change no token."""

import hashlib

import pytest

from demo_training.corpus.held_out import held_out_items
from demo_training.evaluate import DRAFTS, MOST_PASSES, draft_figures, session_ask
from qwen_core.checkpoint.architecture import mtp_tensors
from qwen_core.checkpoint.directory import open_checkpoint
from qwen_core.demo import demo_model_path

MODEL = demo_model_path()


def test_the_trunk_is_byte_for_byte_what_it_was_before_there_was_a_layer() -> None:
    weights = (MODEL / "model-00001-of-00001.safetensors").read_bytes()
    assert hashlib.sha256(weights).hexdigest() == "b79cd8d2f33de220e42ec1344d9453df6f0424b792a0936b7f9d934cbc2f2c05"


def test_the_layer_lies_beside_it_whole_and_on_aligned_places() -> None:
    checkpoint = open_checkpoint(MODEL)
    assert checkpoint.mtp_problem == ""
    assert checkpoint.mtp is not None
    assert checkpoint.mtp.file == MODEL / "mtp.safetensors"
    assert set(checkpoint.mtp.tensors) == {tensor.name for tensor in mtp_tensors(checkpoint.config)}
    for info in checkpoint.mtp.tensors.values():
        assert (info.dtype, info.offset % 16) == ("BF16", 0), info.name


@pytest.mark.parametrize(("effort", "every"), [("none", 40), ("low", 50)])
def test_drafts_save_passes_and_change_no_token(effort: str, every: int) -> None:
    """On some of the kept-out phrasings; `python -m demo_training.evaluate` asks them all."""
    items = held_out_items()[::every]
    ask, close = session_ask(MODEL, effort)
    try:
        plain, drafted = ([ask(item.questions, None, mode)[-1] for item in items] for mode in ("off", "mtp"))
    finally:
        close()
    found = draft_figures(plain, drafted)
    assert found["num_draft_tokens"] == DRAFTS
    assert found["same_tokens"]
    assert found["passes_per_token"] <= MOST_PASSES
    assert found["acceptance_by_depth"] == sorted(found["acceptance_by_depth"], reverse=True)
