"""NVFP4 of other tools from headers alone: seen as MLX's parts, counted to the byte; one line for what is no such."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from qwen_core.checkpoint.architecture import mtp_tensors
from qwen_core.checkpoint.directory import open_checkpoint
from qwen_core.checkpoint.headers import TensorInfo
from qwen_core.checkpoint.layout import make_layout
from qwen_core.checkpoint.quantization import QuantSpec
from qwen_core.checkpoint.tensor_scale import checked_tensor_scale
from qwen_core.checkpoint.variants import identify
from qwen_core.errors import CheckpointError
from support.bad_checkpoints import complaint
from support.checkpoints import Stored, disk_name, edit_config, write_checkpoint, write_safetensors
from support.mixtures import packed
from support.nvfp4_files import PARTS, WAYS, Nvfp4Files, Way, write_nvfp4
from support.published_plan import Spec

UP = "layers.1.mlp.up_proj"
WRITERS = {"modelopt": "modelopt", "compressed": "compressed-tensors", "mlx": "mlx"}
FACTORS = [PARTS[way][2] for way in WAYS]


def module_of(files: Nvfp4Files, canonical: str = UP) -> str:
    return disk_name(canonical, "converted" if files.way == "mlx" else "raw")


@pytest.mark.parametrize("way", WAYS)
def test_what_a_module_costs_and_who_wrote_it(way: Way, tmp_path: Path) -> None:
    files = write_nvfp4(tmp_path, way)
    checkpoint = open_checkpoint(tmp_path)
    layout = make_layout(checkpoint)
    assert not layout.warnings
    for module, values in files.values.items():
        found = layout.index[module]
        rows, columns = values.shape
        assert found.shape == values.shape
        assert (found.mode, found.bits, found.group_size, found.source) == ("nvfp4", 4, 16, "default")
        assert found.nbytes == found.token_bytes == rows * columns // 2 + rows * columns // 16 + 4
        name = module_of(files, module)
        assert found.name == name
        assert found.tensors == tuple(f"{name}.{part}" for part in PARTS[way])
        assert found.writer == WRITERS[way]
        assert found.format == "nvfp4 4-bit g16"
        assert found.format_and_writer == "nvfp4 4-bit g16" + ("" if way == "mlx" else f", {WRITERS[way]}")
        assert found.has_factor
    assert layout.quantised == len(files.values)
    assert layout.writers == (() if way == "mlx" else (WRITERS[way],))
    assert layout.nbytes == files.written.total_bytes
    used = layout.text.nbytes + sum(u.nbytes for u in layout.unused if u.what == "scales of activations")
    assert used == layout.nbytes
    assert {info.name for info in checkpoint.text.values()} <= set(checkpoint.tensors)
    verdict = identify(layout)
    assert verdict.name == ("uniform" if way == "mlx" else WRITERS[way]) + " nvfp4 4-bit g16"
    assert (f"as {WRITERS[way]} wrote them" in verdict.evidence) == (way != "mlx")


@pytest.mark.parametrize("way", ["modelopt", "compressed"])
@pytest.mark.parametrize("said", ["nothing", "beside", "mlx"])
def test_the_headers_count_whatever_says_so(way: Way, said: str, tmp_path: Path) -> None:
    """A warning where nobody says it; none where only the file beside config.json does."""
    files = write_nvfp4(tmp_path, way)
    edit_config(tmp_path, quantization_config=None)
    if said == "beside":
        (tmp_path / "hf_quant_config.json").write_text('{"quantization": {"quant_algo": "NVFP4", "group_size": 16}}')
    if said == "mlx":
        edit_config(tmp_path, quantization={"bits": 8, "group_size": 64})
    checkpoint = open_checkpoint(tmp_path)
    assert set(checkpoint.specs) == set(files.values)
    assert bool(checkpoint.warnings) == (said != "beside")


@pytest.mark.parametrize("way", ["modelopt", "compressed"])
def test_an_mtp_layer_of_the_same_kind(way: Way, tmp_path: Path) -> None:
    """Inside the checkpoint, as holes; and one of FP8, which is not used and says so."""
    files = write_nvfp4(tmp_path, way)
    spec = Spec("nvfp4", 4, 16)
    layer: dict[str, Stored] = {}
    for tensor in mtp_tensors(open_checkpoint(tmp_path).config):
        name = f"mtp.{tensor.name}".removesuffix(".weight")
        if tensor.kind == "matrix":
            weight, scales = packed(name, tensor.shape, spec).values()
            layer[f"{name}.{PARTS[way][0]}"] = Stored("U8", (weight.shape[0], weight.shape[1] * 4))
            layer[f"{name}.{PARTS[way][1]}"] = Stored("F8_E4M3", scales.shape)
            layer[f"{name}.{PARTS[way][2]}"] = Stored("F32", (1,))
            layer[f"{name}.input_scale"] = Stored("F32", ())
        else:
            layer[f"{name}.weight"] = Stored("BF16", tensor.shape)
    files.write_again(files.written.tensors | layer)
    checkpoint = open_checkpoint(tmp_path)
    assert not checkpoint.mtp_problem
    assert checkpoint.mtp and len(checkpoint.mtp.specs) == 8
    found = make_layout(checkpoint).index["mtp.fc"]
    assert (found.writer, found.nbytes) == (WRITERS[way], found.parameters * 9 // 16 + 4)

    layer["mtp.fc.weight"] = Stored("F8_E4M3", layer[f"mtp.fc.{PARTS[way][0]}"].shape)
    if way == "compressed":
        del layer["mtp.fc.weight_packed"]
    files.write_again(files.written.tensors | layer)
    assert "FP8" in (problem := open_checkpoint(tmp_path).mtp_problem)
    assert problem.isprintable()


Edit = Callable[[dict[str, Stored], str, tuple[str, str, str]], object]


def changed(tensors: dict[str, Stored], name: str, dtype: str, shape: tuple[int, ...]) -> None:
    tensors[name] = Stored(dtype, shape)


BAD: dict[str, tuple[Edit, str]] = {
    "no scales": (lambda t, m, p: t.pop(f"{m}.{p[1]}"), "missing"),
    "no weight": (lambda t, m, p: t.pop(f"{m}.{p[0]}"), "missing"),
    "no factor": (lambda t, m, p: t.pop(f"{m}.{p[2]}"), "missing"),
    "factor of two": (lambda t, m, p: changed(t, f"{m}.{p[2]}", "F32", (2,)), "must be one F32, not F32 2"),
    "factor of none": (lambda t, m, p: changed(t, f"{m}.{p[2]}", "F32", (0,)), "must be one F32, not F32 0"),
    "factor of bytes": (lambda t, m, p: changed(t, f"{m}.{p[2]}", "U8", ()), "must be one F32, not U8 ()"),
    "weight too narrow": (
        lambda t, m, p: changed(t, f"{m}.{p[0]}", "U8", (256, 60)),
        "256x8 does not fit a weight of 256x60",
    ),
    "weight odd": (lambda t, m, p: changed(t, f"{m}.{p[0]}", "U8", (256, 63)), "holds no matrix of NVFP4 groups"),
    "another shape": (
        lambda t, m, p: (changed(t, f"{m}.{p[0]}", "U8", (256, 72)), changed(t, f"{m}.{p[1]}", "F8_E4M3", (256, 9))),
        "does not hold a 256 ?x ?128",
    ),
    "weight flat": (lambda t, m, p: changed(t, f"{m}.{p[0]}", "U8", (256 * 64,)), "256 ?x ?128|NVFP4 groups"),
    "weight empty": (lambda t, m, p: changed(t, f"{m}.{p[0]}", "U8", (256, 0)), "does not fit a weight of 256x0"),
    "scales of 32": (
        lambda t, m, p: changed(t, f"{m}.{p[1]}", "F8_E4M3", (256, 4)),
        "256x4 does not fit a weight of 256x64",
    ),
    "scales flat": (
        lambda t, m, p: changed(t, f"{m}.{p[1]}", "F8_E4M3", (256 * 8,)),
        "holds no matrix of NVFP4 groups",
    ),
    "scales of bytes": (lambda t, m, p: changed(t, f"{m}.{p[1]}", "U8", (256, 8)), "is U8, where NVFP4 has F8_E4M3"),
    "scales of floats": (lambda t, m, p: changed(t, f"{m}.{p[1]}", "BF16", (256, 8)), "is BF16, where NVFP4 has"),
    "FP8 a tensor": (lambda t, m, p: changed(t, f"{m}.{p[0]}", "F8_E4M3", (256, 128)), "FP8 .F8_E4M3., which is not"),
    "a weight beside": (lambda t, m, p: changed(t, f"{m}.weight", "BF16", (256, 128)), "one module|is BF16"),
    "a second factor": (lambda t, m, p: changed(t, f"{m}.global_scale", "F32", ()), "two factors"),
    "scaled columns": (lambda t, m, p: changed(t, f"{m}.pre_quant_scale", "BF16", (128,)), "not part of the architect"),
}


@pytest.mark.parametrize("way", ["modelopt", "compressed"])
@pytest.mark.parametrize("bad", BAD)
def test_parts_that_are_none_are_one_line(bad: str, way: Way, tmp_path: Path) -> None:
    files = write_nvfp4(tmp_path, way)
    tensors = {name: replace(stored, data=None) for name, stored in files.written.tensors.items()}
    edit, says = BAD[bad]
    edit(tensors, module_of(files), PARTS[way])
    files.write_again(tensors)
    message = complaint(tmp_path)
    assert "up_proj" in message
    assert re.search(says, message), message


@pytest.mark.parametrize("part", FACTORS)
def test_a_factor_is_nvfp4s_alone(part: str, tmp_path: Path) -> None:
    for variant, says in (("mxfp4", "which has no factor"), ("q4", "which has no factor"), ("bf16", "not part of the")):
        path = tmp_path / variant
        written = write_checkpoint(path, variant, shard_cap=None)
        name = f"{disk_name(UP, 'converted')}.{part}"
        write_safetensors(
            path / "model.safetensors", dict(sorted((written.tensors | {name: Stored("F32", ())}).items()))
        )
        assert says in complaint(path)


def test_a_factor_for_each_expert_of_a_stack_is_refused() -> None:
    """As mlx-lm writes one for its stacks (`global_scale` [experts])."""
    place = Path("model.safetensors")
    tensors = {
        "m.weight": TensorInfo("m.weight", "U32", (4, 8, 16), place, 0, 2048),
        "m.global_scale": TensorInfo("m.global_scale", "F32", (4,), place, 2048, 16),
    }
    with pytest.raises(CheckpointError, match=r"stack of experts .m.global_scale. are not read"):
        checked_tensor_scale(tensors, "m", QuantSpec("nvfp4", 4, 16), "here")


def test_fp8_in_blocks_is_named_by_its_headers(tmp_path: Path) -> None:
    """What Qwen publishes itself: weight F8_E4M3 and weight_scale_inv, here without a word in config.json."""
    written = write_checkpoint(tmp_path, "bf16", names="raw", shard_cap=None)
    name = disk_name(UP, "raw")
    tensors = written.tensors | {
        f"{name}.weight": Stored("F8_E4M3", (256, 128)),
        f"{name}.weight_scale_inv": Stored("BF16", (2, 1)),
    }
    write_safetensors(tmp_path / "model.safetensors", dict(sorted(tensors.items())))
    assert "up_proj.weight is FP8 (F8_E4M3), which is not read" in complaint(tmp_path)


def test_floats_with_scales_of_the_cache_are_floats(tmp_path: Path) -> None:
    written = write_checkpoint(tmp_path, "bf16", names="raw", shard_cap=None)
    extra = {f"{disk_name('layers.3.self_attn', 'raw')}.{part}": Stored("F32", ()) for part in ("k_scale", "v_scale")}
    write_safetensors(tmp_path / "model.safetensors", dict(sorted((written.tensors | extra).items())))
    assert not open_checkpoint(tmp_path).specs
