"""A mixture of experts in the headers: what a token reads of it, both names of its stacks, and what does not fit."""

import re
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qwen_core.bench.synthetic import synthetic_checkpoint
from qwen_core.checkpoint.directory import Checkpoint, open_checkpoint
from qwen_core.checkpoint.layout import Layout, make_layout, total
from qwen_core.checkpoint.recipe import find_variant
from qwen_core.checkpoint.variants import identify, predict
from qwen_core.errors import CheckpointError
from support.checkpoints import Stored, read_header_json, write_checkpoint, write_safetensors
from support.published_plan import FULL_MIXTURE, SMALL_MIXTURE
from support.reference import MIXTURES, write_case


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> tuple[Checkpoint, Layout]:
    """The 35B-A3B in nvfp4, as holes."""
    path = tmp_path_factory.mktemp("full") / "nvfp4"
    write_checkpoint(path, "nvfp4", full=True, text=FULL_MIXTURE)
    checkpoint = open_checkpoint(path)
    return checkpoint, make_layout(checkpoint)


def test_the_published_shape(full: tuple[Checkpoint, Layout]) -> None:
    """35 billion weights of which a token uses 3, as its name says."""
    _, layout = full
    stacks = [module for module in layout.modules if module.experts]
    assert len(stacks) == 3 * 40
    assert {module.shape for module in stacks} == {(256, 512, 2048), (256, 2048, 512)}
    assert {module.role for module in stacks} == {f"switch_mlp.{name}_proj" for name in ("gate", "up", "down")}
    active = sum(Fraction(module.parameters * module.token_bytes, module.nbytes) for module in layout.modules)
    assert 34.5e9 < layout.text.parameters < 35.5e9
    assert 2.5e9 < active < 3.5e9
    assert identify(layout).name == "UD-NVFP4_K_XL"


def test_a_token_reads_its_experts_alone(full: tuple[Checkpoint, Layout]) -> None:
    checkpoint, layout = full
    for module in layout.modules:
        if module.experts:
            assert module.token_bytes * 256 == module.nbytes * 8
        elif module.canonical != "embed_tokens":
            assert module.token_bytes == module.nbytes
    cost = predict(checkpoint.config, find_variant("nvfp4"))
    assert (cost.nbytes, cost.token_bytes) == (layout.text.nbytes, layout.token_bytes)
    assert sum(entry.nbytes for entry in layout.unused) == layout.nbytes - layout.token_bytes


def test_a_pass_of_more_tokens_reads_more(full: tuple[Checkpoint, Layout]) -> None:
    _, layout = full
    passes = [layout.pass_bytes(tokens) for tokens in (1, 2, 4, 16, 64, 256, 1 << 20)]
    assert passes[0] == layout.token_bytes
    assert passes == sorted(set(passes))
    embedding = layout.index["embed_tokens"]
    assert passes[-1] == layout.text.nbytes - embedding.nbytes + embedding.token_bytes
    stacks = total(module for module in layout.modules if module.experts)
    # Two tokens meet 8 + 8 x 248 / 256 experts.
    assert passes[1] - passes[0] == pytest.approx(stacks.token_bytes * 248 / 256, abs=1)
    for rows in range(2, 8):  # expected is never more than what as many rows can read at most
        assert layout.pass_bytes(rows) <= layout.token_bytes + (rows - 1) * stacks.token_bytes
        assert layout.pass_bytes(rows - 1) < layout.pass_bytes(rows - 0.5) < layout.pass_bytes(rows)


