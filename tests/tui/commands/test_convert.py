"""`qwen-tui convert` as a person uses it: what goes where, what each option means, and every mistake in one line."""

import json
import os
import pty
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from qwen_core.checkpoint.directory import open_checkpoint
from qwen_core.checkpoint.layout import make_layout
from qwen_core.checkpoint.variants import identify
from qwen_core.convert.plan import ConvertProgress
from qwen_core.demo import demo_model_path
from qwen_tui import cli
from qwen_tui.commands.convert import show_step
from support.checkpoints import edit_config, replace_header, write_checkpoint
from support.conversion import load_all, same_bits, tensor_bytes, write_raw
from support.importance import random_importance, write_imatrix

HEAVY = ("mlx", "textual", "rich", "numpy", "tokenizers", "safetensors", "gguf")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_raw(
        tmp_path_factory.mktemp("convert") / "raw", files={"tokenizer.json": "{}", "chat_template.jinja": "x"}
    )


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """An empty folder for results alone, so that what is left behind shows."""
    (tmp_path / "results").mkdir()
    return tmp_path / "results"


def variant_of(path: Path) -> str:
    return identify(make_layout(open_checkpoint(path))).name


@pytest.mark.parametrize(
    ("options", "name"),
    [
        (["-q", "--q-mode", "nvfp4"], "UD-NVFP4_K_XL"),
        (["-q", "--q-mode", "mxfp4", "--q-bits", "4", "--q-recipe", "unsloth"], "UD-MXFP4_K_XL"),
        (["-q", "--q-mode", "mxfp8"], "UD-MXFP8_K_XL"),
        (["-q"], "UD-Q4_K_XL"),
        (["--q-bits", "3"], "UD-Q3_K_XL"),
        (["--variant", "UD-Q6_K_XL"], "UD-Q6_K_XL"),
        (["--variant", "q8"], "UD-Q8_K_XL"),
        (["-q", "--q-recipe", "uniform", "--q-bits", "5", "--q-group-size", "32"], "uniform affine 5-bit g32"),
        ([], "bf16"),
        (["--dtype", "float32"], "f32"),
    ],
)
def test_each_option_gives_what_it_says(
    options: list[str], name: str, source: Path, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["convert", str(source), str(place / "out"), *options]) == 0
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert str(place / "out") in err
    assert variant_of(place / "out") == name
    assert [path.name for path in place.iterdir()] == ["out"]


