"""The layout: the published 27B's figures, and sums that must come out for any sizes and any mix of quantisations."""

import json
import math
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qwen_core.checkpoint.directory import Checkpoint, open_checkpoint
from qwen_core.checkpoint.layout import PAGE, Layout, layer_of, make_layout, role_of, total
from qwen_core.checkpoint.variants import stored_bytes
from support.checkpoints import Stored, write_checkpoint, write_safetensors
from support.mixtures import MATRICES, ONE, write_mixture
from support.published_plan import Spec, text_config, text_plan

SPECS = (
    Spec("nvfp4", 4, 16),
    Spec("mxfp4", 4, 32),
    Spec("mxfp8", 8, 32),
    *(Spec("affine", bits, group) for bits in (2, 3, 4, 5, 6, 8) for group in (32, 64)),
)


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> tuple[Checkpoint, Layout]:
    path = tmp_path_factory.mktemp("full")
    write_checkpoint(path, full=True)
    checkpoint = open_checkpoint(path)
    return checkpoint, make_layout(checkpoint)


def test_the_full_27b_has_the_published_figures(full: tuple[Checkpoint, Layout]) -> None:
    checkpoint, layout = full
    assert (layout.tensors, layout.nbytes) == (1732, 21_949_061_600)
    assert (layout.quantised, layout.overrides) == (338, 210)
    assert layout.token_bytes == 19_994_594_368
    assert len(layout.shards) == 5
    assert not layout.tied
    assert layout.layer_kinds == ("linear", "linear", "linear", "full") * 16
    assert layout.text.nbytes == checkpoint.text_bytes


def test_the_full_27b_by_format_role_and_kind(full: tuple[Checkpoint, Layout]) -> None:
    """Counted by hand from FORMAT.md: 128 gate/up, 64 down, 48 x 2 + 16 x 3 projections, embedding and head."""
    _, layout = full
    assert {place: sums.modules for place, sums in layout.by_format().items()} == {
        ("nvfp4", 4, 16): 128,
        ("affine", 5, 64): 64,
        ("affine", 6, 64): 145,
        ("affine", 8, 64): 1,  # lm_head: snap(4 + 3)
        ("bf16", 16, None): 851 - 338,
    }
    names = {module.role for module in layout.modules}
    roles = {name: total(module for module in layout.modules if module.role == name) for name in names}
    ffn, hidden = 17408, 5120
    assert roles["gate_proj"].nbytes == roles["up_proj"].nbytes == 64 * ffn * hidden * 9 // 16
    assert roles["gate_proj"].bits_per_weight == 4.5
    assert roles["down_proj"].bits_per_weight == 5.5
    assert roles["out_proj"].bits_per_weight == 16
    assert roles["embed_tokens"].token_bytes == hidden * 13 // 16
    kinds = Counter(module.kind for module in layout.modules)
    assert kinds == {"outside": 3, "linear": 48 * 14, "full": 16 * 11}
    assert layout.share(layout.token_bytes) == 1


def test_the_full_27b_says_what_no_token_reads(full: tuple[Checkpoint, Layout]) -> None:
    checkpoint, layout = full
    unused = {entry.what: entry for entry in layout.unused}
    tower = [info for name, info in checkpoint.tensors.items() if name.startswith("vision_tower.")]
    assert unused["vision tower"].tensors == 333
    assert unused["vision tower"].nbytes == sum(info.nbytes for info in tower)
    assert sum(entry.nbytes for entry in layout.unused) == layout.nbytes - layout.token_bytes
    assert [entry.nbytes for entry in layout.unused] == sorted((e.nbytes for e in layout.unused), reverse=True)


