"""The error of a stored tensor against plain NumPy on both tensors, in every layout in which an original is found."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qwen_core.checkpoint.directory import Checkpoint, open_checkpoint
from qwen_core.errors import CheckpointError
from qwen_core.tensors import stored_tensor as tensor_source
from qwen_core.tensors.error import TensorError, compare_with_reference
from qwen_core.tensors.stored_tensor import Cancelled, find_tensor, group_runs
from support.checkpoints import write_checkpoint
from support.stored_tensors import overwrite, stored_bytes, text_values

GATE, DOWN, OUT = "layers.0.mlp.gate_proj", "layers.0.mlp.down_proj", "layers.0.linear_attn.out_proj"
CONV = "layers.0.linear_attn.conv1d"
pytestmark = pytest.mark.filterwarnings("error")


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Checkpoint]:
    """A small checkpoint, written once for the same arguments. All hold the same random weights."""
    known: dict[str, Checkpoint] = {}

    def get(variant: str, **options: Any) -> Checkpoint:
        key = f"{variant}{options}"
        if key not in known:
            path = tmp_path_factory.mktemp(variant)
            write_checkpoint(path, variant, **options)
            known[key] = open_checkpoint(path)
        return known[key]

    return get


def check(found: TensorError, stored: np.ndarray, reference: np.ndarray, group: int) -> None:
    """Every number by its definition, from all elements at once."""
    with np.errstate(invalid="ignore"):  # signalling NaN, and the difference of infinities
        left, right = stored.astype(np.float64).reshape(-1), reference.astype(np.float64).reshape(-1)
        finite = np.isfinite(left) & np.isfinite(right)
        difference = np.where(finite, left - right, 0)
    assert (found.elements, found.examined, found.sampled, found.share) == (left.size, left.size, False, 1.0)
    assert found.non_finite_count == (~finite).sum()
    left, right = left[finite], right[finite]
    error = left - right
    assert found.max_abs_error == np.abs(error).max()
    assert found.rmse == pytest.approx(math.sqrt((error**2).mean()), rel=1e-9)
    assert found.relative_error == pytest.approx(np.linalg.norm(error) / np.linalg.norm(right), rel=1e-9)
    assert found.cosine == pytest.approx(left @ right / np.linalg.norm(left) / np.linalg.norm(right), rel=1e-9)
    if not error.any():
        assert found.snr_db == math.inf
        assert found.worst is None
        return
    assert found.snr_db == pytest.approx(10 * math.log10((right**2).sum() / (error**2).sum()), rel=1e-9)
    check_worst(found, difference, finite, group)


def check_worst(found: TensorError, difference: np.ndarray, finite: np.ndarray, group: int) -> None:
    assert found.worst is not None
    padding = -difference.size % group
    squares, kept = (np.pad(part, (0, padding)).reshape(-1, group) for part in (difference**2, finite))
    means = squares.sum(axis=1) / np.maximum(1, kept.sum(axis=1))
    columns = math.prod(found.shape[1:]) if len(found.shape) > 1 else difference.size
    first = found.worst.row * columns + found.worst.column
    assert first % group == 0
    assert found.worst.size == min(group, difference.size - first)
    assert means[first // group] == pytest.approx(means.max(), rel=1e-9)
    assert found.worst.rmse == pytest.approx(math.sqrt(means.max()), rel=1e-9)


@pytest.mark.parametrize("names", ["converted", "raw"])
@pytest.mark.parametrize("variant", ["nvfp4", "mxfp8", "q2"])
def test_every_module_against_its_original(variant: str, names: str, opened: Callable[..., Checkpoint]) -> None:
    """Norms of a raw original are shifted and its conv1d is laid out anew; quantised weights lose what they lose."""
    checkpoint, reference = opened(variant), opened("bf16", names=names)
    for name in checkpoint.text:
        if name.endswith((".scales", ".biases")):
            continue
        module = name.removesuffix(".weight")
        found = compare_with_reference(checkpoint, reference, module)
        stored, original = text_values(checkpoint, module), text_values(reference, module)
        is_norm = module.endswith("norm") and not module.endswith("linear_attn.norm")
        if names == "raw" and is_norm:
            original = np.float32(1) + original
        spec = checkpoint.specs.get(module)
        check(found, stored, original, spec.group_size if spec else 64)
        assert (found.module, found.shape, found.spec) == (module, stored.shape, spec)
        assert found.reference_name == reference.text[name].name
        assert found.snr_db is not None
        if spec is None and not (names == "raw" and is_norm):
            assert found.snr_db == math.inf
        else:
            # 1 + w, stored as bfloat16, rounds; a shift forgotten or made twice would leave less than 10 dB.
            assert 40 < found.snr_db < 80 if spec is None else 3 < found.snr_db < 60


@pytest.mark.parametrize(("runs", "pieces"), [(3 * 64, 1 << 16), (1 << 18, 3 * 64), (10 * 64, 3 * 64)])
@pytest.mark.parametrize("module", [GATE, DOWN, "norm"])
def test_many_runs_and_pieces(
    module: str, runs: int, pieces: int, opened: Callable[..., Checkpoint], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cut anywhere, each stored group is still compared with its own elements of the original."""
    monkeypatch.setattr(tensor_source, "RUN_ELEMENTS", runs)
    monkeypatch.setattr(tensor_source, "PIECE_ELEMENTS", pieces)
    checkpoint, reference = opened("nvfp4"), opened("bf16", names="raw")
    found = compare_with_reference(checkpoint, reference, module)
    original = text_values(reference, module) + np.float32(module == "norm")
    check(found, text_values(checkpoint, module), original, found.spec.group_size if found.spec else 64)


