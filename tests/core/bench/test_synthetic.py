"""Models of random weights: their headers are those of a real checkpoint, their values are sane, their size checked."""

from collections.abc import Iterator
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest

from qwen_core import open_checkpoint
from qwen_core.bench import synthetic_shapes
from qwen_core.bench.synthetic import check_fits, synthetic_checkpoint, synthetic_model, synthetic_mtp
from qwen_core.bench.synthetic_shapes import SHAPES, shape_config
from qwen_core.checkpoint.footprint import state_bytes
from qwen_core.checkpoint.layout import make_layout
from qwen_core.checkpoint.recipe import VARIANTS, Variant, find_variant
from qwen_core.checkpoint.variants import predict, variant_name
from qwen_core.errors import CapacityError, SettingsError
from qwen_core.model.layers import FeedForward
from qwen_core.model.model import Model
from qwen_core.model.weights import LoadCancelled
from qwen_core.session.generate import decode, prefill
from qwen_core.session.sampling import Sampler, SamplingParameters
from support.checkpoints import write_checkpoint
from support.published_plan import FULL_MIXTURE, SMALL_MIXTURE

NVFP4 = find_variant("nvfp4")


@pytest.mark.parametrize("variant", [*VARIANTS, None], ids=lambda variant: variant.name if variant else "bf16")
def test_the_headers_of_the_27b_are_those_of_the_published_files(variant: Variant | None, tmp_path: Path) -> None:
    name = "bf16" if variant is None else variant.name.split("-")[1].split("_")[0].lower()
    write_checkpoint(tmp_path, name, full=True)
    real, made = open_checkpoint(tmp_path), synthetic_checkpoint("27b", variant)
    assert {k: (i.dtype, i.shape) for k, i in made.text.items()} == {
        k: (i.dtype, i.shape) for k, i in real.text.items()
    }
    assert made.specs == real.specs
    assert variant_name(made) == variant_name(real)
    assert made.config.num_hidden_layers == 64


@pytest.mark.parametrize("variant", [NVFP4, None], ids=["nvfp4", "bf16"])
def test_the_headers_of_the_35b_a3b_too(variant: Variant | None, tmp_path: Path) -> None:
    write_checkpoint(tmp_path, "nvfp4" if variant else "bf16", full=True, text=FULL_MIXTURE)
    real, made = open_checkpoint(tmp_path), synthetic_checkpoint("35b-a3b", variant)
    assert {k: (i.dtype, i.shape) for k, i in made.text.items()} == {
        k: (i.dtype, i.shape) for k, i in real.text.items()
    }
    assert (made.specs, made.config.mixture) == (real.specs, real.config.mixture)


@pytest.mark.parametrize("variant", [NVFP4, find_variant("mxfp8"), None], ids=["nvfp4", "mxfp8", "bf16"])
def test_a_mixture_runs_on_finite_numbers_and_drafts(
    variant: Variant | None, monkeypatch: pytest.MonkeyPatch, small_pieces: None
) -> None:
    sizes = {**synthetic_shapes._SIZES["tiny"], "model_type": "qwen3_5_moe_text", **SMALL_MIXTURE}
    monkeypatch.setitem(synthetic_shapes._SIZES, "tiny", sizes)
    model = synthetic_model(synthetic_checkpoint("tiny", variant, mtp=True), "float32")
    logits = np.array(model(mx.array([[5, 6, 7, 8]]), model.new_state()))
    assert 0.05 < logits.std() < 20
    assert drawn(model) == drawn(model)
    assert synthetic_mtp(model) is not None


@pytest.mark.parametrize("shape", SHAPES)
def test_sizes_are_what_was_predicted(shape: str) -> None:
    made = synthetic_checkpoint(shape, NVFP4)
    assert make_layout(made).token_bytes == predict(shape_config(shape), NVFP4).token_bytes


@pytest.mark.parametrize(("shape", "parameters"), [("27b", 26.9e9), ("35b-a3b", 34.7e9), ("9b", 8.95e9), ("4b", 4.2e9)])
def test_shapes_have_about_the_parameters_they_are_called_by(shape: str, parameters: float) -> None:
    assert make_layout(synthetic_checkpoint(shape, None)).text.parameters == pytest.approx(parameters, rel=0.01)


def drawn(model: Model, count: int = 5) -> list[int]:
    vocabulary = model.config.vocab_size
    state, sampler = model.new_state(), Sampler(SamplingParameters(temperature=0.0), vocabulary, vocabulary)
    *_, last = prefill(model, state, [3, 1, 4, 1, 5])
    assert last.logits is not None
    return list(decode(model, state, last.logits, sampler, limit=count))


@pytest.mark.parametrize("variant", [*VARIANTS, None], ids=lambda variant: variant.name if variant else "bf16")
def test_every_variant_runs_on_finite_numbers(variant: Variant | None) -> None:
    model = synthetic_model(synthetic_checkpoint("tiny", variant), "float32")
    logits = model(mx.array([[5, 6, 7, 8]]), model.new_state())
    assert np.isfinite(np.array(logits)).all()
    assert 0.05 < np.array(logits).std() < 20
    assert drawn(model) == drawn(model)


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: variant.name)
def test_unpacked_weights_have_the_deviation_of_a_model(variant: Variant) -> None:
    """About columns ** -0.5: within the factor 1.5 that a scale of a power of two can be off by."""
    checkpoint = synthetic_checkpoint("tiny", variant, 4)
    model = synthetic_model(checkpoint, "float32")
    feed_forward = model._blocks[0].feed_forward
    assert isinstance(feed_forward, FeedForward)
    unpacked = np.array(feed_forward.down(mx.eye(512)[None]))[0]
    assert unpacked.shape == (512, 256)
    assert 1 / 1.5 < unpacked.std() * 512**0.5 < 1.5
    assert abs(unpacked.mean()) < 0.1 * unpacked.std()


