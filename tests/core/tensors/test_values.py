"""The values of a tensor against plain NumPy on what MLX dequantises; bad input, sampling and stopping."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qwen_core.checkpoint.directory import Checkpoint, TensorInfo, open_checkpoint
from qwen_core.checkpoint.quantization import QuantSpec
from qwen_core.errors import CheckpointError
from qwen_core.tensors.counting import SATURATED_SHARE
from qwen_core.tensors.decoding import E2M1_VALUES, unpack_codes
from qwen_core.tensors.histogram import MAX_BINS
from qwen_core.tensors.values import TensorValues, read_values
from support.checkpoints import Stored, write_checkpoint, write_safetensors
from support.published_plan import VARIANTS
from support.stored_tensors import as_array, overwrite, stored_bytes, text_values

GATE, DOWN = "layers.0.mlp.gate_proj", "layers.0.mlp.down_proj"
# A warning would be printed over the screen of the app.
pytestmark = pytest.mark.filterwarnings("error")


@pytest.fixture(scope="module")
def variants(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Checkpoint]:
    """An opened small checkpoint of each variant, written once."""
    opened: dict[str, Checkpoint] = {}

    def get(variant: str) -> Checkpoint:
        if variant not in opened:
            path = tmp_path_factory.mktemp(variant)
            write_checkpoint(path, variant)
            opened[variant] = open_checkpoint(path)
        return opened[variant]

    return get


def codes_of(checkpoint: Checkpoint, module: str) -> np.ndarray:
    """The codes of a quantised module, [groups, group size]."""
    spec = checkpoint.specs[module]
    words = np.array(as_array(checkpoint.text[f"{module}.weight"]))
    return unpack_codes(words, spec.bits).reshape(-1, spec.group_size)


def check_statistics(found: TensorValues, values: np.ndarray) -> None:
    """Every number of `found` that is of elements, against the elements themselves."""
    wide = values.astype(np.float64).reshape(-1)
    finite = wide[np.isfinite(wide)]
    assert (found.elements, found.examined, found.sampled, found.share) == (wide.size, wide.size, False, 1.0)
    assert found.nan_count == np.isnan(wide).sum()
    assert found.infinite_count == np.isinf(wide).sum()
    assert found.zero_count == (wide == 0).sum()
    if finite.size == 0:
        assert found.minimum is found.maximum is found.mean is found.standard_deviation is None
        return
    assert (found.minimum, found.maximum) == (finite.min(), finite.max())
    size = np.abs(finite).max()
    assert found.mean == pytest.approx(finite.mean(), rel=1e-9, abs=1e-9 * size)
    assert found.standard_deviation == pytest.approx(finite.std(), rel=1e-9, abs=1e-9 * size)


def check_groups(found: TensorValues, checkpoint: Checkpoint, module: str) -> None:
    """Codes, scales and groups by their definitions, one group at a time."""
    spec, text = checkpoint.specs[module], checkpoint.text
    codes = codes_of(checkpoint, module)
    scales = np.array(as_array(text[f"{module}.scales"]).astype(scale_type(spec)))
    assert found.codes and found.scales and found.groups
    assert sum(found.codes.counts) == codes.size
    assert (found.groups.size, found.groups.examined) == (spec.group_size, len(codes))
    dead, at_largest = group_health(codes, scales.reshape(-1), spec)
    assert found.groups.dead == dead.sum()
    assert found.groups.saturated == (~dead & (at_largest > SATURATED_SHARE)).sum()


def scale_type(spec: QuantSpec) -> mx.Dtype:
    """What a test reads scales as: decoded for affine, else their bytes."""
    return mx.float32 if spec.mode == "affine" else mx.uint8


def group_health(codes: np.ndarray, scales: np.ndarray, spec: QuantSpec) -> tuple[np.ndarray, np.ndarray]:
    """(dead, share of elements at the largest magnitude) of each group; `scales` are bytes for the modes with bytes."""
    if spec.mode == "affine":
        one_value = (codes == codes[:, :1]).all(axis=1) | (scales == 0)
        return one_value & np.isfinite(scales), np.isin(codes, (0, 2**spec.bits - 1)).mean(axis=1)
    magnitudes = codes % (1 << (spec.bits - 1))
    if spec.mode == "nvfp4":
        no_scale, bad_scale = np.isin(scales, (0, 0x80)), np.isin(scales, (0x7F, 0xFF))
    else:
        no_scale, bad_scale = np.zeros(scales.shape, bool), scales == 0xFF
    largest = 7 if spec.bits == 4 else 0x7E
    return ~bad_scale & (no_scale | ~magnitudes.any(axis=1)), (magnitudes == largest).mean(axis=1)


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_module_of_every_variant(variant: str, variants: Callable[[str], Checkpoint]) -> None:
    checkpoint = variants(variant)
    modules = {name.removesuffix(".weight") for name in checkpoint.text if not name.endswith((".scales", ".biases"))}
    for module in modules:
        found = read_values(checkpoint, module)
        values = text_values(checkpoint, module)
        check_statistics(found, values)
        assert (found.module, found.shape, found.spec) == (module, values.shape, checkpoint.specs.get(module))
        parts = [checkpoint.tensors[name] for name in found.names]
        assert found.stored_bytes == sum(part.nbytes for part in parts)
        assert found.dtype == parts[0].dtype
        assert (found.values is None) == (found.spec is not None)
        if found.values is not None:
            assert found.codes is found.scales is found.groups is None
            expected = np.histogram(values.astype(np.float64), np.array(found.values.edges))[0]
            assert list(found.values.counts) == expected.tolist()
        else:
            check_groups(found, checkpoint, module)
            check_first_rows(found, values, parts[0])


def check_first_rows(found: TensorValues, values: np.ndarray, weight: TensorInfo) -> None:
    """Values are the tensor's own, and the words, read as one number, begin with their codes."""
    assert found.spec
    words = np.array(as_array(weight))
    assert [sample.row for sample in found.first_rows] == [0, 1, 2, 3]
    for sample in found.first_rows:
        assert sample.values == tuple(values[sample.row, :8].tolist())
        assert [int(word, 16) for word in sample.words] == words[sample.row, : len(sample.words)].tolist()
        assert 8 * found.spec.bits <= 32 * len(sample.words) < 8 * found.spec.bits + 32
        assert all(len(word) == 8 for word in sample.words)
        assert (sample.bias is None) == (found.spec.mode != "affine")
        stream = sum(int(word, 16) << (32 * index) for index, word in enumerate(sample.words))
        codes = [stream >> (found.spec.bits * i) & (2**found.spec.bits - 1) for i in range(8)]
        if found.spec.bits == 4 and found.spec.mode != "affine":
            assert sample.scale is not None
            assert sample.values == tuple(float(E2M1_VALUES[code]) * sample.scale for code in codes)
        if sample.bias is not None and sample.scale is not None:
            recomputed = [code * sample.scale + sample.bias for code in codes]
            assert sample.values == pytest.approx(recomputed, rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("variant", ["nvfp4", "mxfp4", "mxfp8", "q2", "q3", "q5", "q8"])
@settings(max_examples=12)
@given(seed=st.integers(0, 2**32 - 1), kinds=st.sampled_from(["random", "sparse", "ends"]))
def test_any_bytes_at_all(variant: str, variants: Callable[[str], Checkpoint], seed: int, kinds: str) -> None:
    """Random bits in every part: NaN, infinite, zero and negative scales, dead and saturated groups."""
    checkpoint = variants(variant)
    module = GATE
    random = np.random.default_rng(seed)
    parts = [checkpoint.text[f"{module}.{part}"] for part in ("weight", "scales")]
    parts += [info] if (info := checkpoint.text.get(f"{module}.biases")) else []
    before = [stored_bytes(part) for part in parts]
    try:
        for part in parts:
            data = random.integers(0, 256, part.nbytes, np.uint8)
            runs = random.integers(0, 4, -(-part.nbytes // 32)).repeat(32)[: part.nbytes]
            if kinds == "sparse":
                data[runs < 2] = 0
            elif kinds == "ends":
                data[runs == 0] = 0xFF
                data[runs == 1] = 0x7E
                data[runs == 2] = 0x77
                data[runs == 3] = 0xFE
            overwrite(part, data.tobytes())
        found = read_values(checkpoint, module)
        check_statistics(found, text_values(checkpoint, module))
        check_groups(found, checkpoint, module)
        check_scales(found, np.array(as_array(parts[1]).astype(scale_type(checkpoint.specs[module]))))
    finally:
        for part, data in zip(parts, before, strict=True):
            overwrite(part, data)


def check_scales(found: TensorValues, stored: np.ndarray) -> None:
    """The scales' own counts, and their histogram, from what is stored."""
    assert found.scales and found.spec
    if found.spec.mode == "affine":
        is_nan = np.isnan(stored)
        scales = np.where(is_nan, np.float32(np.nan), stored).astype(np.float64)  # cast no signalling NaN
        assert found.scales.format == "BF16"
    elif found.spec.mode == "nvfp4":
        scales = np.array(mx.from_fp8(mx.array(stored), dtype=mx.float32)).astype(np.float64)
        is_nan = np.isnan(scales)
        assert found.scales.format == "E4M3"
    else:
        is_nan = stored == 0xFF
        scales = np.where(is_nan, np.nan, 2.0 ** (stored.astype(np.float64) - 127))
        assert found.scales.format == "E8M0"
    finite = scales[np.isfinite(scales)]
    assert found.scales.nan_count == is_nan.sum()
    assert found.scales.infinite_count == np.isinf(scales).sum()
    assert found.scales.zero_count == (scales == 0).sum()
    assert found.scales.negative_count == (scales < 0).sum()
    assert (found.scales.minimum, found.scales.maximum) == (finite.min(), finite.max())
    magnitudes = np.abs(finite[finite != 0])
    binned = np.floor(np.log2(magnitudes)) if found.scales.format == "E8M0" else magnitudes
    histogram = found.scales.histogram
    assert len(histogram.counts) <= MAX_BINS
    assert sum(histogram.counts) == magnitudes.size
    assert list(histogram.counts) == np.histogram(binned, np.array(histogram.edges))[0].tolist()


def test_codes_are_named_by_what_they_stand_for(variants: Callable[[str], Checkpoint]) -> None:
    nvfp4 = read_values(variants("nvfp4"), GATE).codes
    codes = codes_of(variants("nvfp4"), GATE)
    assert nvfp4 and " ".join(nvfp4.names) == "-6 -4 -3 -2 -1.5 -1 -0.5 -0 0 0.5 1 1.5 2 3 4 6"
    for name, count in zip(nvfp4.names, nvfp4.counts, strict=True):
        value = np.float32(name)
        same = (value == E2M1_VALUES) & (np.signbit(E2M1_VALUES) == np.signbit(value))
        assert count == (codes == same.argmax()).sum()

    mxfp8 = read_values(variants("mxfp8"), GATE).codes
    magnitudes = codes_of(variants("mxfp8"), GATE) & 0x7F
    assert mxfp8 and (mxfp8.names[0], mxfp8.names[1], mxfp8.names[-1]) == ("0", "<2^-6", "NaN")
    assert mxfp8.counts[0] == (magnitudes == 0).sum()
    assert mxfp8.counts[1] == ((magnitudes > 0) & (magnitudes < 8)).sum()
    assert mxfp8.counts[-1] == (magnitudes == 127).sum()
    for name, count in list(zip(mxfp8.names, mxfp8.counts, strict=True))[2:-1]:
        exponent = int(name.removeprefix("2^"))
        assert count == ((magnitudes >> 3 == exponent + 7) & (magnitudes != 127)).sum()

    affine = read_values(variants("nvfp4"), DOWN).codes
    levels = codes_of(variants("nvfp4"), DOWN)
    assert affine and affine.names == tuple(map(str, range(32)))
    assert affine.counts == tuple(int((levels == level).sum()) for level in range(32))


@pytest.mark.parametrize("dtype", ["F16", "F32"])
def test_other_float_types(dtype: str, tmp_path: Path) -> None:
    write_checkpoint(tmp_path, "bf16", float_dtype=dtype)
    checkpoint = open_checkpoint(tmp_path)
    found = read_values(checkpoint, GATE)
    values = text_values(checkpoint, GATE)
    check_statistics(found, values)
    assert found.values is not None
    assert list(found.values.counts) == np.histogram(values.astype(float), np.array(found.values.edges))[0].tolist()
    info = checkpoint.text[f"{GATE}.weight"]
    kind = np.dtype(f"<u{info.nbytes // values.size}")
    raw = np.frombuffer(stored_bytes(info), kind).reshape(values.shape)
    for sample in found.first_rows:
        assert sample.values == tuple(values[sample.row, :8].tolist())
        assert [int(word, 16) for word in sample.words] == raw[sample.row, :8].tolist()
        assert {len(word) for word in sample.words} == {2 * kind.itemsize}


@pytest.mark.parametrize(("dtype", "kind"), [("BF16", "<u2"), ("F16", "<u2"), ("F32", "<u4")])
def test_every_pattern_of_a_float(dtype: str, kind: str, tmp_path: Path) -> None:
    """All 16-bit patterns, of float32 as its upper half: every NaN, signalling ones too, each infinity and zero."""
    patterns = np.arange(1 << 16, dtype=np.uint32) << (16 if dtype == "F32" else 0)
    data = patterns.astype(np.dtype(kind)).tobytes()
    checkpoint = write_with(tmp_path, {"vision_tower.all": Stored(dtype, (256, 256), data)})
    found = read_values(checkpoint, "vision_tower.all")
    mantissa = 10 if dtype == "F16" else 7
    assert (found.nan_count, found.infinite_count, found.zero_count) == (2 * (2**mantissa - 1), 2, 2)
    assert found.maximum == -(found.minimum or 0) == (65504.0 if dtype == "F16" else float.fromhex("0x1.fep127"))
    assert found.values and sum(found.values.counts) == (1 << 16) - 2 * 2**mantissa


def write_with(path: Path, extra: dict[str, Stored]) -> Checkpoint:
    """A small checkpoint in one file, with further tensors that are not part of the text model."""
    written = write_checkpoint(path, shard_cap=None)
    write_safetensors(path / "model.safetensors", dict(sorted((written.tensors | extra).items())))
    return open_checkpoint(path)


def test_tensors_outside_the_text_model(tmp_path: Path) -> None:
    """Floats of any shape are shown, empty and non-finite ones too; other types are refused by name."""
    values = np.array([np.nan, np.inf, -np.inf, 0, -0.0, 2.5], np.float32)
    checkpoint = write_with(
        tmp_path,
        {
            "model.visual.deep.weight": Stored("F32", (2,), np.ones(2, np.float32).tobytes()),
            "vision_tower.a.weight": Stored("F32", (2, 3), values.tobytes()),
            "vision_tower.constant": Stored("BF16", (70,), b"\x80\x3f" * 70),
            "vision_tower.empty": Stored("F16", (0, 4), b""),
            "vision_tower.flat": Stored("F32", (4, 0), b""),
            "vision_tower.nothing": Stored("F32", (2,), np.full(2, np.nan, np.float32).tobytes()),
            "vision_tower.scalar": Stored("F32", (), np.float32(3).tobytes()),
            "vision_tower.packed": Stored("U32", (1,), bytes(4)),
        },
    )
    found = read_values(checkpoint, "vision_tower.a")
    check_statistics(found, values)
    assert found.first_rows[1].words == tuple(f"{int(word):08x}" for word in values.view(np.uint32)[3:])
    assert read_values(checkpoint, "visual.deep").names == ("model.visual.deep.weight",)
    constant = read_values(checkpoint, "vision_tower.constant")
    assert constant.values and (constant.values.edges, constant.values.counts) == ((1.0, 1.0), (70,))
    assert constant.standard_deviation == 0
    for name in ("empty", "flat", "nothing"):
        found = read_values(checkpoint, f"vision_tower.{name}")
        check_statistics(found, np.full(found.elements, np.nan))
        assert found.values and found.values.counts == ()
        assert len(found.first_rows) == (1 if name == "nothing" else 0)
    scalar = read_values(checkpoint, "vision_tower.scalar")
    assert (scalar.shape, scalar.mean, scalar.first_rows[0].values) == ((), 3.0, (3.0,))
    with pytest.raises(CheckpointError, match=r"model\.safetensors: tensor vision_tower\.packed has dtype U32"):
        read_values(checkpoint, "vision_tower.packed")


_PROBE = """
import json, sys
from qwen_core.checkpoint.directory import open_checkpoint
from qwen_core.tensors.error import compare_with_reference
from qwen_core.tensors.values import read_values
checkpoint = open_checkpoint(sys.argv[1])
found = [read_values(checkpoint, name) for name in sys.argv[2:]]
compare_with_reference(checkpoint, checkpoint, "norm")
heavy = [name for name in ("mlx", "textual", "rich", "click") if name in sys.modules]
peak = None
try:
    with open("/proc/self/status") as status:
        peak = int(status.read().split("VmHWM:")[1].split()[0])
except OSError:
    pass
print(json.dumps([heavy, peak, [one.examined / one.elements for one in found], [one.sampled for one in found]]))
"""


def test_the_27b_is_read_without_mlx_in_little_memory(tmp_path: Path) -> None:
    """In a process of its own: a whole 50 MB tensor and a sample of the 1 GB embedding, neither held in memory."""
    write_checkpoint(tmp_path, full=True)
    command = [sys.executable, "-c", _PROBE, str(tmp_path), GATE, "embed_tokens", "vision_tower.blocks.0.attn.qkv"]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    heavy, peak, shares, sampled = json.loads(output)
    assert heavy == []
    assert sampled == [False, True, False]
    assert 0.05 < shares[1] < 0.07
    if peak is not None:
        assert peak < 150_000
