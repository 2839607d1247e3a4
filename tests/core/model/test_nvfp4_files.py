"""NVFP4 as NVIDIA's tools and MLX write it, one factor a tensor: values bit for bit, products, and bad factors."""

import shutil
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qwen_core.checkpoint.directory import Checkpoint, open_checkpoint
from qwen_core.checkpoint.quantization import QuantSpec
from qwen_core.checkpoint.tensor_bytes import TensorBytes
from qwen_core.convert.found_folds import load_modules
from qwen_core.errors import CheckpointError
from qwen_core.model import row_parallel, weights
from qwen_core.model.layers import QuantizedLinear, joined, packed_projection
from qwen_core.model.model import load_model
from qwen_core.model.numpy_products import LEAST_ROWS
from qwen_core.tensors.decoding import dequantise
from qwen_core.tensors.error import compare_with_reference
from qwen_core.tensors.stored_tensor import find_tensor, read_packed
from qwen_core.tensors.values import read_values
from support.checkpoints import disk_name
from support.nvfp4_files import PARTS, WAYS, Nvfp4Files, write_dequantised, write_nvfp4
from support.stored_tensors import overwrite

SPEC = QuantSpec("nvfp4", 4, 16)
UP = "layers.1.mlp.up_proj"
# Logits of some 4 differed by at most 3e-5: a product is summed before the factor, or after it.
TOLERANCE = 1e-3