def test_a_module_says_where_it_is_and_where_its_spec_is_from(full: tuple[Checkpoint, Layout]) -> None:
    checkpoint, layout = full
    up, down = layout.at(7, "up_proj"), layout.index["layers.7.mlp.down_proj"]
    assert up is not None
    assert (up.name, up.kind, up.source) == ("language_model.model.layers.7.mlp.up_proj", "full", "default")
    assert (up.mode, up.bits, up.group_size, up.shape) == ("nvfp4", 4, 16, (17408, 5120))
    assert (down.source, down.format) == ("override", "affine 5-bit g64")
    assert down.tensors == tuple(f"{down.name}.{part}" for part in ("weight", "scales", "biases"))
    weight = checkpoint.tensors[f"{down.name}.weight"]
    assert (down.shard, down.offset) == (weight.file.name, weight.offset)
    norm = layout.index["layers.0.linear_attn.norm"]
    assert (norm.role, norm.source, norm.mode, norm.bits, norm.group_size) == (
        "linear_attn.norm",
        "unquantised",
        "bf16",
        16,
        None,
    )
    assert layout.at(7, "in_proj_z") is None
    assert layout.index["lm_head"].layer is None


def test_roles_do_not_mix_unlike_tensors(full: tuple[Checkpoint, Layout]) -> None:
    """The final norm, the layers' norms and the gated one are three things."""
    _, layout = full
    shapes: dict[str, set[tuple[int, ...]]] = {}
    for module in layout.modules:
        shapes.setdefault(module.role, set()).add(module.shape)
    assert all(len(found) == 1 for found in shapes.values())
    assert len({(module.layer, module.role) for module in layout.modules}) == len(layout.modules)


@pytest.mark.parametrize(
    ("name", "role", "layer"),
    [
        ("layers.12.mlp.up_proj", "up_proj", 12),
        ("layers.0.linear_attn.norm", "linear_attn.norm", 0),
        ("norm", "norm", None),
        ("lm_head", "lm_head", None),
        ("layers.3.linear_attn.A_log", "A_log", 3),
    ],
)
def test_role_and_layer_of_a_name(name: str, role: str, layer: int | None) -> None:
    assert (role_of(name), layer_of(name)) == (role, layer)


def test_a_tied_head_reads_the_whole_embedding(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, tied=True)
    layout = make_layout(open_checkpoint(tmp_path))
    assert layout.tied
    assert layout.index["embed_tokens"].token_bytes == layout.index["embed_tokens"].nbytes
    assert "lm_head" not in layout.index
    assert layout.token_bytes == layout.text.nbytes == layout.nbytes
    assert layout.unused == ()


@pytest.mark.parametrize(
    ("options", "mode", "bits"),
    [
        ({"names": "raw"}, "bf16", 16),
        ({"names": "flat", "nested": False, "float_dtype": "F16"}, "f16", 16),
        ({"float_dtype": "F32", "shard_cap": None}, "f32", 32),
    ],
    ids=str,
)
def test_every_way_of_writing_has_the_same_shapes(
    options: dict[str, Any], mode: str, bits: int, tmp_path: Path
) -> None:
    """Raw files keep conv1d as [C, 1, K]; the layout gives the one shape of the architecture all the same."""
    write_checkpoint(tmp_path, "bf16", **options)
    layout = make_layout(open_checkpoint(tmp_path))
    plan = {planned.name.removesuffix(".weight"): planned.shape for planned in text_plan(text_config(True, {}))}
    assert {module.canonical: module.shape for module in layout.modules} == plan
    assert list(layout.by_format()) == [(mode, bits, None)]
    assert layout.text.nbytes == sum(math.prod(shape) for shape in plan.values()) * bits // 8
    assert layout.text.bits_per_weight == bits


def test_a_module_is_aligned_only_if_all_of_its_tensors_are(tmp_path: Path) -> None:
    """Scales may lie in another file than their weight, at another alignment."""
    tensors = write_mixture(tmp_path, lambda _: SPECS[-1], offset=0)
    (tmp_path / ONE).unlink()
    odd = {name: stored for name, stored in tensors.items() if name.endswith("up_proj.scales")}
    for file, chosen, offset in (("a", odd, 1), ("b", {n: t for n, t in tensors.items() if n not in odd}, 0)):
        write_safetensors(tmp_path / f"{file}.safetensors", chosen, offset)
    weight_map = {name: f"{'a' if name in odd else 'b'}.safetensors" for name in tensors}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    layout = make_layout(open_checkpoint(tmp_path))
    assert {module.role for module in layout.modules if not module.element_aligned} == {"up_proj"}
    assert all(module.offset % 4 == 0 for module in layout.modules)


