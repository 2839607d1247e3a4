"""Which drafter a turn gets, and what is said of an MTP layer that cannot draft: the model answers without it."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from qwen_core.checkpoint.directory import open_checkpoint
from qwen_core.device.backend import is_gpu
from qwen_core.errors import SettingsError
from qwen_core.model.model import load_model
from qwen_core.session.drafters import Drafters
from support.checkpoints import Stored, write_safetensors
from support.reference import CASES, laid_out, mtp_weights, write_case

CASE = CASES[2]
FILE = "mtp.safetensors"
Tensors = dict[str, Stored]


def layer() -> Tensors:
    return {f"mtp.{name}": laid_out(CASE, name, value) for name, value in mtp_weights(CASE)}


def without(name: str) -> Tensors:
    return {other: tensor for other, tensor in layer().items() if other != name}


def with_values(name: str, change: Callable[[np.ndarray], np.ndarray]) -> Tensors:
    tensors = layer()
    stored = tensors[name]
    assert stored.data is not None
    values = change(np.frombuffer(stored.data, np.float32).reshape(stored.shape))
    return {**tensors, name: Stored("F32", values.shape, values.tobytes())}


BAD = {
    "half a layer": (lambda: without("mtp.layers.0.mlp.up_proj.weight"), "mtp.layers.0.mlp.up_proj.weight"),
    "another shape": (lambda: with_values("mtp.fc.weight", lambda w: w[:, 1:].copy()), "mtp.fc.weight"),
    "not finite": (lambda: with_values("mtp.norm.weight", lambda w: np.where(w > 1, np.nan, w)), "mtp.norm.weight"),
    "a vocabulary of its own": (lambda: {**layer(), "mtp.embed.weight": layer()["mtp.fc.weight"]}, "mtp.embed.weight"),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_layer_that_does_not_fit_is_named_and_the_model_answers_without_it(kind: str, tmp_path: Path) -> None:
    make, tensor = BAD[kind]
    write_case(CASE, tmp_path)
    write_safetensors(tmp_path / FILE, make())
    model = load_model(open_checkpoint(tmp_path), "float32")
    drafters, state, vocab = Drafters(model), model.new_state(), model.config.vocab_size
    with pytest.raises(SettingsError) as raised:
        drafters.drafting("mtp", None, (), state, vocab)
    assert FILE in str(raised.value)
    assert tensor in str(raised.value)
    assert "\n" not in str(raised.value)
    assert drafters.drafting("lookup", None, (), state, vocab) is not None
    assert drafters.drafting("off", None, (), state, vocab) is None


def test_a_model_without_the_layer_says_so(tmp_path: Path) -> None:
    write_case(CASE, tmp_path)
    model = load_model(tmp_path, "float32")
    with pytest.raises(SettingsError, match=r"no MTP layer .* qwen-tui convert --add-mtp SRC"):
        Drafters(model).drafting("mtp", 2, (), model.new_state(), model.config.vocab_size)
    assert "--add-mtp" in Drafters(model).refusal("mtp")
    assert Drafters(model).refusal("auto") == ""


@pytest.mark.skipif(is_gpu(), reason="drafts pay on a GPU")
def test_auto_is_off_on_a_cpu(tmp_path: Path) -> None:
    write_case(CASE, tmp_path, mtp=FILE)
    model = load_model(tmp_path, "float32")
    drafters, state, vocab = Drafters(model), model.new_state(), model.config.vocab_size
    assert drafters.drafting("auto", None, (), state, vocab) is None
    assert drafters.drafting("auto", 2, (), state, vocab) is not None, "a number is asked for"
    assert [drafters.refusal(mode) for mode in ("auto", "off", "lookup", "mtp")] == [""] * 4
    forced = drafters.drafting("mtp", 2, (), state, vocab)
    assert forced is not None
    assert forced.kind == "mtp"