@pytest.fixture(scope="module", params=WAYS)
def files(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Nvfp4Files:
    return write_nvfp4(tmp_path_factory.mktemp("nvfp4") / request.param, request.param, seed=3)


def assert_same_bits(found: np.ndarray, wanted: np.ndarray) -> None:
    np.testing.assert_array_equal(found.view(np.uint32), wanted.view(np.uint32))


def test_every_value_is_what_numpy_decodes(files: Nvfp4Files) -> None:
    """By the program's own decoding, and by MLX's of the arrays that the model computes with."""
    checkpoint = open_checkpoint(files.path)
    assert not checkpoint.warnings
    assert set(checkpoint.specs) == set(files.values)
    arrays = load_modules(checkpoint, files.values, "float32")
    for module, wanted in files.values.items():
        tensor = find_tensor(checkpoint, module)
        with TensorBytes() as source:
            run = read_packed(source, tensor, range(tensor.groups))
        assert_same_bits(run.values(SPEC).reshape(wanted.shape), wanted)
        with mx.stream(mx.cpu):
            assert_same_bits(np.array(packed_projection(dict(arrays), module, SPEC).dequantized(mx.float32)), wanted)


def test_what_is_said_of_a_tensor_is_of_its_values(files: Nvfp4Files) -> None:
    checkpoint, wanted = open_checkpoint(files.path), files.values[UP]
    found = read_values(checkpoint, UP)
    assert (found.minimum, found.maximum) == (wanted.min(), wanted.max())
    assert found.mean == pytest.approx(wanted.astype(np.float64).mean(), rel=1e-9)
    for row in found.first_rows:
        assert row.values == tuple(wanted[row.row, :8].tolist())
    assert len(found.names) == 3
    name = disk_name(UP, "converted" if files.way == "mlx" else "raw")
    for part in PARTS[files.way]:
        assert read_values(checkpoint, f"{name}.{part}") == found


def test_the_error_against_its_own_values_is_none(files: Nvfp4Files, tmp_path: Path) -> None:
    reference = open_checkpoint(write_dequantised(tmp_path, files))
    assert compare_with_reference(open_checkpoint(files.path), reference, UP).relative_error == 0


def test_logits_are_those_of_the_dequantised_model(files: Nvfp4Files, tmp_path: Path) -> None:
    """A prompt that is long enough to be multiplied unpacked on a CPU, one that is not, and single tokens."""
    model = load_model(files.path, "float32")
    peer = load_model(write_dequantised(tmp_path, files), "float32")
    ids = np.random.default_rng(1).integers(0, 512, 240).tolist()
    ours, theirs = model.new_state(), peer.new_state()
    for begin, end in ((0, 200), (200, 238), (238, 239), (239, 240)):
        part = mx.array([ids[begin:end]])
        found, wanted = np.array(model(part, ours)), np.array(peer(part, theirs))
        assert np.abs(found - wanted).max() <= TOLERANCE
        assert np.abs(wanted).max() > 1


def test_a_pass_of_several_tokens_is_as_many_passes(files: Nvfp4Files) -> None:
    """As drafts are verified. Equal but for sums in another order, of logits of some 4."""
    model = load_model(files.path, "float32")
    ids = [7, 3, 9, 1, 4]
    together, apart = model.new_state(), model.new_state()
    found = np.array(model(mx.array([ids]), together))
    wanted = np.concatenate([np.array(model(mx.array([[token]]), apart)) for token in ids], axis=1)
    np.testing.assert_allclose(found, wanted, atol=1e-4)


@pytest.mark.parametrize(("dtype", "most"), [("bfloat16", 4), ("float16", 1.5)])
def test_smaller_types_are_no_worse_with_the_factor(files: Nvfp4Files, dtype: str, most: float, tmp_path: Path) -> None:
    """One rounding more a product, but none of the weights. Against the dequantised model in the same type; MLX's
    quantised product sums in bfloat16 on a CPU, which is five times the error of one rounding."""
    ids = mx.array([[1, 5, 9, 2]])
    exact, model = load_model(files.path, "float32"), load_model(files.path, dtype)
    peer = load_model(write_dequantised(tmp_path, files), dtype)
    wanted = exact(ids, exact.new_state())
    ours, theirs = (
        float(np.array(mx.square(one(ids, one.new_state()) - wanted).mean())) ** 0.5 for one in (model, peer)
    )
    assert ours < most * theirs, (ours, theirs)


def test_what_cannot_be_mapped_is_streamed(files: Nvfp4Files, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> None:
        raise OSError(19, "no such device")

    module = next(iter(files.values))
    monkeypatch.setattr(weights, "MappedFile", refuse)
    checkpoint = open_checkpoint(files.path)
    arrays = load_modules(checkpoint, [module], "float32")
    with mx.stream(mx.cpu):
        assert_same_bits(
            np.array(packed_projection(dict(arrays), module, SPEC).dequantized(mx.float32)), files.values[module]
        )


def projection(rows: int, columns: int, seed: int, factor: float | None) -> QuantizedLinear:
    weight = mx.random.normal((rows, columns), key=mx.random.key(seed))
    packed, scales, *_ = mx.quantize(weight, mode="nvfp4")
    return QuantizedLinear(packed, scales, None, SPEC, None if factor is None else mx.full(rows, factor))


@pytest.mark.skipif(shutil.which("g++") is None, reason="without g++ MLX joins no elementwise operations on a CPU")
def test_layers_that_are_replayed_have_the_same_kernels(
    files: Nvfp4Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MLX writes one number that is recorded into the source of a kernel, which a GPU would build for each layer."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))  # where MLX builds them on a CPU
    built = []
    for layer in (0, 1):
        module = f"layers.{layer}.mlp.down_proj"
        linear = packed_projection(load_modules(open_checkpoint(files.path), [module], "float32"), module, SPEC)
        with mx.stream(mx.cpu):
            mx.eval(mx.compile(linear)(mx.ones((1, 1, files.values[module].shape[1]), mx.bfloat16)))
        built.append({path.name for path in tmp_path.rglob("*.so")})
    assert built[0] == built[1]


@settings(max_examples=15)
@given(
    rows=st.lists(st.integers(1, 40), min_size=2, max_size=4),
    tokens=st.sampled_from([1, 2, 5, 200]),
    cores=st.integers(1, 4),
    seed=st.integers(0, 1000),
)
def test_joined_shared_out_and_row_by_row_it_is_the_same(rows: list[int], tokens: int, cores: int, seed: int) -> None:
    """Bit for bit on a CPU, which is where rows are shared out; a part without a factor among the others."""
    parts = [projection(n, 64, seed + i, None if i == 1 else 0.013 / (i + 3)) for i, n in enumerate(rows)]
    whole = joined(parts)
    assert isinstance(whole, QuantizedLinear)
    x = mx.random.normal((1, tokens, 64), key=mx.random.key(seed))
    with pytest.MonkeyPatch.context() as patch, mx.stream(mx.cpu):
        patch.setattr(row_parallel, "is_gpu", lambda: False)
        patch.setattr(row_parallel, "processors", lambda: cores)
        apart = mx.concatenate([part(x) for part in parts], axis=-1)
        patch.setattr(row_parallel, "LEAST_WORK", 1)
        assert mx.allclose(whole(x), apart, rtol=1e-5, atol=1e-5).item()
        if tokens < LEAST_ROWS:
            assert mx.array_equal(whole(x), apart).item()
            single = mx.concatenate([whole(x[:, i : i + 1]) for i in range(tokens)], axis=1)
            assert mx.array_equal(whole(x), single).item()
        taken = mx.array([[0, sum(rows) - 1]])
        assert mx.array_equal(whole.part(taken).dequantized(mx.float32), whole.dequantized(mx.float32)[taken]).item()


def test_float16_holds_what_it_can_hold_behind_the_factor() -> None:
    """Before the factor these outputs are above 65,504."""
    large = projection(8, 64, 1, 1e-4)
    large.scales = mx.full(large.scales.shape, 0x7E, mx.uint8)  # 448
    x = mx.full((1, 1, 64), 100.0)
    wanted = large(x)
    assert np.abs(np.array(wanted)).max() > 65504 * 1e-4
    found = large(x.astype(mx.float16))
    assert found.dtype == mx.float16
    assert mx.allclose(found.astype(mx.float32), wanted, rtol=2**-10, atol=1e-3).item()


@given(seed=st.integers(0, 2**32 - 1), largest=st.floats(2**-10, 2**10, width=32))
def test_the_factor_of_mlx_is_what_mlx_makes_of_it(seed: int, largest: float) -> None:
    """Ours rounds once, MLX scale x factor and then that x element: at most 2 roundings of 2^-24 apart from it."""
    random = np.random.default_rng(seed)
    words, scales = random.integers(0, 2**32, (3, 8), np.uint32), random.integers(0, 0x7F, (3, 4), np.uint8)
    theirs = mx.dequantize(
        mx.array(words), mx.array(scales), mode="nvfp4", global_scale=mx.array(largest), dtype=mx.float32, stream=mx.cpu
    )
    ours = dequantise(words, scales, None, SPEC, np.float32(np.float32(largest) / np.float32(2688)))
    np.testing.assert_allclose(ours, np.array(theirs), rtol=2**-22, atol=0)


@pytest.mark.parametrize("number", [0.0, -0.0, -1.0, np.nan, np.inf, -np.inf, 1e-45, 3e38])
def test_a_factor_that_is_none_is_one_line_when_the_model_is_loaded(
    files: Nvfp4Files, number: float, tmp_path: Path
) -> None:
    """The largest and the smallest float32 are factors, or not, by whether what they stand for is a float32 above 0."""
    checkpoint = _with_factor(files, number, tmp_path)
    with np.errstate(all="ignore"):
        factor = {"modelopt": lambda n: n, "compressed": lambda n: 1 / n, "mlx": lambda n: n / np.float32(2688)}[
            files.way
        ](np.float32(number))
    found = read_values(checkpoint, UP)
    assert found.factor == pytest.approx(float(factor), nan_ok=True)
    if np.isfinite(factor) and factor > 0:
        load_modules(checkpoint, [UP], "float32")
        return
    with pytest.raises(CheckpointError, match=rf"{PARTS[files.way][2]} .*no positive finite factor") as caught:
        load_model(checkpoint, "float32")
    assert str(caught.value).isprintable()


def _with_factor(files: Nvfp4Files, number: float, path: Path) -> Checkpoint:
    again = write_nvfp4(path, files.way, seed=3)
    checkpoint = open_checkpoint(again.path)
    info = checkpoint.text[f"{UP}.{PARTS[files.way][2]}"]
    overwrite(info, np.float32(number).tobytes())
    return checkpoint
