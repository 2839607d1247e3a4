"""Bytes to arrays: the values of every layout and type, the three tiers chosen per tensor, and every way to fail."""

import mmap
import os
import resource
from functools import partial
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from qwen_core.checkpoint.directory import open_checkpoint
from qwen_core.checkpoint.headers import TensorInfo
from qwen_core.checkpoint.mapped_file import MappedFile
from qwen_core.checkpoint.quantization import canonical_name
from qwen_core.checkpoint.tensor_bytes import TensorBytes
from qwen_core.checkpoint.tensor_scale import is_tensor_scale
from qwen_core.model import weights
from qwen_core.model.block import Block
from qwen_core.model.layers import FeedForward
from qwen_core.model.model import load_model
from qwen_core.model.weights import TensorPlan, Weights, copy_tensor, given_back, load_weights, map_tensor
from qwen_core.protocol.weight_tiers import WeightTiers
from support.checkpoints import DTYPE_BYTES, Stored, Written, write_checkpoint
from support.nvfp4_files import WAYS, Way, write_nvfp4
from support.published_plan import text_plan
from support.resident import linux_only, resident_bytes

DTYPES = {"float32": mx.float32, "bfloat16": mx.bfloat16, "float16": mx.float16}
STORED = {"U8": mx.uint8, "U32": mx.uint32, "BF16": mx.bfloat16, "F16": mx.float16, "F32": mx.float32}
LEAST_MAPPED = 65536
# Large enough that embedding, head and feed-forward matrices are worth mapping.
LARGE = {"hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": 2, "full_attention_interval": 2}


class Adopter:
    """Stands in for Metal: takes memory that begins on a page and is whole pages long, and refuses all else as it does.

    `windows` is what it took.
    """

    def __init__(self) -> None:
        self.windows: list[np.ndarray] = []

    def __call__(self, memory: np.ndarray) -> mx.array:
        if memory.ctypes.data % mmap.PAGESIZE or memory.nbytes % mmap.PAGESIZE:
            raise ValueError("cannot import this memory without a copy")
        self.windows.append(memory)
        return mx.array(memory)


