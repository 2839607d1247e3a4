"""The MTP layer of an original into a model without it: every format, place and layout; what is wrong is one line."""

import errno
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import mlx.core as mx
import numpy as np
import pytest

from qwen_core.checkpoint.directory import open_checkpoint
from qwen_core.checkpoint.layout import PAGE
from qwen_core.checkpoint.mtp import MtpTensors
from qwen_core.convert.add_mtp import FILE, add_mtp, plan_mtp
from qwen_core.convert.convert import convert
from qwen_core.convert.plan import ConvertProgress, Progress, make_plan
from qwen_core.convert.rules import Rules, UniformRules, rules_of_format
from qwen_core.errors import QwenError, SettingsError
from qwen_core.model.model import Model, load_model
from qwen_core.model.mtp import load_mtp
from qwen_tui.commands.convert import MTP_MODES
from support.checkpoints import Stored, write_safetensors
from support.conversion import load_all, places, same_bits, variant_rules
from support.reference import CASES, DRAFTS, PROMPT, Case, is_norm, laid_out, mtp_hidden, mtp_weights, write_case

RAW, CONVERTED = (replace(CASES[number], sizes={"intermediate_size": 128}) for number in (0, 2))
Tensors = dict[str, Stored]
TRUNKS: dict[str, dict[str, bytes]] = {}
"""The files of the converted models, by how their originals name tensors."""


class Halt(BaseException):
    """Stands for anything that ends the work, Ctrl+C among it."""


def layer(case: Case, prefix: str = "mtp.") -> Tensors:
    return {prefix + name: laid_out(case, name, value) for name, value in mtp_weights(case)}


def in_directory(case: Case, path: Path) -> Path:
    write_case(case, path, mtp="inside")
    return path


def in_one_file(case: Case, path: Path) -> Path:
    return in_directory(case, path) / "model.safetensors"


def in_a_file_beside(case: Case, path: Path) -> Path:
    write_case(case, path, mtp="mtp/weights.safetensors")
    return path


def without_prefix(case: Case, path: Path) -> Path:
    path.mkdir()
    write_safetensors(path / "layer.safetensors", layer(case, ""))
    return path / "layer.safetensors"


SOURCES = (in_directory, in_one_file, in_a_file_beside, without_prefix)


def model_without(case: Case, path: Path, rules: Rules | None = None) -> Path:
    """The case's model without its layer, as the converter writes it. The usual two are converted once."""
    model, usual = path / "model", rules is None
    if usual and case.names in TRUNKS:
        model.mkdir()
        for name, content in TRUNKS[case.names].items():
            (model / name).write_bytes(content)
        return model
    write_case(case, path / "trunk")
    convert(make_plan(open_checkpoint(path / "trunk"), rules or variant_rules("nvfp4")), model)
    if usual:
        TRUNKS[case.names] = {file.name: file.read_bytes() for file in model.iterdir()}
    return model


def add(source: Path, model: Path, mode: str = "bf16", progress: Progress | None = None) -> Path:
    return add_mtp(plan_mtp(source, open_checkpoint(model), rules_of_format(mode)), progress=progress)


def drafts(model: Model, found: MtpTensors | None, case: Case) -> mx.array:
    """Logits of drafts after a prompt whose hidden vectors are given."""
    assert found is not None
    mtp, state, ids = load_mtp(model, found), model.new_state(), mx.array([case.ids])
    state.advance(PROMPT)
    state.mtp.take(ids[:, :PROMPT], mx.array(mtp_hidden(case)).astype(mx.bfloat16))
    mtp.catch_up(state.mtp)
    rows = mtp.draft_logits(ids[0, PROMPT : PROMPT + 1], DRAFTS, model.config.vocab_size, state.mtp)
    return mx.concatenate(rows)


def expected_parts(case: Case, mode: str) -> Iterator[tuple[str, mx.array]]:
    """What the file must hold: norms as 1 + w, matrices as `mx.quantize` makes them of their bfloat16."""
    rules = rules_of_format(mode)
    for name, value in mtp_weights(case):
        array = mx.array(np.frombuffer(laid_out(case, name, value).data or b"", np.float32).reshape(value.shape))
        if is_norm(name) and case.names == "raw":
            array = 1.0 + array
        array = array.astype(mx.bfloat16)
        if isinstance(rules, UniformRules) and array.ndim == 2:
            spec = rules.spec
            parts = mx.quantize(array, group_size=spec.group_size, bits=spec.bits, mode=spec.mode)
            for part, packed in zip(("weight", "scales", "biases"), parts, strict=False):
                yield f"mtp.{name.removesuffix('.weight')}.{part}", packed
        else:
            yield f"mtp.{name}", array