def test_both_sides_may_be_raw_and_the_reference_may_be_converted(opened: Callable[..., Checkpoint]) -> None:
    raw, converted = opened("bf16", names="raw"), opened("bf16")
    same = compare_with_reference(raw, raw, "norm")
    assert (same.snr_db, same.cosine, same.relative_error) == (math.inf, pytest.approx(1), 0)
    other_way = compare_with_reference(raw, converted, "norm")
    check(other_way, np.float32(1) + text_values(raw, "norm"), text_values(converted, "norm"), 64)
    assert compare_with_reference(raw, converted, CONV).snr_db == math.inf


@settings(max_examples=8)
@given(seed=st.integers(0, 2**32 - 1), module=st.sampled_from([GATE, DOWN, OUT]))
def test_any_bytes_against_any_bytes(seed: int, module: str, opened: Callable[..., Checkpoint]) -> None:
    """Random bits on both sides: NaN and infinite values are counted and left out, whichever side they are on."""
    checkpoint, reference = opened("nvfp4"), opened("bf16")
    random = np.random.default_rng(seed)
    ours = [checkpoint.text[f"{module}.{part}"] for part in ("weight", "scales", "biases")
            if f"{module}.{part}" in checkpoint.text]  # fmt: skip
    parts = [*ours, reference.text[f"{module}.weight"]]
    before = [stored_bytes(part) for part in parts]
    try:
        for part in parts:
            overwrite(part, random.integers(0, 256, part.nbytes, np.uint8).tobytes())
        found = compare_with_reference(checkpoint, reference, module)
        assert found.non_finite_count > 0
        spec = checkpoint.specs.get(module)
        check(found, text_values(checkpoint, module), text_values(reference, module), spec.group_size if spec else 64)
    finally:
        for part, data in zip(parts, before, strict=True):
            overwrite(part, data)


@pytest.mark.parametrize("zeros", ["stored", "reference", "both"])
def test_a_side_of_zeros_has_no_angle(zeros: str, tmp_path: Path) -> None:
    checkpoints = []
    for side in ("stored", "reference"):
        write_checkpoint(tmp_path / side, "bf16")
        checkpoints.append(open_checkpoint(tmp_path / side))
        if zeros in (side, "both"):
            info = checkpoints[-1].text[f"{OUT}.weight"]
            overwrite(info, bytes(info.nbytes))
    found = compare_with_reference(checkpoints[0], checkpoints[1], OUT)
    assert found.cosine is None
    expected = {"stored": (0.0, 1.0), "reference": (-math.inf, math.inf), "both": (math.inf, 0.0)}
    assert (found.snr_db, found.relative_error) == expected[zeros]


