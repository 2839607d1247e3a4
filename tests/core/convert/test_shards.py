"""Aligned places and neighbours, on random shapes and on the published model; the same bytes after realigning."""

import hashlib
from itertools import groupby, pairwise
from operator import itemgetter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open

from qwen_core.checkpoint.directory import open_checkpoint
from qwen_core.checkpoint.headers import DTYPE_BITS
from qwen_core.checkpoint.quantization import QuantSpec
from qwen_core.convert.alignment import alignment_advice, alignment_of
from qwen_core.convert.plan import make_plan
from qwen_core.convert.realign import realign
from qwen_core.convert.rules import UniformRules
from qwen_core.convert.shards import FUSED, OutputTensor, arrange
from qwen_core.errors import CapacityError, CheckpointError
from support.checkpoints import write_checkpoint
from support.conversion import NINE, add_tensors, converted, places, tensor_bytes, variant_rules, write_raw

DTYPES = ("BF16", "U32", "U8", "F32")
NAMES = st.sampled_from(("weight", "scales", "biases", "A_log", "norm.weight", "up_proj.weight", "gate_proj.weight"))


@st.composite
def tensors(draw: st.DrawFn) -> list[OutputTensor]:
    names = draw(st.lists(st.tuples(st.integers(0, 9), NAMES), unique=True, min_size=1, max_size=40))
    shapes = st.lists(st.integers(0, 40), min_size=1, max_size=3).map(tuple)
    return [OutputTensor(f"layers.{i}.{name}", draw(st.sampled_from(DTYPES)), draw(shapes)) for i, name in names]


@given(tensors(), st.integers(1, 20_000))
def test_every_tensor_has_one_aligned_place(given_tensors: list[OutputTensor], cap: int) -> None:
    shards = arrange(given_tensors, cap)
    assert sorted(t.name for shard in shards for t in shard.tensors) == sorted(t.name for t in given_tensors)
    for shard in shards:
        assert len(shard.header) % 16384 == 0
        offsets = shard.offsets()
        seen_odd = False
        for tensor in shard.tensors:
            assert offsets[tensor.name] * 8 % DTYPE_BITS[tensor.dtype] == 0
            assert seen_odd or offsets[tensor.name] % 16 == 0
            assert not seen_odd or tensor.nbytes % 16 or not tensor.nbytes
            seen_odd = seen_odd or tensor.nbytes % 16 != 0


@pytest.mark.parametrize("variant", NINE)
def test_files_are_aligned_and_neighbours_touch(variant: str, tmp_path: Path) -> None:
    plan = converted(write_raw(tmp_path / "raw"), tmp_path / "out", variant)
    spans: dict[str, tuple[int, int]] = {}
    for file in sorted((tmp_path / "out").glob("*.safetensors")):
        with safe_open(file, framework="numpy") as opened:
            assert set(opened.keys()) == set(places(file))
            assert opened.metadata() == {"format": "mlx"}
        found = places(file)
        assert min(begin for begin, _ in found.values()) % 16384 == 0
        spans |= found
    sizes = {tensor.name: tensor.nbytes for tensor in plan.outputs}
    assert all(begin % 16 == 0 for name, (begin, _) in spans.items() if sizes[name] % 16 == 0)
    touched = 0
    for layer in range(plan.checkpoint.config.num_hidden_layers):
        for roles in FUSED:
            for part in ("weight", "scales", "biases"):
                names = [name for role in roles for name in spans if name.endswith(f".{layer}.{_path(role)}.{part}")]
                assert len(names) in (0, len(roles))
                for one, other in pairwise(names):
                    assert sum(spans[one]) == spans[other][0], (one, other)
                    touched += 1
    assert touched > 20


def _path(role: str) -> str:
    parent = {"gate_proj": "mlp", "up_proj": "mlp"}.get(role, "linear_attn" if role.startswith("in_") else "self_attn")
    return f"{parent}.{role}"


def test_neighbours_of_different_formats_stay_apart() -> None:
    weight = OutputTensor("m.gate_proj.weight", "U32", (8, 16))
    scales = OutputTensor("m.gate_proj.scales", "U8", (8, 8))
    other = OutputTensor("m.up_proj.weight", "BF16", (8, 128))
    (shard,) = arrange([weight, scales, other])
    assert [tensor.name for tensor in shard.tensors] == [weight.name, scales.name, other.name]
    twin = [OutputTensor("m.up_proj.weight", "U32", (24, 16)), OutputTensor("m.up_proj.scales", "U8", (24, 8))]
    (shard,) = arrange([weight, scales, *twin])
    assert [tensor.name for tensor in shard.tensors] == [weight.name, twin[0].name, scales.name, twin[1].name]


