"""The plan against make_checkpoint.py, the tool that describes the published files: tensors and config, full shape."""

import importlib.util
import json
import sys
from argparse import Namespace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from qwen_core.checkpoint.directory import Checkpoint, open_checkpoint
from qwen_core.checkpoint.layout import make_layout
from qwen_core.checkpoint.quantization import QuantSpec
from qwen_core.checkpoint.recipe import VARIANTS, find_variant
from qwen_core.checkpoint.variants import identify
from qwen_core.convert.plan import make_plan
from qwen_core.convert.rules import Rules, built_in_rules
from qwen_core.convert.shards import arrange
from qwen_core.convert.writer import OutputDirectory
from qwen_core.errors import CheckpointError, SettingsError
from support.checkpoints import Stored, edit_config, write_checkpoint, write_safetensors
from support.conversion import NINE, variant_rules, write_raw


@pytest.fixture(scope="module")
def tool(fixtures_dir: Path) -> ModuleType:
    """make_checkpoint.py as a module."""
    path = fixtures_dir.parent / "tools" / "make_checkpoint.py"
    spec = importlib.util.spec_from_file_location("make_checkpoint", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["make_checkpoint"] = module
    spec.loader.exec_module(module)
    return module


def raw_name(name: str) -> str:
    """The Hugging Face name of a published tensor."""
    if name.startswith("vision_tower."):
        return f"model.visual.{name.removeprefix('vision_tower.')}"
    name = name.replace("language_model.model.", "model.language_model.", 1)
    return name.removeprefix("language_model.") if name.startswith("language_model.lm_head") else name


def raw_shape(name: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Its shape there: convolutions with the kernel last, the patch embedding with channels second."""
    if name.endswith("conv1d.weight"):
        return shape[0], shape[2], shape[1]
    return (shape[0], shape[4], *shape[1:4]) if name.endswith("patch_embed.proj.weight") else shape


@pytest.fixture(scope="module", params=[False, True], ids=["no-mtp", "mtp"])
def full_raw(
    request: pytest.FixtureRequest, tool: ModuleType, fixtures_dir: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Checkpoint, bool]:
    """The 27B as Hugging Face has it, of holes: names and layout turned back from what the tool says of bf16."""
    path = tmp_path_factory.mktemp("raw")
    config = json.loads((fixtures_dir / "qwen3.6" / "config.json").read_text())
    (path / "config.json").write_text(json.dumps(config))
    tensors, _ = tool.entries(config["text_config"], "bf16", True, request.param)
    stored = {raw_name(name): Stored(dtype, raw_shape(name, shape)) for name, (dtype, shape) in tensors.items()}
    write_safetensors(path / "model.safetensors", stored)
    return open_checkpoint(path), request.param


@pytest.mark.parametrize("variant", NINE)
def test_the_full_model_is_planned_as_the_tool_made_it(
    variant: str, tool: ModuleType, full_raw: tuple[Checkpoint, bool]
) -> None:
    checkpoint, mtp = full_raw
    plan = make_plan(checkpoint, variant_rules(variant), keep_mtp=mtp)
    text = dict(checkpoint.raw_config["text_config"])
    expected, specs = tool.entries(text, variant, True, mtp)
    found = {tensor.name: (tensor.dtype, tensor.shape) for tensor in plan.outputs}
    assert found == {name: (dtype, tuple(shape)) for name, (dtype, shape) in expected.items()}
    assert len(found) == len(plan.outputs)
    assert plan.config() == tool.config_for(Namespace(variant=variant), text, specs)


def test_the_written_headers_are_the_planned_ones_and_tell_the_variant(
    full_raw: tuple[Checkpoint, bool], tmp_path: Path
) -> None:
    """The files themselves, of holes: opened again, every module agrees with its recipe."""
    checkpoint, mtp = full_raw
    for name in ("nvfp4", "mxfp8", "q5"):
        plan = make_plan(checkpoint, variant_rules(name), keep_mtp=mtp)
        shards = arrange(plan.outputs)
        with OutputDirectory(tmp_path / name) as output:
            for shard in shards:
                with output.shard(shard):
                    pass
            output.write_index(shards)
            output.write_json("config.json", plan.config())
            output.commit()
        reopened = open_checkpoint(tmp_path / name)
        variant = find_variant(name)
        assert variant is not None
        assert identify(make_layout(reopened)).name == variant.name
        assert {n: (i.dtype, i.shape) for n, i in reopened.tensors.items()} == {
            tensor.name: (tensor.dtype, tensor.shape) for tensor in plan.outputs
        }
        assert sum((tmp_path / name / shard.file).stat().st_size for shard in shards) < plan.nbytes + 5_000_000


def test_the_published_count_of_tensors_and_bytes(full_raw: tuple[Checkpoint, bool]) -> None:
    """FORMAT.md: 1,732 tensors, 21,949,061,600 bytes, 5 shards, 338 quantised modules, 210 overrides."""
    checkpoint, mtp = full_raw
    plan = make_plan(checkpoint, variant_rules("nvfp4"))
    assert (len(plan.outputs), plan.nbytes, len(plan.specs)) == (1732, 21_949_061_600, 338)
    assert len(arrange(plan.outputs)) == 5
    assert sum(isinstance(value, dict) for value in plan.config()["quantization"].values()) == 210
    assert any("MTP" in warning for warning in plan.warnings) == mtp


def test_a_vision_tower_can_be_dropped(full_raw: tuple[Checkpoint, bool]) -> None:
    checkpoint, _ = full_raw
    plan = make_plan(checkpoint, variant_rules("q4"), keep_vision=False)
    assert not [tensor for tensor in plan.outputs if "vision" in tensor.name]
    assert [decision.part for decision in plan.decisions if decision.part != "text"] == []


@pytest.mark.parametrize("name", ["UD-NVFP4_K_XL", "nvfp4", "NVFP4", "ud-q4_k_xl", "q4", "Q8", "mxfp8"])
def test_variants_have_shorthands(name: str) -> None:
    variant = find_variant(name)
    assert variant in VARIANTS
    assert variant is not None
    assert name.upper().removeprefix("UD-").removesuffix("_K_XL") in variant.name


@pytest.mark.parametrize("name", ["q7", "", "UD-", "nvfp5", "_K_XL"])
def test_other_names_are_no_variant(name: str) -> None:
    assert find_variant(name) is None


@pytest.mark.parametrize(
    ("recipe", "mode", "bits", "group"),
    [("unsloth", "nvfp4", 5, None), ("unsloth", "affine", 7, None), ("uniform", "mxfp4", 4, 64),
     ("best", "affine", 4, 64), ("unsloth", "affine", 4, 32), ("uniform", "affine", 4, 16)],
)  # fmt: skip
def test_rules_that_cannot_run_are_refused(recipe: str, mode: Any, bits: int, group: int | None) -> None:
    with pytest.raises(SettingsError):
        built_in_rules(recipe, mode, bits, group)


def test_uniform_rules_take_every_matrix(tmp_path: Path) -> None:
    plan = make_plan(open_checkpoint(write_raw(tmp_path / "raw")), built_in_rules("uniform", "mxfp4"))
    matrices = [decision for decision in plan.decisions if len(decision.shape) == 2]
    assert {decision.spec for decision in matrices} == {QuantSpec("mxfp4", 4, 32)}
    assert plan.config()["quantization"] == {"group_size": 32, "bits": 4, "mode": "mxfp4"}


def test_without_quantisation_there_is_no_block(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "raw", "bf16", names="raw", config={"quantization": None})
    plan = make_plan(open_checkpoint(tmp_path / "raw"), Rules())
    assert not {"quantization", "quantization_config"} & set(plan.config())


def test_a_quantised_source_is_refused(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "q", "q4")
    with pytest.raises(CheckpointError, match=r"quantised already .*--realign"):
        make_plan(open_checkpoint(tmp_path / "q"), Rules())


@pytest.mark.parametrize("module", ["mtp.fc", "model.visual.blocks.0.attn.qkv"])
@pytest.mark.parametrize("keep", [True, False])
def test_a_source_with_a_quantised_module_beside_the_text_model_is_refused(
    module: str, keep: bool, tmp_path: Path
) -> None:
    written = write_checkpoint(tmp_path / "raw", "bf16", names="raw", shard_cap=None)
    packed = {
        f"{module}.weight": Stored("U32", (8, 16)),
        f"{module}.scales": Stored("U8", (8, 8)),
        "model.visual.counter": Stored("U32", (3,)),
    }
    write_safetensors(tmp_path / "raw" / "model.safetensors", written.tensors | packed)
    with pytest.raises(CheckpointError, match=r"quantised already \(1 module\): .*--realign"):
        make_plan(open_checkpoint(tmp_path / "raw"), Rules(), keep_mtp=keep, keep_vision=keep)
    del packed[f"{module}.weight"], packed[f"{module}.scales"]
    write_safetensors(tmp_path / "raw" / "model.safetensors", written.tensors | packed)
    make_plan(open_checkpoint(tmp_path / "raw"), Rules())


def test_a_width_that_no_group_divides_is_named(tmp_path: Path) -> None:
    write_raw(tmp_path / "raw", text={"intermediate_size": 272})
    checkpoint = open_checkpoint(tmp_path / "raw")
    with pytest.raises(CheckpointError, match=r"down_proj.weight has 272 columns, which groups of 64"):
        make_plan(checkpoint, variant_rules("q4"))
    with pytest.raises(CheckpointError, match="mtp"):
        make_plan(checkpoint, Rules(), keep_mtp=True)


def test_a_source_without_tokenizer_is_warned_about(tmp_path: Path) -> None:
    write_raw(tmp_path / "raw")
    warnings = make_plan(open_checkpoint(tmp_path / "raw"), Rules()).warnings
    assert [word for word in ("tokenizer.json", "chat template") if any(word in line for line in warnings)] == [
        "tokenizer.json",
        "chat template",
    ]
    edit_config(tmp_path / "raw", quantization={"group_size": 64, "bits": 4})
    assert "quantization" not in make_plan(open_checkpoint(tmp_path / "raw"), Rules()).config()


@pytest.mark.parametrize(
    ("one", "other", "result"),
    [
        ("vision_tower.a.weight", "visual.a.weight", "vision_tower.a.weight"),
        ("model.visual.a.weight", "model.vision_tower.a.weight", "vision_tower.a.weight"),
        ("model.mtp.fc.weight", "mtp.fc.weight", "mtp.fc.weight"),
    ],
)
def test_two_tensors_that_would_have_one_name_are_both_named(one: str, other: str, result: str, tmp_path: Path) -> None:
    written = write_checkpoint(tmp_path / "raw", "bf16", names="raw", shard_cap=None)
    twins = {one: Stored("BF16", (2,), bytes(4)), other: Stored("BF16", (3,), bytes(6))}
    write_safetensors(tmp_path / "raw" / "model.safetensors", written.tensors | twins)
    checkpoint = open_checkpoint(tmp_path / "raw")
    with pytest.raises(CheckpointError) as caught:
        make_plan(checkpoint, Rules(), keep_mtp="mtp" in one)
    assert all(name in str(caught.value) for name in (one, other, f"both {result} in the result"))
    make_plan(checkpoint, Rules(), keep_mtp=False, keep_vision=False)  # what is left out collides with nothing