SIZES = st.fixed_dictionaries(
    {
        "hidden_size": st.sampled_from([64, 128]),
        "intermediate_size": st.sampled_from([64, 192]),
        "num_hidden_layers": st.integers(1, 5),
        "full_attention_interval": st.integers(2, 3),
        "num_attention_heads": st.sampled_from([2, 4]),
        "vocab_size": st.integers(1, 300),
        "linear_num_value_heads": st.sampled_from([2, 4]),
    }
)


@given(
    text=SIZES,
    tied=st.booleans(),
    default=st.none() | st.sampled_from(SPECS),
    offset=st.none() | st.integers(0, 63),
    float_dtype=st.sampled_from(["BF16", "F32"]),
    data=st.data(),
)
@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_mix_is_told_back_and_adds_up(
    text: dict[str, Any],
    tied: bool,
    default: Spec | None,
    offset: int | None,
    float_dtype: str,
    data: st.DataObject,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    chosen: dict[str, Spec | None] = {}
    plan = list(text_plan(text_config(True, {**text, "tie_word_embeddings": tied})))
    for planned in plan:
        if planned.role in MATRICES:
            chosen[planned.name.removesuffix(".weight")] = data.draw(st.none() | st.sampled_from(SPECS))
    tower = Stored("U8", (data.draw(st.integers(0, 99)),))
    path = tmp_path_factory.mktemp("mix")
    tensors = write_mixture(
        path,
        chosen.__getitem__,
        default=default,
        tied=tied,
        text=text,
        float_dtype=float_dtype,
        offset=offset,
        extra={"vision_tower.x": tower},
    )
    checkpoint = open_checkpoint(path)
    layout = make_layout(checkpoint)

    assert set(layout.index) == {planned.name.removesuffix(".weight") for planned in plan}
    order = [-1 if m.canonical == "embed_tokens" else 99 if m.layer is None else m.layer for m in layout.modules]
    assert order == sorted(order)
    for module in layout.modules:
        spec = chosen.get(module.canonical)
        own = [checkpoint.tensors[name] for name in module.tensors]
        assert module.nbytes == sum(tensors[name].nbytes for name in module.tensors)
        assert module.nbytes == stored_bytes(module.shape, module.spec, module.bits)
        assert PAGE % module.alignment == 0
        assert module.offset % module.alignment == 0
        assert module.alignment == PAGE or module.offset % (module.alignment * 2) != 0
        sizes = {"U8": 1, "BF16": 2, "U32": 4, "F32": 4}
        assert module.element_aligned == all(info.offset % sizes[info.dtype] == 0 for info in own)
        if spec is None:
            assert (module.source, module.spec, module.mode) == ("unquantised", None, float_dtype.lower())
        else:
            assert (module.mode, module.bits, module.group_size) == (spec.mode, spec.bits, spec.group)
            assert module.source == ("default" if spec == default else "override")
            assert module.spec is not None
            assert module.bits_per_weight == module.spec.bits_per_weight
    everything = total(layout.modules)
    assert everything == layout.text
    for groups in (layout.by_format(), layout.by_part()):
        for field in ("modules", "parameters", "nbytes", "token_bytes"):
            assert sum(getattr(group, field) for group in groups.values()) == getattr(everything, field)
        shares = [group.token_bytes for group in groups.values()]
        assert shares == sorted(shares, reverse=True)
    assert layout.nbytes == sum(stored.nbytes for stored in tensors.values()) == everything.nbytes + tower.nbytes
    rows = 1 if tied else text["vocab_size"]
    embedding = layout.index["embed_tokens"]
    assert embedding.token_bytes * rows == embedding.nbytes
    assert everything.token_bytes == everything.nbytes - embedding.nbytes + embedding.token_bytes
    assert sum(entry.nbytes for entry in layout.unused) == layout.nbytes - layout.token_bytes
    assert layout.quantised == sum(spec is not None for spec in chosen.values())
    assert layout.tied == tied