@pytest.mark.parametrize(
    ("formats", "order"),
    [
        ("aab", "qk qk v v"),
        ("abb", "q q kv kv"),
        ("aba", "q q k k v v"),
        ("aaa", "qkv qkv"),
        ("a-a", "q q v v"),
        ("aa-", "qk qk"),
    ],
)
def test_next_ones_of_one_format_lie_side_by_side_whatever_the_third_has(formats: str, order: str) -> None:
    tensors = [
        OutputTensor(f"m.{role}_proj.{part}", "U32" if part == "weight" else "U8", (8, 16 if kind == "a" else 32))
        for role, kind in zip("qkv", formats, strict=True)
        for part in ("weight", "scales")
        if kind != "-"
    ]
    (shard,) = arrange(tensors)
    parts = [tensor.name.split(".")[1:] for tensor in shard.tensors]
    found = ["".join(role[0] for role, _ in run) for _, run in groupby(parts, key=itemgetter(1))]
    assert " ".join(found) == order


@given(st.integers(1000, 200_000))
def test_units_are_never_parted(cap: int) -> None:
    parts = [OutputTensor(f"m.{role}.weight", "BF16", (32, 64)) for role in ("q_proj", "k_proj", "v_proj", "o_proj")]
    shards = arrange([*parts, OutputTensor("m.big.weight", "BF16", (512, 64))], cap)
    names = [[tensor.name for tensor in shard.tensors] for shard in shards]
    assert any(shard[:3] == ["m.q_proj.weight", "m.k_proj.weight", "m.v_proj.weight"] for shard in names)
    assert all(shard.data_bytes <= max(cap, 65_536) for shard in shards)


def test_the_published_model_has_no_tensor_of_odd_length(tmp_path: Path) -> None:
    """FORMAT.md: every tensor of the 27B is a multiple of 16 bytes long, so all of them end up aligned."""
    write_checkpoint(tmp_path / "full", "bf16", full=True)
    for name in NINE:
        plan = make_plan(open_checkpoint(tmp_path / "full"), variant_rules(name))
        for shard in arrange(plan.outputs):
            assert all(offset % 16 == 0 for offset in shard.offsets().values())
            assert len(shard.header) % 16384 == 0
            assert shard.data_bytes <= 5 << 30


@pytest.mark.parametrize("offset", [None, 1, 3])
@pytest.mark.parametrize("variant", ["nvfp4", "mxfp8", "q5", "bf16"])
def test_realigning_moves_tensors_and_changes_no_byte(variant: str, offset: int | None, tmp_path: Path) -> None:
    source = tmp_path / "wild"
    write_checkpoint(source, variant, offset=offset, shard_cap=300_000, files={"chat_template.jinja": "{{ x }}"})
    (source / "mtp").mkdir()
    (source / "mtp" / "weights.safetensors").write_bytes(b"sidecar")
    (source / ".cache").mkdir()
    (source / ".cache" / "x").write_text("x")
    before = {path: hashlib.sha256(path.read_bytes()).digest() for path in source.rglob("*") if path.is_file()}
    realign(open_checkpoint(source), tmp_path / "out")
    one, two = tensor_bytes(source), tensor_bytes(tmp_path / "out")
    assert {n: hashlib.sha256(d).digest() for n, d in one.items()} == {
        n: hashlib.sha256(d).digest() for n, d in two.items()
    }
    assert open_checkpoint(tmp_path / "out").specs == open_checkpoint(source).specs
    for name in ("config.json", "chat_template.jinja", "mtp/weights.safetensors"):
        assert (tmp_path / "out" / name).read_bytes() == (source / name).read_bytes()
    assert not (tmp_path / "out" / ".cache").exists()
    for file in (tmp_path / "out").glob("*.safetensors"):
        found = places(file)
        assert all(begin % 16 == 0 or length % 16 for begin, length in found.values())
    assert {path: hashlib.sha256(path.read_bytes()).digest() for path in before} == before


def test_realigning_a_single_file_without_an_index_with_a_tower_beside(tmp_path: Path) -> None:
    import mlx.core as mx

    write_checkpoint(tmp_path / "wild", "q4", tied=True)
    add_tensors(tmp_path / "wild", {"vision_tower.x.weight": mx.ones((3, 5), mx.bfloat16)})
    realign(open_checkpoint(tmp_path / "wild"), tmp_path / "out", shard_cap=100_000)
    assert tensor_bytes(tmp_path / "out") == tensor_bytes(tmp_path / "wild")