def test_a_draft_reads_a_tokens_experts_of_the_mtp_layer() -> None:
    checkpoint = synthetic_checkpoint("35b-a3b", find_variant("nvfp4"), 4, mtp=True)
    assert checkpoint.mtp is not None
    sizes = {name: info.nbytes for name, info in checkpoint.mtp.tensors.items()}
    read = sum(size // 32 if ".switch_mlp." in name else size for name, size in sizes.items())
    assert checkpoint.mtp.draft_bytes(checkpoint.config) == read < checkpoint.mtp.nbytes / 4
    dense = synthetic_checkpoint("27b", find_variant("nvfp4"), 4, mtp=True)
    assert dense.mtp is not None
    assert dense.mtp.draft_bytes(dense.config) == dense.mtp.nbytes


@pytest.mark.parametrize("case", MIXTURES, ids=lambda case: case.name)
def test_both_names_of_the_stacks(case: Any, tmp_path: Path) -> None:
    write_case(case, tmp_path)
    checkpoint = open_checkpoint(tmp_path)
    layout = make_layout(checkpoint)
    experts, used = case.sizes["num_experts"], case.sizes["num_experts_per_tok"]
    stacks = [module for module in layout.modules if module.experts]
    assert {module.experts for module in stacks} == {experts}
    assert all(module.token_bytes * experts == module.nbytes * used for module in stacks)
    assert len(stacks) == case.config["num_hidden_layers"] * (2 if case.names == "raw" else 3)
    assert checkpoint.config.mixture is not None
    assert checkpoint.config.mixture.fused == (case.names == "raw")
    assert identify(layout).name == "f32"


def rewritten(path: Path, change: Any) -> None:
    """The checkpoint's one file with other tensors, as holes."""
    header = read_header_json(path / "model.safetensors")
    tensors = {name: Stored(e["dtype"], tuple(e["shape"])) for name, e in header.items() if name != "__metadata__"}
    write_safetensors(path / "model.safetensors", change(tensors))


STACK = "language_model.model.layers.1.mlp.switch_mlp.up_proj"


@pytest.mark.parametrize(
    ("name", "stored", "says"),
    [
        (f"{STACK}.weight", None, "tensor layers.1.mlp.switch_mlp.up_proj.weight is missing"),
        (f"{STACK}.weight", Stored("U32", (64, 8, 16)), "64x8x16 does not hold a 8x64x128 matrix"),
        (f"{STACK}.weight", Stored("U32", (512, 16)), "512x16 does not hold a 8x64x128 matrix"),
        (f"{STACK}.scales", Stored("U8", (8, 64, 5)), "scales of shape 8x64x5 do not fit"),
        (f"{STACK}.scales", Stored("U8", (512, 8)), "scales of shape 512x8 do not fit"),
        (
            "language_model.model.layers.0.mlp.gate.weight",
            Stored("BF16", (7, 128)),
            "7x128, but config.json gives 8x128",
        ),
        ("language_model.model.layers.0.mlp.experts.gate_up_proj", Stored("BF16", (8, 128, 128)), "is missing"),
        ("language_model.model.layers.0.mlp.experts.down_proj", Stored("BF16", (8, 128, 64)), "is not part of"),
        ("language_model.model.layers.0.mlp.experts.3.up_proj.weight", Stored("BF16", (64, 128)), "stored one by one"),
        ("language_model.model.layers.0.mlp.up_proj.weight", Stored("BF16", (8, 128)), "is not part of"),
    ],
)
def test_what_does_not_fit_is_named(name: str, stored: Stored | None, says: str, tmp_path: Path) -> None:
    write_checkpoint(tmp_path, "nvfp4", text=SMALL_MIXTURE, shard_cap=None)
    rewritten(
        tmp_path,
        lambda tensors: {k: v for k, v in (tensors | {name: stored}).items() if v is not None},
    )
    with pytest.raises(CheckpointError, match=re.escape(says)):
        open_checkpoint(tmp_path)


@settings(max_examples=20, deadline=None)
@given(experts=st.integers(1, 40), data=st.data())
def test_sums_for_any_number_of_experts(
    experts: int, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    used = data.draw(st.integers(1, experts))
    path = tmp_path_factory.mktemp("some")
    sizes = {**SMALL_MIXTURE, "num_experts": experts, "num_experts_per_tok": used, "num_hidden_layers": 1}
    write_checkpoint(path, "bf16", text={**sizes, "full_attention_interval": 2, "vocab_size": 32})
    layout = make_layout(open_checkpoint(path))
    assert sum(entry.nbytes for entry in layout.unused) == layout.nbytes - layout.token_bytes
    assert total(layout.modules) == layout.text
    assert layout.pass_bytes(2) >= layout.token_bytes
    assert (layout.pass_bytes(2) == layout.token_bytes) == (used == experts)