@pytest.fixture(autouse=True)
def no_adoption(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything is copied unless a test says otherwise, on a Mac too."""
    monkeypatch.setattr(weights, "can_adopt", lambda: False)


@pytest.fixture
def adopter(no_adoption: None, monkeypatch: pytest.MonkeyPatch) -> Adopter:
    """Loading maps what it can, as on Metal."""
    adopter = Adopter()
    monkeypatch.setattr(weights, "can_adopt", lambda: True)
    monkeypatch.setattr(weights, "map_tensor", partial(map_tensor, adopt=adopter))
    return adopter


def decoded(stored: Stored) -> NDArray[np.float32]:
    """The float values of a stored tensor, by numpy alone."""
    data = stored.data or b""
    if stored.dtype == "BF16":
        values = (np.frombuffer(data, np.uint16).astype(np.uint32) << 16).view(np.float32)
    else:
        values = np.frombuffer(data, {"F16": np.float16, "F32": np.float32}[stored.dtype]).astype(np.float32)
    return values.reshape(stored.shape)


def expected_arrays(written: Written, dtype: str) -> dict[str, mx.array]:
    """What each tensor must be in memory, from what was written and FORMAT.md."""
    text = written.config.get("text_config", written.config)
    roles = {weight.name: weight.role for weight in text_plan(text)}
    arrays: dict[str, mx.array] = {}
    for disk_name, stored in written.tensors.items():
        name = canonical_name(disk_name)
        role = roles.get(name, "part")
        if stored.dtype in ("U8", "U32"):
            kind = {"U8": np.uint8, "U32": np.uint32}[stored.dtype]
            arrays[name] = mx.array(np.frombuffer(stored.data or b"", kind).reshape(stored.shape))
            continue
        values = decoded(stored)
        raw = next(t.shape for n, t in written.tensors.items() if n.endswith("conv1d.weight"))[-1] != 1
        if raw and role == "norm":
            values = np.float32(1) + values
        if raw and role == "conv":
            values = np.moveaxis(values, 1, 2)
        arrays[name] = mx.array(values).astype(mx.float32 if role in ("A_log", "dt_bias") else DTYPES[dtype])
    return arrays


def same(one: mx.array, other: mx.array) -> bool:
    """Bit for bit, in type and shape too."""
    return one.dtype == other.dtype and one.shape == other.shape and raw_bytes(one) == raw_bytes(other)


def raw_bytes(array: mx.array) -> bytes:
    return np.array(mx.contiguous(array).view(mx.uint8)).tobytes()


def assert_loaded(loaded: Weights, expected: dict[str, mx.array]) -> None:
    assert loaded.arrays.keys() == expected.keys()
    assert [name for name, array in loaded.arrays.items() if not same(array, expected[name])] == []


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("stored", ["BF16", "F16", "F32"])
@pytest.mark.parametrize(("names", "converted"), [("raw", False), ("converted", True), ("converted", False)])
def test_every_type_and_layout_gives_the_same_mathematics(
    names: str, converted: bool, stored: str, dtype: str, tmp_path: Path
) -> None:
    """The norm shift and the transposed convolution of the raw layout, exactly once, told by the layout and no name."""
    written = write_checkpoint(
        tmp_path, "bf16", names="raw" if names == "raw" else "converted", converted=converted, float_dtype=stored
    )
    assert_loaded(load_weights(open_checkpoint(tmp_path), dtype), expected_arrays(written, dtype))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("variant", ["nvfp4", "mxfp8", "q2", "q6"])
def test_packed_weights_stay_packed_and_scales_take_the_compute_type(variant: str, dtype: str, tmp_path: Path) -> None:
    written = write_checkpoint(tmp_path, variant)
    assert_loaded(load_weights(open_checkpoint(tmp_path), dtype), expected_arrays(written, dtype))


def is_shifted_norm(name: str) -> bool:
    return name.endswith("norm.weight") and not name.endswith("linear_attn.norm.weight")


@pytest.mark.parametrize("least", [LEAST_MAPPED, 0])
@pytest.mark.parametrize("offset", [0, 1, 2])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("variant", ["bf16", "q8"])
def test_the_tier_of_each_tensor_follows_from_its_place_and_type(
    variant: str, dtype: str, offset: int, least: int, adopter: Adopter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mapped: used as stored, at a multiple of its element size, worth it, and not in a page that the file ends in."""
    written = write_checkpoint(tmp_path, variant, names="raw", text=LARGE, offset=offset, shard_cap=2 << 20)
    checkpoint = open_checkpoint(tmp_path)
    expected = expected_arrays(written, dtype)
    if least != LEAST_MAPPED:  # so that norms come into question too, which no model has large enough
        monkeypatch.setattr(weights, "_LEAST_MAPPED", least)
    mapped = 0
    for name, info in checkpoint.text.items():
        whole_pages = info.file.stat().st_size // mmap.PAGESIZE * mmap.PAGESIZE
        as_stored = expected[name].dtype == STORED[info.dtype] and not is_shifted_norm(name)
        aligned = info.offset % DTYPE_BYTES[info.dtype] == 0
        if as_stored and aligned and info.nbytes >= least and info.offset + info.nbytes <= whole_pages:
            mapped += info.nbytes
    loaded = load_weights(checkpoint, dtype)
    total = sum(array.nbytes for array in expected.values())
    assert loaded.tiers == WeightTiers(mapped=mapped, copied=total - mapped)
    assert_loaded(loaded, expected)
    # The case must be able to fail: a bf16 model run in bf16 is mapped nearly whole, at an even offset.
    if (variant, dtype) == ("bf16", "bfloat16"):
        assert (mapped > total / 2) == (offset % 2 == 0)


@pytest.mark.parametrize("offset", [0, 4, 8, 1])
@pytest.mark.parametrize("way", WAYS)
def test_parts_of_other_tools_are_mapped_where_they_are_aligned(
    way: Way, offset: int, adopter: Adopter, tmp_path: Path
) -> None:
    """Their bytes are MLX's: nothing is converted, and nothing copied that lies at a multiple of four."""
    files = write_nvfp4(tmp_path, way, offset=offset, text=LARGE)
    checkpoint = open_checkpoint(tmp_path)
    file = tmp_path / "model.safetensors"
    whole_pages = file.stat().st_size // mmap.PAGESIZE * mmap.PAGESIZE
    data = file.read_bytes()
    loaded = load_weights(checkpoint, "bfloat16")
    mapped = 0
    for name, info in checkpoint.text.items():
        if name.endswith(".scales") or (name.endswith(".weight") and name.removesuffix(".weight") in files.values):
            stored = np.frombuffer(data[info.offset : info.offset + info.nbytes], np.uint8)
            assert np.array_equal(np.array(loaded.arrays[name].reshape(-1).view(mx.uint8)), stored)
            can_be = info.nbytes >= LEAST_MAPPED and info.offset + info.nbytes <= whole_pages
            mapped += info.nbytes if can_be and info.offset % 4 == 0 else 0
        elif is_tensor_scale(name):
            assert loaded.arrays[name].dtype == mx.float32, "whatever the compute type"
            assert np.array(loaded.arrays[name]).tobytes() == data[info.offset : info.offset + 4]
    assert loaded.tiers.mapped >= mapped
    assert (mapped > 0) == (loaded.tiers.mapped > 0) == (offset != 1)


PAGES = 3 * mmap.PAGESIZE + 600


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pages") / "file"
    path.write_bytes(np.random.RandomState(1).bytes(PAGES))
    return path


def plan_at(path: Path, dtype: str, offset: int, shape: tuple[int, ...], kept: mx.Dtype | None = None) -> TensorPlan:
    nbytes = int(np.prod(shape)) * DTYPE_BYTES[dtype]
    info = TensorInfo("t", dtype, shape, path, offset, nbytes)
    return TensorPlan("t", info, kept or STORED[dtype], shape, add_one=False)


@given(data=st.data())
def test_a_mapped_tensor_is_its_place_in_the_window_that_was_adopted(data: st.DataObject, pages: Path) -> None:
    """Any type, place and shape: the window begins on a page, and the tensor is exactly its bytes of the file."""
    dtype = data.draw(st.sampled_from(sorted(STORED)))
    size = DTYPE_BYTES[dtype]
    offset = data.draw(st.integers(0, (PAGES - size) // size)) * size
    columns = data.draw(st.integers(1, (PAGES - offset) // size))
    rows = data.draw(st.integers(1, (PAGES - offset) // size // columns))
    shape = data.draw(st.sampled_from([(rows, columns), (rows * columns,), (rows, columns, 1)]))
    plan = plan_at(pages, dtype, offset, shape)
    file, adopter = MappedFile(pages), Adopter()
    end = offset + plan.info.nbytes
    if end > PAGES // mmap.PAGESIZE * mmap.PAGESIZE:
        with pytest.raises(ValueError, match="without a copy"):
            map_tensor(file, plan, adopter)
        assert same(map_tensor(file, plan, mx.array), copy_tensor(TensorBytes(), plan)), (
            "its arithmetic holds there too"
        )
        return
    array = map_tensor(file, plan, adopter)
    assert (array.shape, array.dtype) == (shape, STORED[dtype])
    assert raw_bytes(array) == pages.read_bytes()[offset:end]
    (window,) = adopter.windows
    assert np.shares_memory(window, file.bytes_of(plan.info)), "the file's own memory, not a copy"
    assert window.nbytes < plan.info.nbytes + 2 * mmap.PAGESIZE
    del window, adopter
    file.close()


@linux_only
def test_pages_are_in_memory_before_they_are_adopted_and_not_for_being_copied(tmp_path: Path) -> None:
    """A cold page inside a Metal command trips its watchdog; pages that stay would double a copied model."""
    path = tmp_path / "file"
    shape = (64, 4096)
    nbytes = 2 * 64 * 4096
    path.write_bytes(b"\1" * (nbytes + mmap.PAGESIZE))
    file, plan = MappedFile(path), plan_at(path, "BF16", 6, shape)
    seen: list[int] = []

    def adopt(memory: np.ndarray) -> mx.array:
        seen.append(resident_bytes(path))
        return mx.array(memory)

    for piece in (nbytes, 1 << 16):
        copy_tensor(TensorBytes(), plan, piece)
        assert resident_bytes(path) == 0
    map_tensor(file, plan, adopt)
    assert seen[0] >= nbytes
    file.close()


@given(data=st.data())
def test_copying_in_pieces_of_any_size_is_copying(data: st.DataObject, pages: Path) -> None:
    """At any byte of the file: most shards of the family are aligned to nothing."""
    dtype = data.draw(st.sampled_from(["BF16", "F32", "U32", "U8"]))
    kept = data.draw(st.sampled_from([STORED[dtype], mx.float32] if dtype == "BF16" else [STORED[dtype]]))
    rows, columns = data.draw(st.integers(1, 40)), data.draw(st.integers(1, 40))
    offset = data.draw(st.integers(0, PAGES - rows * columns * DTYPE_BYTES[dtype]))
    plan = plan_at(pages, dtype, offset, (rows, columns), kept)
    with TensorBytes() as source:
        array = copy_tensor(source, plan, piece=data.draw(st.integers(1, 7000)))
    stored = Stored(dtype, (rows, columns), pages.read_bytes()[offset : offset + plan.info.nbytes])
    assert (array.shape, array.dtype) == ((rows, columns), kept)
    if kept == STORED[dtype]:
        assert raw_bytes(array) == stored.data
    else:
        assert raw_bytes(array) == decoded(stored).tobytes()


def test_copying_holds_little_beside_the_result(tmp_path: Path) -> None:
    rows, columns, piece = 256, 8192, 1 << 16
    path = tmp_path / "file"
    path.write_bytes(b"\0\x3f" * (rows * columns))
    mx.clear_cache()
    before = mx.get_active_memory()
    mx.reset_peak_memory()
    array = copy_tensor(TensorBytes(), plan_at(path, "BF16", 0, (rows, columns), mx.float32), piece)
    assert mx.get_active_memory() - before >= array.nbytes
    # A piece as stored, the same in float32, and an update of the result: pieces, not tensors.
    assert mx.get_peak_memory() - before <= array.nbytes + 8 * piece < 2 * array.nbytes
    assert mx.all(array == 0.5).item()


def test_a_file_that_cannot_be_mapped_is_streamed_and_the_others_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = write_checkpoint(tmp_path, "q4", shard_cap=200_000)
    expected = expected_arrays(written, "bfloat16")
    checkpoint = open_checkpoint(tmp_path)
    unmappable = checkpoint.shards[1]

    class Unmappable(MappedFile):
        def __init__(self, path: Path) -> None:
            if path == unmappable:
                raise OSError(19, os.strerror(19))
            super().__init__(path)

    monkeypatch.setattr(weights, "MappedFile", Unmappable)
    loaded = load_weights(checkpoint, "bfloat16")
    assert_loaded(loaded, expected)
    streamed = sum(expected[name].nbytes for name, info in checkpoint.text.items() if info.file == unmappable)
    assert streamed > 0
    assert loaded.tiers == WeightTiers(copied=sum(a.nbytes for a in expected.values()) - streamed, streamed=streamed)


def unmappable(path: Path) -> MappedFile:
    raise OSError(19, os.strerror(19))


@pytest.mark.parametrize("names", ["raw", "converted"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_streaming_everything_gives_what_copying_gives(
    names: str, dtype: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = write_checkpoint(tmp_path, "nvfp4", names="raw" if names == "raw" else "converted")
    monkeypatch.setattr(weights, "MappedFile", unmappable)
    loaded = load_weights(open_checkpoint(tmp_path), dtype)
    assert_loaded(loaded, expected_arrays(written, dtype))
    assert loaded.tiers == WeightTiers(streamed=loaded.tiers.total)


def is_joined(block: Block) -> bool:
    assert isinstance(block.feed_forward, FeedForward)
    return block.feed_forward.gate_up.combined is not None


def test_a_mapped_model_is_not_joined_and_computes_the_same(
    adopter: Adopter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Joining neighbours would copy what mapping saved."""
    write_checkpoint(tmp_path, "bf16", text=LARGE, offset=0)
    mapped = load_model(tmp_path, "bfloat16")
    assert mapped.tiers.mapped > mapped.tiers.total / 2
    assert {is_joined(block) for block in mapped._blocks} == {False}
    monkeypatch.setattr(weights, "can_adopt", lambda: False)
    copied = load_model(tmp_path, "bfloat16")
    assert copied.tiers.mapped == 0
    assert {is_joined(block) for block in copied._blocks} == {True}
    ids = mx.array([[3, 1, 4, 1, 5]])
    logits = [model(ids, model.new_state()) for model in (mapped, copied)]
    assert np.abs(np.array(logits[0].astype(mx.float32) - logits[1].astype(mx.float32))).max() < 1e-2


@pytest.mark.skipif(not mx.metal.is_available(), reason="only Metal adopts mapped memory")
def test_metal_adopts_the_files_own_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = write_checkpoint(tmp_path, "bf16", text=LARGE, offset=0)
    expected = expected_arrays(written, "bfloat16")
    checkpoint = open_checkpoint(tmp_path)
    monkeypatch.setattr(weights, "can_adopt", lambda: True)
    mx.clear_cache()
    before = mx.get_active_memory()
    loaded = load_weights(checkpoint, "bfloat16")
    assert loaded.tiers.mapped > loaded.tiers.total / 2
    assert mx.get_active_memory() - before < loaded.tiers.total, "mapped bytes are not copied"
    assert_loaded(loaded, expected)


@linux_only
def test_pieces_of_a_large_tensor_are_read_into_the_same_memory(tmp_path: Path) -> None:
    """Beside the result itself: memory that the system gives anew takes longer to get than the file to read."""
    rows, columns, dtype = 8192, 2048, mx.float32
    path = tmp_path / "file"
    path.write_bytes(bytes(2 * rows * columns))
    plan = plan_at(path, "BF16", 0, (rows, columns), dtype)
    with given_back():
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        array = copy_tensor(TensorBytes(), plan)
        pages = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
    assert pages * resource.getpagesize() < 1.5 * array.nbytes