@pytest.mark.parametrize("name", ["model-00001-of-00001.safetensors", "Model-00001-of-00001.safetensors"])
def test_a_stray_weight_file_with_the_name_of_a_new_shard_is_an_error(name: str, tmp_path: Path) -> None:
    """It may be of another model, and the shard that was written and checked must not be overwritten."""
    source = tmp_path / "wild"
    write_checkpoint(source, "q4", shard_cap=None)
    (source / name).write_bytes(b"stray")
    with pytest.raises(CheckpointError, match=rf"{name} is not part of the model, .*: move it elsewhere"):
        realign(open_checkpoint(source), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["model-mtp.safetensors", "model.safetensors", "model-00001-of-00007.safetensors"])
def test_weight_files_beside_the_model_are_copied(name: str, tmp_path: Path) -> None:
    source = tmp_path / "wild"
    write_checkpoint(source, "q4", shard_cap=300_000)
    (source / name).write_bytes(b"stray")
    checkpoint = open_checkpoint(source)
    assert len(checkpoint.shards) > 1
    assert name not in {path.name for path in checkpoint.shards}
    shards = realign(checkpoint, tmp_path / "out")
    assert (tmp_path / "out" / name).read_bytes() == b"stray"
    assert set(open_checkpoint(tmp_path / "out").shards) == {tmp_path / "out" / shard.file for shard in shards}


def test_files_beside_the_model_need_room_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "wild"
    write_checkpoint(source, "q4")
    with (source / "model-mtp.safetensors").open("wb") as file:
        file.truncate(1 << 30)
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 1 << 30}))
    with pytest.raises(CapacityError, match=r"the result needs 1\.14 GB"):
        realign(open_checkpoint(source), tmp_path / "out")


def test_a_link_to_a_directory_beside_the_model_is_an_error(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "wild", "q4")
    (tmp_path / "other").mkdir()
    (tmp_path / "wild" / "mtp").symlink_to(tmp_path / "other", target_is_directory=True)
    with pytest.raises(CheckpointError, match="is a link to a directory"):
        realign(open_checkpoint(tmp_path / "wild"), tmp_path / "again")
    assert not (tmp_path / "again").exists()


def test_a_link_out_of_the_model_is_not_copied(tmp_path: Path) -> None:
    """The result is for everyone; what a link leads to may not be."""
    write_checkpoint(tmp_path / "wild", "q4")
    (tmp_path / "secret").write_text("of its owner alone")
    (tmp_path / "wild" / "chat_template.jinja").symlink_to(tmp_path / "secret")
    with pytest.raises(CheckpointError, match="outside of the model directory"):
        realign(open_checkpoint(tmp_path / "wild"), tmp_path / "again")
    assert not (tmp_path / "again").exists()


def test_what_was_read_back_differently_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    from qwen_core.errors import QwenError

    write_checkpoint(tmp_path / "wild", "q4")
    pwrite = os.pwrite

    def damaged(descriptor: int, data: memoryview, position: int) -> int:
        flipped = bytearray(data)
        flipped[-1] ^= 1 if position else 0
        return pwrite(descriptor, flipped, position)

    monkeypatch.setattr("os.pwrite", damaged)
    with pytest.raises(QwenError, match="reads back differently"):
        realign(open_checkpoint(tmp_path / "wild"), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_advice_is_given_where_it_would_help_and_only_there(tmp_path: Path) -> None:
    sizes = {"vocab_size": 4096, "hidden_size": 256, "intermediate_size": 1024}
    for offset, helps in ((1, True), (2, True), (0, False)):
        path = tmp_path / str(offset)
        write_checkpoint(path, "nvfp4", offset=offset, text=sizes)
        advice = alignment_advice(open_checkpoint(path))
        assert (advice is not None) == helps, (offset, advice)
        assert advice is None or "--realign" in advice
    checkpoint = open_checkpoint(tmp_path / "1")
    # By offset 1 everything of more than one byte an element is off; scales of nvfp4 are single bytes.
    off = sum(i.nbytes for i in checkpoint.text.values() if i.nbytes >= 65536 and i.dtype != "U8")
    assert alignment_of(checkpoint).unaligned_bytes == off > 0
    realign(checkpoint, tmp_path / "out")
    assert alignment_of(open_checkpoint(tmp_path / "out")).unaligned_bytes == 0
    converted(write_raw(tmp_path / "raw", text=sizes), tmp_path / "new")
    assert alignment_advice(open_checkpoint(tmp_path / "new")) is None


def test_uniform_rules_put_all_four_groups_side_by_side(tmp_path: Path) -> None:
    source = write_raw(tmp_path / "raw")
    plan = make_plan(open_checkpoint(source), UniformRules(QuantSpec("affine", 4, 32)))
    order = [tensor.name for shard in arrange(plan.outputs) for tensor in shard.tensors]
    a = order.index("language_model.model.layers.0.linear_attn.in_proj_a.weight")
    assert order[a + 1] == "language_model.model.layers.0.linear_attn.in_proj_b.weight"
