"""Finding a tensor by its names and reading it in runs: sampling, stopping, and files that change meanwhile."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qwen_core.checkpoint.directory import Checkpoint, TensorInfo, open_checkpoint
from qwen_core.checkpoint.tensor_bytes import TensorBytes
from qwen_core.errors import MAX_MESSAGE, CheckpointError
from qwen_core.tensors import stored_tensor as tensor_source
from qwen_core.tensors.stored_tensor import Cancelled, StoredTensor, find_tensor, group_runs
from qwen_core.tensors.values import read_values
from support.checkpoints import Stored, write_checkpoint, write_safetensors
from support.stored_tensors import text_values

GATE, DOWN = "layers.0.mlp.gate_proj", "layers.0.mlp.down_proj"


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


def test_one_tensor_by_any_of_its_names(variants: Callable[[str], Checkpoint]) -> None:
    checkpoint = variants("nvfp4")
    for module, parts in ((GATE, ["weight", "scales"]), (DOWN, ["weight", "scales", "biases"])):
        expected = read_values(checkpoint, module)
        names = [f"{prefix}{module}{part}" for prefix in ("", "model.", "language_model.model.")
                 for part in ("", *(f".{p}" for p in parts))]  # fmt: skip
        assert all(read_values(checkpoint, name) == expected for name in names)
    norm = read_values(checkpoint, "norm")
    assert norm == read_values(checkpoint, "language_model.model.norm.weight")
    assert read_values(checkpoint, "layers.0.linear_attn.A_log").names[0].endswith("linear_attn.A_log")


@pytest.mark.parametrize(
    ("name", "suggested"),
    [
        ("gate_proj", GATE),
        ("linear_attn", "layers.0.linear_attn.A_log"),
        ("layers.0.mlp.gate_porj", GATE),
        ("gate_prj", GATE),
        ("model.layers.0.mlp.gate", GATE),
    ],
)
def test_an_unknown_name_is_answered_with_similar_ones(
    name: str, suggested: str, variants: Callable[[str], Checkpoint]
) -> None:
    with pytest.raises(CheckpointError, match="has no tensor") as caught:
        read_values(variants("nvfp4"), name)
    assert suggested in str(caught.value)


def test_a_very_long_name_is_compared_with_nothing(variants: Callable[[str], Checkpoint]) -> None:
    with pytest.raises(CheckpointError, match=r"has no tensor xxx\S+$"):
        read_values(variants("nvfp4"), "x" * 500 + ".gate_porj")


@given(name=st.text(max_size=40) | st.sampled_from(["\x1b[2J" * 3000, "q" * 10_000, "layers." * 2000, "."]))
@settings(max_examples=30)
def test_any_name_is_one_printable_line(variants: Callable[[str], Checkpoint], name: str) -> None:
    with pytest.raises(CheckpointError) as caught:
        read_values(variants("q4"), f"?{name}")
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) <= MAX_MESSAGE


def sampled_groups(tensor: StoredTensor, limit: int) -> list[int]:
    return [group for run in group_runs(tensor, limit) for group in run]


@given(limit=st.integers(0, 40_000), module=st.sampled_from([GATE, DOWN, "norm"]))
def test_a_sample_is_spread_evenly_over_whole_groups(
    variants: Callable[[str], Checkpoint], limit: int, module: str
) -> None:
    tensor = find_tensor(variants("nvfp4"), module)
    groups = sampled_groups(tensor, limit)
    assert groups == sorted(set(groups))
    assert 0 <= groups[0] <= groups[-1] < tensor.groups
    if tensor.nbytes <= limit:
        assert groups == list(range(tensor.groups))
        return
    cost = tensor.nbytes / tensor.groups
    assert len(groups) * cost <= max(limit, cost)
    runs = group_runs(tensor, limit)
    assert len({len(run) for run in runs}) == 1
    if len(runs) > 1:
        assert (groups[0], groups[-1]) == (0, tensor.groups - 1)
        distances = np.diff([run.start for run in runs])
        assert distances.max() - distances.min() <= 1


@pytest.mark.parametrize(("variant", "module"), [("nvfp4", GATE), ("nvfp4", DOWN), ("mxfp8", GATE), ("bf16", GATE)])
def test_a_sampled_tensor_says_so_and_counts_only_its_sample(
    variant: str, module: str, variants: Callable[[str], Checkpoint], monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = variants(variant)
    tensor = find_tensor(checkpoint, module)
    read: list[int] = []
    real = TensorBytes.read

    def counted(self: TensorBytes, info: TensorInfo, begin: int, end: int) -> np.ndarray:
        read.append(end - begin)
        return real(self, info, begin, end)

    monkeypatch.setattr(TensorBytes, "read", counted)
    limit = tensor.nbytes // 3
    found = read_values(checkpoint, module, limit_bytes=limit)
    first_rows = 4 * (tensor.nbytes // tensor.groups + 1)
    assert sum(read) <= limit + first_rows
    chosen = sampled_groups(tensor, limit)
    values = text_values(checkpoint, module).reshape(-1, tensor.group_size)[chosen]
    assert found.sampled
    assert (found.examined, found.elements) == (values.size, tensor.elements)
    assert found.share == values.size / tensor.elements
    assert (found.minimum, found.maximum) == (values.min(), values.max())
    assert found.mean == pytest.approx(values.astype(float).mean(), rel=1e-9)
    if found.groups and found.codes:
        assert found.groups.examined == len(chosen)
        assert sum(found.codes.counts) == values.size


@pytest.mark.parametrize(("runs", "pieces"), [(3 * 64, 1 << 16), (1 << 18, 3 * 64), (10 * 64, 3 * 64)])
@pytest.mark.parametrize("module", [GATE, DOWN, "layers.0.linear_attn.out_proj", "vision_tower.wide"])
def test_many_runs_and_pieces_give_what_one_gives(
    module: str, runs: int, pieces: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = write_checkpoint(tmp_path, shard_cap=None)
    wide = np.random.default_rng(0).normal(size=1001).astype(np.float32)
    extra = {"vision_tower.wide": Stored("F32", (1001,), wide.tobytes())}
    write_safetensors(tmp_path / "model.safetensors", dict(sorted((written.tensors | extra).items())))
    checkpoint = open_checkpoint(tmp_path)
    whole = read_values(checkpoint, module)
    monkeypatch.setattr(tensor_source, "RUN_ELEMENTS", runs)
    monkeypatch.setattr(tensor_source, "PIECE_ELEMENTS", pieces)
    parts = read_values(checkpoint, module)
    same = {"mean": None, "standard_deviation": None}
    assert replace(parts, **same) == replace(whole, **same)
    assert (parts.mean, parts.standard_deviation) == pytest.approx((whole.mean, whole.standard_deviation), rel=1e-9)


@pytest.mark.parametrize("module", [GATE, DOWN, "layers.0.linear_attn.out_proj"])
def test_stop_is_asked_before_each_run(
    module: str, variants: Callable[[str], Checkpoint], monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = variants("nvfp4")
    monkeypatch.setattr(tensor_source, "RUN_ELEMENTS", 1 << 10)
    asked = 0

    def stop(after: int) -> bool:
        nonlocal asked
        asked += 1
        return asked > after

    read_values(checkpoint, module, stop=lambda: stop(10**9))
    assert asked == len(group_runs(find_tensor(checkpoint, module), 1 << 30)) > 5
    asked = 0
    with pytest.raises(Cancelled):
        read_values(checkpoint, module, stop=lambda: stop(3))
    assert asked == 4


@pytest.mark.parametrize("module", [GATE, DOWN, "norm"])
def test_a_file_cut_short_or_gone_meanwhile(module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when it happens between two runs."""
    write_checkpoint(tmp_path)
    checkpoint = open_checkpoint(tmp_path)
    info = checkpoint.text[f"{module}.weight"]
    monkeypatch.setattr(tensor_source, "RUN_ELEMENTS", 64)

    def truncate() -> bool:
        with info.file.open("r+b") as file:
            file.truncate(info.offset)
        return False

    name = info.name.replace(".", r"\.")
    with pytest.raises(CheckpointError, match=rf"{info.file.name}: tensor {name} .*became shorter"):
        read_values(checkpoint, module, stop=truncate)
    with pytest.raises(CheckpointError, match=rf"{info.file.name}: tensor {name} .*became shorter"):
        read_values(checkpoint, module)
    info.file.unlink()
    with pytest.raises(CheckpointError, match=rf"{info.file.name}: tensor {name} cannot be read"):
        read_values(checkpoint, module)