@pytest.mark.parametrize("case", [RAW, CONVERTED], ids=lambda case: case.names)
@pytest.mark.parametrize("place", SOURCES, ids=lambda place: place.__name__)
@pytest.mark.parametrize("mode", MTP_MODES)
def test_every_format_from_every_place(
    mode: str, place: Callable[[Case, Path], Path], case: Case, tmp_path: Path
) -> None:
    """The file holds the layer bit for bit, lies aligned beside the model, is found, fits, and drafts."""
    model = model_without(case, tmp_path)
    before = {path.name for path in model.iterdir()}
    file = add(place(case, tmp_path / "source"), model, mode)
    assert {path.name for path in model.iterdir()} - before == {file.name} == {FILE}
    written = mx.load(str(file))
    assert isinstance(written, dict)
    expected = dict(expected_parts(case, mode))
    assert set(written) == set(expected)
    assert [name for name in expected if not same_bits(written[name], expected[name])] == []
    offsets = places(file)
    assert min(offset for offset, _ in offsets.values()) % PAGE == 0
    assert all(offset % 16 == 0 for offset, _ in offsets.values())
    checkpoint = open_checkpoint(model)
    assert (checkpoint.mtp_problem, checkpoint.mtp and checkpoint.mtp.file) == ("", file)
    rules = rules_of_format(mode)
    wanted = {rules.spec} if isinstance(rules, UniformRules) else set()
    assert set(checkpoint.mtp.specs.values() if checkpoint.mtp else ()) == wanted
    logits = drafts(load_model(checkpoint, "bfloat16"), checkpoint.mtp, case)
    assert mx.isfinite(logits).all().item()
    assert len(np.unique(np.array(logits.astype(mx.float32)))) > DRAFTS


@pytest.mark.parametrize("case", [RAW, CONVERTED], ids=lambda case: case.names)
@pytest.mark.parametrize("place", SOURCES, ids=lambda place: place.__name__)
def test_the_written_layer_drafts_what_the_one_in_the_source_drafts(
    place: Callable[[Case, Path], Path], case: Case, tmp_path: Path
) -> None:
    model = model_without(case, tmp_path)
    add(place(case, tmp_path / "source"), model)
    original = open_checkpoint(in_directory(case, tmp_path / "original"))
    loaded = load_model(original, "bfloat16")
    theirs, ours = (drafts(loaded, found, case) for found in (original.mtp, open_checkpoint(model).mtp))
    assert same_bits(theirs, ours)


@pytest.mark.parametrize("variant", ["nvfp4", "q4"])
@pytest.mark.parametrize("case", [RAW, CONVERTED], ids=lambda case: case.names)
def test_a_layer_that_a_conversion_keeps_is_found_and_drafts_the_same(case: Case, variant: str, tmp_path: Path) -> None:
    original = open_checkpoint(in_directory(case, tmp_path / "source"))
    convert(make_plan(original, variant_rules(variant), keep_mtp=True), tmp_path / "out")
    kept = open_checkpoint(tmp_path / "out")
    assert kept.mtp_problem == ""
    loaded = load_model(original, "bfloat16")
    assert same_bits(drafts(loaded, original.mtp, case), drafts(loaded, kept.mtp, case))
    assert mx.isfinite(drafts(load_model(kept, "bfloat16"), kept.mtp, case)).all().item()


def test_a_result_is_readable_as_other_results_are(tmp_path: Path) -> None:
    model = model_without(RAW, tmp_path)
    file = add(in_directory(RAW, tmp_path / "source"), model)
    assert file.stat().st_mode == (model / "model-00001-of-00001.safetensors").stat().st_mode


# What is refused. Each: the source's tensors, and words of the line.

SHARD = "source.safetensors"


def changed(case: Case, name: str, change: Callable[[np.ndarray], np.ndarray]) -> Tensors:
    tensors = layer(case)
    stored = tensors[name]
    values = np.ascontiguousarray(change(np.frombuffer(stored.data or b"", np.float32).reshape(stored.shape)))
    return {**tensors, name: Stored("F32", values.shape, values.tobytes())}