def test_the_plan_is_printed_and_nothing_written(source: Path, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["convert", str(source), "--plan", "--variant", "nvfp4"]) == 0
    assert cli.main(["convert", str(source), str(place / "out"), "--plan", "--variant", "nvfp4"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert list(place.iterdir()) == []
    half = len(out) // 2
    assert out[:half] == out[half:]
    lines = out[:half].splitlines()
    assert len({len(line.split("  ")[0]) for line in lines}) > 1
    (gate,) = [line for line in lines if "mlp.gate_proj" in line]
    assert gate.split("  ")[0].strip() == "layers.*.mlp.gate_proj"
    for words in ("0-3", "256x128", "nvfp4 4-bit group 16", "4.50"):
        assert words in gate
    (qkv,) = [line for line in lines if "in_proj_qkv" in line]
    assert "linear (3)" in qkv
    assert cli.main(["convert", str(source), str(place / "out"), "--variant", "nvfp4"]) == 0
    total = sum(len(data) for data in tensor_bytes(place / "out").values())
    assert f"{total:,} bytes" in lines[-1]


def test_the_plan_loads_no_mlx(source: Path) -> None:
    code = (
        "import sys\nfrom qwen_tui.cli import main\n"
        "assert main(['convert', sys.argv[1], '--plan', '--variant', 'q4']) == 0\n"
        "print('LOADED', [name for name in ('mlx', 'textual', 'gguf') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code, str(source)], capture_output=True, text=True, check=False)
    assert done.stdout.splitlines()[-1] == "LOADED []", done.stderr


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys\nfrom qwen_tui.cli import main\nassert main(['convert', '--help']) == 0\n"
        f"print('LOADED', [name for name in {HEAVY} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.splitlines()[-1] == "LOADED []", done.stderr


@pytest.mark.parametrize(
    "options",
    [
        ["--plan", "--realign"],
        ["--realign", "--check"],
        ["--variant", "q4", "--recipe", "r.toml"],
        ["--variant", "q4", "--q-bits", "4"],
        ["--recipe", "r.toml", "--q-mode", "nvfp4"],
        ["--realign", "--variant", "q4"],
        ["--realign", "-q"],
        ["--realign", "--dtype", "float32"],
        ["--realign", "--mtp", "drop"],
        ["--realign", "--vision", "keep"],
        ["--realign", "--imatrix-path", "x"],
        ["--realign", "--recipe", "r.toml"],
        ["--realign", "--text", "t"],
        ["--check", "--text", "t", "--mtp", "keep"],
        ["--check", "--text", "t", "--vision", "drop"],
        ["--check", "--imatrix-path", "x", "--text", "t"],
        ["--check"],
        ["--text", "t"],
        ["--per-tensor"],
        ["--json"],
        ["--q-bits", "9"],
        ["--q-mode", "fp8_e4m3"],
        ["--mtp", "perhaps"],
    ],
)
def test_options_that_contradict_each_other_are_wrong_use(
    options: list[str], source: Path, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["convert", str(source), str(place / "out"), *options]) == 2
    assert capsys.readouterr().err.startswith("Usage: ")
    assert list(place.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "reason"),
    [(["--dtype", "float32"], "takes no --dtype"), (["--mtp", "drop"], "takes no --mtp")],
)
def test_realigning_names_the_option_that_it_would_ignore(
    options: list[str], reason: str, source: Path, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["convert", "--realign", str(source), str(place / "out"), *options]) == 2
    assert f"--realign {reason}" in capsys.readouterr().err


def test_a_result_needs_a_place(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["convert", str(source)]) == 2
    assert "DST" in capsys.readouterr().err


def other_model(path: Path) -> None:
    write_raw(path)
    edit_config(path, model_type="llama")


def missing_tensor(path: Path) -> None:
    write_raw(path)
    index = json.loads((path / "model.safetensors.index.json").read_text())
    (file,) = path.glob("*.safetensors")
    from support.checkpoints import read_header_json

    header = read_header_json(file)
    name = "model.language_model.layers.2.mlp.up_proj.weight"
    header[name.replace("up_proj", "other")] = header.pop(name)
    replace_header(file, header)
    index["weight_map"][name.replace("up_proj", "other")] = index["weight_map"].pop(name)
    (path / "model.safetensors.index.json").write_text(json.dumps(index))


def wrong_shape(path: Path) -> None:
    write_raw(path)
    config = json.loads((path / "config.json").read_text())["text_config"] | {"intermediate_size": 512}
    edit_config(path, text_config=config)


BAD: dict[str, tuple[Any, list[str], str]] = {
    "no directory": (lambda path: None, [], "does not exist"),
    "no config": (lambda path: path.mkdir(), [], "no config.json"),
    "another model": (other_model, [], "model_type 'llama' is not supported"),
    "missing tensor": (missing_tensor, [], "layers.2.mlp.up_proj.weight is missing"),
    "wrong shape": (wrong_shape, [], "has shape 256x128, but config.json gives 512x128"),
    "quantised": (lambda path: write_checkpoint(path, "q4"), ["-q"], "quantised already"),
    "odd width": (lambda path: write_raw(path, text={"hidden_size": 144}), ["-q"], "which groups of 64 do not divide"),
    "odd bits": (write_raw, ["-q", "--q-mode", "nvfp4", "--q-bits", "8"], "nvfp4 has 4 bits"),
    "no recipe": (write_raw, ["--recipe", "none.toml"], "none.toml is missing"),
    "no imatrix": (write_raw, ["-q", "--imatrix-path", "none.gguf"], "none.gguf is missing"),
    "no mtp": (write_raw, ["--mtp", "keep"], "has no tensors mtp"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line_and_leaves_nothing(
    case: str, tmp_path: Path, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make, options, reason = BAD[case]
    make(tmp_path / "bad")
    assert cli.main(["convert", str(tmp_path / "bad"), str(place / "out"), *options]) == 1
    out, err = capsys.readouterr()
    lines = [line for line in err.splitlines() if not line.startswith("warning: ")]
    assert (out, len(lines)) == ("", 1)
    assert lines[0].startswith("qwen-tui: ")
    assert reason in lines[0]
    assert list(place.iterdir()) == []


def test_a_variant_that_is_not_there_is_wrong_use_as_any_other_choice_is(
    tmp_path: Path, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    raw = str(write_raw(tmp_path / "raw"))
    assert cli.main(["convert", raw, str(place / "out"), "--variant", "zz"]) == 2
    assert "There is no variant 'zz': choose one of UD-Q2_K_XL, " in capsys.readouterr().err
    assert list(place.iterdir()) == []


def test_a_source_without_text_files_converts_with_a_warning(
    tmp_path: Path, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["convert", str(write_raw(tmp_path / "raw")), str(place / "out"), "-q"]) == 0
    warnings = [line for line in capsys.readouterr().err.splitlines() if line.startswith("warning: ")]
    assert len(warnings) == 2
    assert open_checkpoint(place / "out").specs


@pytest.mark.parametrize("case", ["full", "raw", "raw/in", "imatrix", "disk"])
def test_what_is_wrong_is_said_without_the_warnings(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    raw = write_raw(tmp_path / "raw")
    (tmp_path / "full" / "x").mkdir(parents=True)
    command = ["convert", str(raw), str(tmp_path / case), "-q"]
    if case == "disk":
        monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 9}))
    elif case == "imatrix":
        command += ["--imatrix-path", str(raw / "config.json")]
    else:
        monkeypatch.setattr("qwen_tui.commands.convert.make", lambda *_, **__: pytest.fail("planned for no place"))
    assert cli.main(command) == 1
    err = capsys.readouterr().err
    assert (err.count("\n"), err.startswith("qwen-tui: ")) == (1, True)


def test_an_importance_matrix_is_used_or_an_error(
    source: Path, tmp_path: Path, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = open_checkpoint(source).config
    good = write_imatrix(tmp_path / "good.gguf", random_importance(config, 1), 4)
    other = write_imatrix(tmp_path / "other.gguf", random_importance(config, 1), 4, rename=lambda name: f"v.{name}")
    for name, options in (("plain", []), ("awq", ["--imatrix-path", str(good), "--awq", "fixed"])):
        assert cli.main(["convert", str(source), str(place / name), "--variant", "nvfp4", *options]) == 0
    assert " tensors scaled" in capsys.readouterr().err
    plain, scaled = load_all(place / "plain"), load_all(place / "awq")
    changed = {name for name in plain if not same_bits(plain[name], scaled[name])}
    assert any("in_proj_a" in name for name in changed)
    assert not any("lm_head" in name or "embed" in name for name in changed)
    for options in (["--plan"], []):
        command = ["convert", str(source), str(place / "bad"), "-q", "--imatrix-path", str(other), *options]
        assert cli.main(command) == 1
        assert "matches no tensor of this model" in capsys.readouterr().err
    assert sorted(path.name for path in place.iterdir()) == ["awq", "plain"]


def test_realigning_keeps_every_byte(tmp_path: Path, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_checkpoint(tmp_path / "wild", "nvfp4", offset=1)
    assert cli.main(["convert", "--realign", str(tmp_path / "wild"), str(place / "out")]) == 0
    assert tensor_bytes(place / "out") == tensor_bytes(tmp_path / "wild")
    assert capsys.readouterr().out == ""


def test_own_rules_come_from_a_file(source: Path, tmp_path: Path, place: Path) -> None:
    rules = tmp_path / "mine.toml"
    rules.write_text('[[rule]]\nmatch = "mlp.*"\nmode = "mxfp4"\n')
    assert cli.main(["convert", str(source), str(place / "out"), "--recipe", str(rules)]) == 0
    specs = open_checkpoint(place / "out").specs
    assert {str(spec) for spec in specs.values()} == {"mxfp4 4-bit group 32"}
    assert all(".mlp." in module for module in specs)


def test_check_prints_a_table_or_one_line_of_json(
    tmp_path: Path, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    demo = str(demo_model_path())
    text = tmp_path / "text"
    text.write_text("<|im_start|>user\nWhat is the capital of Japan?<|im_end|>\n" * 3)
    command = ["convert", "--check", demo, demo, "--text", str(text), "--tokens", "30"]
    assert cli.main(command) == 0
    out, err = capsys.readouterr()
    assert "KL mean             0.000000 nats" in out
    assert "positions           29" in out
    assert "predicting with" in err
    assert cli.main([*command, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["kl_mean"], report["top1"], report["positions"]) == (0, 1, 29)
    assert report["bytes"] == report["reference_bytes"] > 1_000_000
    assert cli.main([*command, "--per-tensor"]) == 1
    assert "unquantised reference" in capsys.readouterr().err


def test_check_orders_roles_by_harm(
    source: Path, tmp_path: Path, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the demo's tokenizer, whose ids the small random model has to have rows for."""
    tokenizer = (demo_model_path() / "tokenizer.json").read_text(encoding="utf-8")
    raw = write_raw(tmp_path / "raw", text={"vocab_size": 3072}, files={"tokenizer.json": tokenizer})
    assert cli.main(["convert", str(raw), str(place / "q2"), "--variant", "q2"]) == 0
    text = tmp_path / "text"
    text.write_text("The capital of France is Paris. " * 20)
    capsys.readouterr()
    command = ["convert", "--check", str(raw), str(place / "q2"), "--text", str(text), "--tokens", "60", "--per-tensor"]
    assert cli.main([*command, "--dtype", "float32"]) == 0
    lines = capsys.readouterr().out.splitlines()
    rows = lines[lines.index("") + 2 :]
    harm = [float(row.split()[2]) for row in rows]
    assert harm == sorted(harm, reverse=True)
    assert {row.split()[0] for row in rows} == {
        "gate_proj", "up_proj", "down_proj", "q_proj", "k_proj", "v_proj", "in_proj_qkv", "in_proj_z", "embed_tokens",
        "lm_head",
    }  # fmt: skip
    assert cli.main([*command, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert [entry["role"] for entry in report["roles"]]
    assert report["kl_mean"] > 0


def test_progress_is_drawn_on_a_terminal_alone(source: Path, place: Path) -> None:
    """stderr on a pseudo-terminal shows a bar with bytes and time left; the end of the bar is wiped."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "qwen_tui", "convert", str(source), str(place / "out"), "-q"]
    environment = {**os.environ, "TERM": "xterm"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=theirs, env=environment) as process:
        os.close(theirs)
        shown = b""
        while True:
            try:
                piece = os.read(ours, 65536)
            except OSError:  # the other side is closed
                break
            if not piece:
                break
            shown += piece
        out, _ = process.communicate()
    os.close(ours)
    text = shown.decode()
    assert (process.returncode, out) == (0, b"")
    assert " kB" in text or " MB" in text
    assert "━" in text
    assert text.endswith("\x1b[2K") or "\x1b[2K" in text.split("━")[-1]


def test_the_bar_says_bytes_and_time_left() -> None:
    shown: list[tuple[str, int, int]] = []
    for step in (ConvertProgress(0, 8 << 30, 0.0, "a"), ConvertProgress(2 << 30, 8 << 30, 60.0, "a")):
        show_step(step, lambda *bar: shown.append(bar))
    assert shown == [
        ("0.00 of 8.59 GB", 0, 8 << 30),
        ("2.15 of 8.59 GB · 3 min 00 s left", 2 << 30, 8 << 30),
    ]


def test_doctor_looks_at_a_model_and_says_where_aligning_helps(
    tmp_path: Path, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    demo = demo_model_path()
    files = {name: (demo / name).read_text(encoding="utf-8") for name in ("tokenizer.json", "chat_template.jinja")}
    sizes = {"vocab_size": 3072, "hidden_size": 256, "intermediate_size": 1024}
    write_checkpoint(tmp_path / "wild", "nvfp4", offset=1, text=sizes, files=files)
    assert cli.main(["doctor", str(tmp_path / "wild")]) == 0
    out = capsys.readouterr().out
    assert "--realign" in out
    assert "variant: UD-NVFP4_K_XL" in out
    assert cli.main(["convert", "--realign", str(tmp_path / "wild"), str(place / "out")]) == 0
    capsys.readouterr()
    assert cli.main(["doctor", str(place / "out")]) == 0
    assert "--realign" not in capsys.readouterr().out
    assert cli.main(["doctor", str(tmp_path / "none"), "--json"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert report["model"] is None
    assert "does not exist" in report["problems"][0]