def test_nothing_comparable_gives_no_numbers(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, "bf16")
    checkpoint = open_checkpoint(tmp_path)
    info = checkpoint.text["norm.weight"]
    overwrite(info, b"\xff\x7f" * (info.nbytes // 2))
    found = compare_with_reference(checkpoint, checkpoint, "norm")
    assert found.non_finite_count == found.elements == found.examined
    numbers = (found.max_abs_error, found.rmse, found.relative_error, found.snr_db, found.cosine, found.worst)
    assert numbers == (None,) * 6


@pytest.mark.parametrize("module", [GATE, DOWN, OUT])
def test_a_sample_compares_the_same_elements_of_both(module: str, opened: Callable[..., Checkpoint]) -> None:
    checkpoint, reference = opened("nvfp4"), opened("bf16")
    tensor = find_tensor(checkpoint, module)
    both = tensor.nbytes + reference.text[f"{module}.weight"].nbytes
    found = compare_with_reference(checkpoint, reference, module, limit_bytes=both // 3)
    chosen = [group for run in group_runs(tensor, both // 3, both / tensor.groups) for group in run]
    pairs = [text_values(side, module).reshape(-1, tensor.group_size) for side in (checkpoint, reference)]
    error = (pairs[0] - pairs[1]).astype(np.float64)[chosen]
    assert found.sampled
    assert (found.examined, found.elements) == (error.size, tensor.elements)
    assert found.share < 0.34
    assert found.max_abs_error == np.abs(error).max()
    assert found.rmse == pytest.approx(math.sqrt((error**2).mean()), rel=1e-6, abs=1e-12)


def test_stop_is_asked_before_each_run(opened: Callable[..., Checkpoint], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tensor_source, "RUN_ELEMENTS", 1 << 10)
    asked = 0

    def stop() -> bool:
        nonlocal asked
        asked += 1
        return asked > 3

    with pytest.raises(Cancelled):
        compare_with_reference(opened("nvfp4"), opened("bf16"), GATE, stop=stop)
    assert asked == 4


def test_a_reference_that_is_none(opened: Callable[..., Checkpoint]) -> None:
    """Quantised itself, of another size, without the tensor: one line that names file and tensor."""
    checkpoint = opened("nvfp4")
    gate = rf"language_model\.model\.{GATE}\.weight".replace("layers.0.mlp.", r"layers\.0\.mlp\.")
    with pytest.raises(CheckpointError, match=rf"\.safetensors: reference tensor {gate} is itself quantised \(affine"):
        compare_with_reference(checkpoint, opened("q4"), GATE)
    with pytest.raises(CheckpointError, match=rf"tensor {gate} has shape 512x128, but .*{gate} has 256x128"):
        compare_with_reference(checkpoint, opened("bf16", text={"intermediate_size": 512}), GATE)
    tied = opened("bf16", tied=True)
    with pytest.raises(CheckpointError, match=r"reference .* lacks tensor lm_head\.weight"):
        compare_with_reference(checkpoint, tied, "lm_head")
    with pytest.raises(CheckpointError, match=r"has no tensor layers\.0\.mlp\.gate; similar: .*gate_proj"):
        compare_with_reference(checkpoint, opened("bf16"), "layers.0.mlp.gate")


def test_a_reference_cut_short_meanwhile(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "stored")
    write_checkpoint(tmp_path / "reference", "bf16")
    checkpoint, reference = open_checkpoint(tmp_path / "stored"), open_checkpoint(tmp_path / "reference")
    info = reference.text[f"{GATE}.weight"]
    with info.file.open("r+b") as file:
        file.truncate(info.offset)
    with pytest.raises(CheckpointError, match=rf"{info.file}: tensor .*gate_proj.weight .*became shorter"):
        compare_with_reference(checkpoint, reference, GATE)


def test_only_the_text_model_is_compared(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, full=True)
    checkpoint = open_checkpoint(tmp_path)
    with pytest.raises(CheckpointError, match=r"tensor vision_tower\.pos_embed\.weight is not part of the text model"):
        compare_with_reference(checkpoint, checkpoint, "vision_tower.pos_embed")