def quantised(case: Case) -> Tensors:
    """The case's layer as a file of its own with one matrix of mxfp8."""
    value = dict(mtp_weights(case))["fc.weight"]
    parts = mx.quantize(mx.array(value), group_size=32, bits=8, mode="mxfp8")
    stored = zip((("weight", "U32"), ("scales", "U8")), parts, strict=False)
    return layer(case) | {
        f"mtp.fc.{part}": Stored(dtype, tuple(array.shape), np.array(array).tobytes())
        for (part, dtype), array in stored
    }


BAD: dict[str, tuple[Callable[[], Tensors], str, str]] = {
    "nothing of it": (lambda: {"model.norm.weight": layer(RAW)["mtp.norm.weight"]}, "has no tensors mtp.*", "original"),
    "half": (
        lambda: {name: tensor for name, tensor in layer(RAW).items() if "up_proj" not in name},
        "tensor mtp.layers.0.mlp.up_proj.weight of the MTP layer is missing",
        "name the whole original checkpoint",
    ),
    "another shape": (
        lambda: changed(RAW, "mtp.fc.weight", lambda w: w[1:]),
        "tensor mtp.fc.weight has shape 63x128, but the MTP layer of this model has 64x128",
        "name the whole original checkpoint",
    ),
    "a table of its own": (
        lambda: layer(RAW) | {"mtp.embed_tokens.weight": layer(RAW)["mtp.fc.weight"]},
        "tensor mtp.embed_tokens.weight is not part of an MTP layer of this model",
        "name the whole original checkpoint",
    ),
    "NaN in a norm": (
        lambda: changed(RAW, "mtp.norm.weight", lambda w: np.where(w > 0, np.nan, w)),
        "tensor mtp.norm.weight holds NaN or infinity",
        "damaged",
    ),
    "infinity in a matrix": (
        lambda: changed(RAW, "mtp.layers.0.mlp.down_proj.weight", lambda w: w / (w != w.max())),
        "tensor mtp.layers.0.mlp.down_proj.weight holds NaN or infinity",
        "damaged",
    ),
    "quantised": (lambda: quantised(RAW), "tensor mtp.fc is quantised already", "unquantised original"),
}


@pytest.mark.parametrize("kind", BAD)
@pytest.mark.filterwarnings("ignore:divide by zero")
def test_a_source_that_cannot_be_used_is_one_line_and_leaves_the_model_as_it_was(kind: str, tmp_path: Path) -> None:
    make, problem, advice = BAD[kind]
    model = model_without(RAW, tmp_path)
    write_safetensors(tmp_path / SHARD, make())
    refused(tmp_path / SHARD, model, SHARD, problem, advice)


def refused(source: Path, model: Path, *words: str, mode: str = "bf16") -> None:
    before = sorted(model.rglob("*"))
    with pytest.raises(QwenError) as raised:
        add(source, model, mode)
    assert [word for word in words if word not in str(raised.value)] == [], str(raised.value)
    assert str(raised.value).isprintable()
    assert sorted(model.rglob("*")) == before


@pytest.mark.parametrize(
    ("sizes", "words"),
    [
        ({"vocab_size": 80}, "is of a model with 80 tokens, not 96"),
        ({"num_hidden_layers": 8}, "is of a model with 8 layers, not 4"),
        ({"head_dim": 64}, "tensor mtp.layers.0.self_attn.q_proj.weight has shape"),
    ],
)
def test_a_layer_of_another_model_is_refused(sizes: dict[str, int], words: str, tmp_path: Path) -> None:
    other = replace(RAW, sizes=RAW.sizes | sizes)
    model = model_without(RAW, tmp_path)
    refused(in_directory(other, tmp_path / "other"), model, words, "other", "name the whole original checkpoint")


def test_a_directory_without_the_layer_is_refused(tmp_path: Path) -> None:
    model = model_without(RAW, tmp_path)
    write_case(RAW, tmp_path / "trunk")
    refused(tmp_path / "trunk", model, "trunk has no tensors mtp.*", "name the whole original checkpoint")


def test_a_model_that_has_the_layer_is_left_alone(tmp_path: Path) -> None:
    source = in_directory(RAW, tmp_path / "source")
    refused(source, source, "is the model itself")
    kept = in_directory(CONVERTED, tmp_path / "kept")
    refused(source, kept, "tensor mtp.fc.weight is of an MTP layer inside the model", "model.safetensors")
    model = model_without(RAW, tmp_path)
    file = add(source, model)
    data = file.read_bytes()
    refused(source, model, f"{FILE} exists already: move it away")
    assert file.read_bytes() == data
    file.rename(model / "model-mtp-00001.safetensors")
    refused(source, model, "model-mtp-00001.safetensors exists already: move it away")