def test_a_seed_makes_the_same_model_and_another_seed_another() -> None:
    one, same, other = (synthetic_model(synthetic_checkpoint("tiny", NVFP4), "float32", seed=s) for s in (1, 1, 2))
    ids = mx.array([[1, 2, 3]])
    first = np.array(one(ids, one.new_state()))
    np.testing.assert_array_equal(first, np.array(same(ids, same.new_state())))
    assert not np.array_equal(first, np.array(other(ids, other.new_state())))


@pytest.fixture
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr("qwen_core.bench.synthetic._PIECE_ELEMENTS", 1000)
    yield


def test_large_weights_are_made_piece_by_piece(small_pieces: None) -> None:
    assert len(set(drawn(synthetic_model(synthetic_checkpoint("tiny", NVFP4), "float32")))) > 1


@pytest.mark.parametrize("layers", [0, 4])
def test_fewer_layers_run_too(layers: int) -> None:
    """None at all is what extrapolation subtracts: embedding, norm and head."""
    model = synthetic_model(synthetic_checkpoint("tiny", NVFP4, layers), "float32")
    assert len(model._blocks) == layers
    assert len(drawn(model)) == 5


@pytest.mark.parametrize("context", [1, 300])
def test_the_bytes_of_a_state_are_those_that_a_state_reports(context: int) -> None:
    model = synthetic_model(synthetic_checkpoint("tiny", NVFP4), "float32")
    state = model.new_state()
    *_, _ = prefill(model, state, [1] * context)
    assert state_bytes(model.config, context, 4) == (state.recurrent_nbytes, state.kv_nbytes)


def test_what_does_not_fit_is_refused_in_one_line_before_it_is_made() -> None:
    told: list[int] = []
    with pytest.raises(
        CapacityError, match=r"synthetic-27b-UD-NVFP4_K_XL needs 2\d\.\d\d GB of memory as bfloat16"
    ) as error:
        synthetic_model(
            synthetic_checkpoint("27b", NVFP4),
            "bfloat16",
            limit=20 << 30,
            progress=lambda done, total: told.append(done),
        )
    assert "21.47 GB are free here" in str(error.value)
    assert "--layers" in str(error.value)
    assert "\n" not in str(error.value)
    assert told == []


def test_a_stop_ends_the_making_between_tensors() -> None:
    told: list[int] = []
    with pytest.raises(LoadCancelled):
        synthetic_model(
            synthetic_checkpoint("tiny", NVFP4),
            "float32",
            progress=lambda done, total: told.append(done),
            stop=lambda: len(told) == 2,
        )
    assert len(told) == 2


def test_the_context_counts_for_what_fits() -> None:
    checkpoint = synthetic_checkpoint("27b", NVFP4)
    check_fits(checkpoint, "bfloat16", 0, 23_000_000_000)
    with pytest.raises(CapacityError):
        check_fits(checkpoint, "bfloat16", 200_000, 23_000_000_000)


def test_a_shape_that_does_not_exist() -> None:
    with pytest.raises(SettingsError, match="'70b' is not a shape: choose 27b, 9b, 4b, 35b-a3b, tiny"):
        synthetic_checkpoint("70b", None)


@pytest.mark.parametrize("variant", [*VARIANTS, None], ids=lambda variant: variant.name if variant else "bf16")
def test_the_mtp_layer_has_the_formats_of_a_full_layer_and_drafts(variant: Variant | None) -> None:
    model = synthetic_model(synthetic_checkpoint("tiny", variant, 4, mtp=True), "float32")
    mtp, text = model.checkpoint.mtp, model.checkpoint.specs
    assert mtp is not None
    block = {name.removeprefix("layers.0."): spec for name, spec in mtp.specs.items()}
    assert block == {name.removeprefix("layers.3."): text[name] for name in text if name.startswith("layers.3.")}
    layer, state = synthetic_mtp(model), model.new_state()
    assert layer is not None
    hidden, _ = model.hidden_and_logits(mx.array([[5, 6, 7]]), state)
    state.mtp.take(mx.array([[5, 6, 7]]), hidden)
    (logits,) = layer.draft_logits(mx.array([8]), 1, model.config.vocab_size, state.mtp)
    assert np.isfinite(np.array(logits)).all()
    assert 0.05 < np.array(logits).std() < 20


def test_the_mtp_layer_is_none_of_the_models_bytes_but_counts_for_what_fits() -> None:
    plain, with_layer = synthetic_checkpoint("27b", NVFP4), synthetic_checkpoint("27b", NVFP4, mtp=True)
    assert with_layer.text == plain.text
    assert make_layout(with_layer).token_bytes == make_layout(plain).token_bytes
    check_fits(plain, "bfloat16", 0, 22_000_000_000)
    with pytest.raises(CapacityError):
        check_fits(with_layer, "bfloat16", 0, 22_000_000_000)


def test_a_model_without_the_layer_makes_none() -> None:
    assert synthetic_mtp(synthetic_model(synthetic_checkpoint("tiny", NVFP4, 4), "float32")) is None