def test_a_width_that_no_group_divides_asks_for_another_mode(tmp_path: Path) -> None:
    narrow = replace(RAW, sizes={"intermediate_size": 96})
    source, model = in_directory(narrow, tmp_path / "source"), model_without(narrow, tmp_path, Rules())
    refused(source, model, "mtp.layers.0.mlp.down_proj.weight has 96 columns", "another --mtp-mode", mode="affine")
    assert add(source, model, "nvfp4").exists()


def test_a_file_that_is_no_weights_is_refused(tmp_path: Path) -> None:
    model = model_without(RAW, tmp_path)
    refused(model / "config.json", model, "config.json")


@pytest.mark.parametrize("at", range(1, 31, 4))
def test_an_interrupted_run_leaves_the_model_as_it_was(at: int, tmp_path: Path) -> None:
    source, model = in_directory(RAW, tmp_path / "source"), model_without(RAW, tmp_path)
    before = sorted(model.rglob("*"))
    calls: list[ConvertProgress] = []

    def progress(step: ConvertProgress) -> None:
        calls.append(step)
        assert not (model / FILE).exists()
        if len(calls) == at:
            raise Halt

    with pytest.raises(Halt):
        add(source, model, progress=progress)
    assert sorted(model.rglob("*")) == before
    assert add(source, model).exists()


def test_a_full_disk_leaves_the_model_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, model = in_directory(RAW, tmp_path / "source"), model_without(RAW, tmp_path)

    def full(*_: object) -> NoReturn:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr("os.pwrite", full)
        refused(source, model, "the disk is full", FILE)
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 9}))
    refused(source, model, "has 9 B left")


def test_a_file_that_appears_meanwhile_is_kept(tmp_path: Path) -> None:
    source, model = in_directory(RAW, tmp_path / "source"), model_without(RAW, tmp_path)

    def progress(step: ConvertProgress) -> None:
        (model / FILE).write_text("another's")

    with pytest.raises(QwenError, match="exists already"):
        add(source, model, progress=progress)
    assert (model / FILE).read_text() == "another's"
    assert sorted(path.name for path in model.iterdir() if "partial" in path.name) == []


def test_what_a_killed_run_left_is_removed(tmp_path: Path) -> None:
    source, model = in_directory(RAW, tmp_path / "source"), model_without(RAW, tmp_path)
    (model / f".{FILE}.partial-abcdefgh").mkdir()
    add(source, model)
    assert [path.name for path in model.iterdir() if path.name.startswith(".")] == []


@pytest.mark.parametrize("name", ["affine7", "affine1", "fp8", "", "affine04x"])
def test_a_format_that_does_not_exist_is_refused(name: str) -> None:
    with pytest.raises(SettingsError):
        rules_of_format(name)


def test_the_source_of_a_conversion_says_what_keeping_brings(tmp_path: Path) -> None:
    inside = open_checkpoint(in_directory(RAW, tmp_path / "inside"))
    (line,) = [line for line in make_plan(inside, Rules()).warnings if "MTP" in line]
    assert "--mtp keep" in line
    assert "15 tensors" in line
    assert "several tokens a pass" in line
    assert not any("MTP" in line for line in make_plan(inside, Rules(), keep_mtp=True).warnings)
    beside = open_checkpoint(in_a_file_beside(RAW, tmp_path / "beside"))
    (line,) = [line for line in make_plan(beside, Rules()).warnings if "MTP" in line]
    assert "--add-mtp" in line
    with pytest.raises(QwenError, match="--add-mtp"):
        make_plan(beside, Rules(), keep_mtp=True)
    half = in_directory(RAW, tmp_path / "half") / "model.safetensors"
    write_safetensors(half, {n: t for n, t in stored_in(half).items() if n != "mtp.norm.weight"})
    for keep in (False, True):
        (line,) = [
            line for line in make_plan(open_checkpoint(half.parent), Rules(), keep_mtp=keep).warnings if "MTP" in line
        ]
        assert "tensor mtp.norm.weight of the MTP layer is missing" in line
        assert "\n" not in line


def stored_in(file: Path) -> Tensors:
    return {name: Stored("F32", tuple(a.shape), np.array(a).tobytes()) for name, a in load_all(file.parent).items()}
