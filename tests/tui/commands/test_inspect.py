"""`qwen-tui inspect`: the 27B's figures, the JSON contract, filters, and lines that fit and cannot hurt a terminal."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qwen_core import demo_model_path
from qwen_core.checkpoint.layout import PAGE
from qwen_tui import cli
from qwen_tui.commands.inspect_report.as_json import report_fields
from qwen_tui.commands.inspect_report.listing import layer_table, tensor_table
from qwen_tui.commands.inspect_report.roles import role_rows
from qwen_tui.commands.inspect_report.selection import Filters, select
from qwen_tui.commands.inspect_report.subject import Subject, open_subject
from qwen_tui.commands.inspect_report.summary import report
from qwen_tui.commands.output import json_line
from qwen_tui.text.safe import cells
from support.checkpoints import Written, edit_config, write_checkpoint
from support.mixtures import write_mixture
from support.published_plan import Spec
from support.reports import report_text

ANSI = re.compile(r"\x1b\[[0-9;]*m")
SPECS = (Spec("nvfp4", 4, 16), Spec("mxfp4", 4, 32), Spec("mxfp8", 8, 32), Spec("affine", 3, 32), Spec("affine", 6, 64))
MODULE_FIELDS = {
    "name": str,
    "layer": int | None,
    "role": str,
    "mode": str,
    "bits": int,
    "group_size": int | None,
    "shape": list,
    "bytes": int,
    "weight_bytes_per_token": int,
    "source": str,
    "shard": str,
}


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Written:
    return write_checkpoint(tmp_path_factory.mktemp("full") / "Qwen3.6-27B-UD-NVFP4_K_XL-mlx", full=True)


def inspected(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> str:
    code = cli.main(["inspect", *map(str, arguments)])
    out, err = capsys.readouterr()
    assert (code, err) == (0, "")
    return out


def as_json(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> Any:
    out = inspected(capsys, *arguments, "--json")
    assert out.count("\n") == 1
    assert out.isascii()
    return json.loads(out)


def harmless(text: str, width: int = 80) -> None:
    """Lines that fit, of characters that no terminal acts on."""
    for line in text.split("\n"):
        assert line.isprintable()
        assert cells(line) <= width


def squeezed(text: str) -> list[str]:
    return [" ".join(line.split()) for line in text.splitlines()]


def test_the_27b_in_a_summary_and_the_table_of_its_card(full: Written, capsys: pytest.CaptureFixture[str]) -> None:
    out = inspected(capsys, full.path)
    harmless(out)
    lines = squeezed(out)
    assert lines[0] == "Qwen3.6-27B-UD-NVFP4_K_XL-mlx · UD-NVFP4_K_XL"
    text = " ".join(lines)
    for figure in (
        "21,949,061,600 bytes (21.95 GB) in 1,732 tensors, 5 shards",
        "19,994,594,368 bytes (19.99 GB) of weights",
        "26.90 B weights, 6.25 bits each",
        "338 of 851 modules: 210 overrides in config.json, 128 by its default",
        "64: 48 linear attention, 16 full attention (every 4th)",
        "all 338 quantised matrices and the 160 kept in float follow its recipe",
        "vision tower 921.46 MB in 333 tensors",
    ):
        assert figure in text
    for row in (
        "embed_tokens affine 6 64 < 0.01 % B + 2, override, a",
        "lm_head affine 8 64 6.76 % B + 3, override",
        "self_attn.q/k/v_proj affine 6 64 4.77 % B + 2 with AWQ,",
        "self_attn.o_proj bf16 16 – 5.03 % kept in float",
        "linear_attn.in_proj_qkv/z affine 6 64 16.4 % B + 2 with AWQ,",
        "linear_attn.out_proj bf16 16 – 15.1 % kept in float",
        "mlp.gate_proj / up_proj nvfp4 4 16 32.1 % B, default",
        "mlp.down_proj affine 5 64 19.6 % B + 1, override",
    ):
        assert row in lines
    assert "warning" not in out


def test_the_json_of_the_27b_is_as_promised(full: Written, capsys: pytest.CaptureFixture[str]) -> None:
    found = as_json(capsys, full.path)
    assert {"model", "totals", "modes", "modules", "warnings"} <= found.keys()
    totals = found["totals"]
    assert (totals["tensors"], totals["bytes"]) == (1732, 21_949_061_600)
    assert totals["weight_bytes_per_token"] == 19_994_594_368
    assert totals["text_bytes"] == sum(module["bytes"] for module in found["modules"])
    assert totals["weight_bytes_per_token"] == sum(module["weight_bytes_per_token"] for module in found["modules"])
    assert totals["bits_per_weight"] == pytest.approx(totals["text_bytes"] * 8 / 26_895_998_464)
    assert found["warnings"] == []
    assert found["model"]["variant"] == "UD-NVFP4_K_XL"
    for module in found["modules"]:
        assert all(isinstance(module[field], kind) for field, kind in MODULE_FIELDS.items())
        if module["source"] == "unquantised":
            assert (module["mode"], module["bits"], module["group_size"]) == ("bf16", 16, None)
        assert set(module["tensors"]) <= full.tensors.keys()
    sources = [module["source"] for module in found["modules"]]
    assert (sources.count("override"), sources.count("default")) == (210, 128)
    assert {(mode["mode"], mode["bits"], mode["group_size"]): mode["modules"] for mode in found["modes"]} == {
        ("affine", 6, 64): 145,
        ("nvfp4", 4, 16): 128,
        ("bf16", 16, None): 513,
        ("affine", 5, 64): 64,
        ("affine", 8, 64): 1,
    }
    assert sum(mode["bytes"] for mode in found["modes"]) == totals["text_bytes"]
    assert sum(mode["share_of_token"] for mode in found["modes"]) == pytest.approx(1)


def test_a_line_for_each_layer_and_for_each_module(full: Written, capsys: pytest.CaptureFixture[str]) -> None:
    out = inspected(capsys, full.path, "--layers")
    harmless(out)
    lines = squeezed(out)
    assert lines.count("0 linear affine6 bf16 nvfp4 nvfp4 affine5 293.7 1.47 % 6.13") == 1
    assert "63 full affine6 bf16 nvfp4 nvfp4 affine5 284.1 1.42 % 6.11" in lines
    assert [int(line.split()[0]) for line in lines if re.match(r"\d+ (linear|full) ", line)] == list(range(64))
    assert "all 21,027.6 100.0 % 6.25" in lines
    out = inspected(capsys, full.path, "--tensors")
    harmless(out)
    rows = [line for line in squeezed(out) if re.match(r"(\d+|–) \w", line)]
    assert len(rows) == 851
    assert rows[-1].startswith("– lm_head affine 8/64 248320x5120 1350.9 6.76 own")


@pytest.mark.parametrize("wanted", [(), ("--layers",), ("--tensors",), ("--layers", "--tensors"), ("--json",)])
def test_a_cold_start_needs_neither_mlx_nor_textual_and_little_memory(full: Written, wanted: tuple[str, ...]) -> None:
    code = (
        "import sys, pathlib\n"
        "from qwen_tui.cli import main\n"
        "code = main()\n"
        "loaded = {name.split('.')[0] for name in sys.modules}\n"
        "status = pathlib.Path('/proc/self/status')\n"
        "peak = int(status.read_text().split('VmHWM:')[1].split()[0]) if status.exists() else 0\n"
        "print(sorted(loaded & {'mlx', 'textual', 'torch', 'tokenizers', 'jinja2'}), peak, file=sys.stderr)\n"
        "sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "inspect", str(full.path), *wanted], capture_output=True, text=True, check=True
    )
    loaded, _, peak = done.stderr.strip().rpartition(" ")
    assert loaded == "[]"
    assert int(peak) < 150_000
    assert "\x1b" not in done.stdout


def test_the_help_needs_nothing_heavy() -> None:
    code = (
        "import sys\n"
        "from qwen_tui.cli import main\n"
        "assert main(['inspect', '--help']) == 0\n"
        "print([name for name in ('mlx', 'textual', 'rich', 'numpy', 'safetensors') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_whoever_reads_the_pipe_may_stop(full: Written) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", "import sys; from qwen_tui.cli import main; sys.exit(main())", "inspect", str(full.path),
         "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert process.stdout and process.stderr
        process.stdout.read(1)
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait() == 0


class Terminal:
    """Standard output that says it is a terminal, as wide as the environment says."""

    encoding = "utf-8"

    def __init__(self) -> None:
        self.text = ""

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        self.text += text
        return len(text)

    def flush(self) -> None:
        pass


@pytest.mark.parametrize("columns", [40, 72, 132])
@pytest.mark.parametrize("no_color", [False, True])
def test_a_terminal_has_its_width_and_its_colours_unless_told_otherwise(
    columns: int, no_color: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    if no_color:
        monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setattr("sys.stdout", terminal := Terminal())
    assert cli.main(["inspect"]) == 0
    harmless(ANSI.sub("", terminal.text), columns)
    assert bool(re.search(r"\x1b\[[0-9;]*\b3[0-7]m", terminal.text)) != no_color
    assert "lm_head" in terminal.text


def test_a_pipe_has_80_columns_whatever_the_terminal_behind_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    expected = inspected(capsys)
    for columns in ("40", "200"):
        monkeypatch.setenv("COLUMNS", columns)
        assert inspected(capsys) == expected


def test_without_a_directory_it_is_the_demo_model(capsys: pytest.CaptureFixture[str]) -> None:
    found = as_json(capsys)
    assert found["model"]["path"] == str(demo_model_path())
    assert inspected(capsys).startswith("demo model · UD-NVFP4_K_XL\n")


def test_a_name_of_the_hugging_face_cache(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    write_mixture(tmp_path / "models--owner--name" / "snapshots" / "0123456789abcdef", lambda _: None)
    assert inspected(capsys, "owner/name").startswith("name · bf16\n")


# Any mix of quantisations.


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Subject:
    """Up, down and the head in several formats, over 9 layers; gate alike everywhere; the rest in bf16."""

    def choose(module: str) -> Spec | None:
        layer = int(module.split(".")[1]) if module.startswith("layers.") else 0
        if module.endswith("gate_proj"):
            return SPECS[0]
        if module.endswith("up_proj"):
            return SPECS[0] if layer in (1, 2, 3, 7) else SPECS[4]
        if module.endswith("down_proj"):
            return SPECS[3] if layer == 5 else SPECS[4]
        return SPECS[2] if module == "lm_head" else None

    path = tmp_path_factory.mktemp("mixed")
    write_mixture(path, choose, default=SPECS[0], text={"num_hidden_layers": 9})
    return open_subject(path)


def test_mixed_formats_of_one_role_stand_apart_with_their_layers(mixed: Subject) -> None:
    rows = [row for row in role_rows(mixed.layout.modules) if row.label.startswith("mlp.")]
    assert [(row.label, row.first.format, len(row.modules), row.of) for row in rows] == [
        ("mlp.gate_proj / up_proj", "nvfp4 4-bit g16", 13, 18),
        ("mlp.up_proj", "affine 6-bit g64", 5, 9),
        ("mlp.down_proj", "affine 6-bit g64", 8, 9),
        ("mlp.down_proj", "affine 3-bit g32", 1, 9),
    ]
    text = report_text(report(mixed, mixed.layout.modules, Filters(), 160), 160)
    assert "5 of 9: layers 0, 4-6, 8" in " ".join(text.split())


@given(width=st.integers(20, 160), data=st.data())
@settings(max_examples=60)
def test_every_table_of_any_choice_fits_and_adds_up(mixed: Subject, width: int, data: st.DataObject) -> None:
    layout = mixed.layout
    roles = data.draw(st.lists(st.sampled_from(sorted({module.role for module in layout.modules})), max_size=3))
    modes = data.draw(st.lists(st.sampled_from(sorted({module.mode for module in layout.modules})), max_size=2))
    layers = data.draw(st.lists(st.sampled_from(["outside", "0-3,7", "8", "2-2", "4, 5"]), max_size=2))
    filters = Filters(tuple(roles), tuple(modes), tuple(layers))
    chosen = select(layout, filters)
    numbers = {
        "outside": [None], "0-3,7": [0, 1, 2, 3, 7], "8": [8], "2-2": [2], "4, 5": [4, 5]
    }  # fmt: skip
    places = [place for word in layers for place in numbers[word]]
    assert list(chosen) == [
        module
        for module in layout.modules
        if (not roles or module.role in roles)
        and (not modes or module.mode in modes)
        and (not layers or module.layer in places)
    ]
    rows = role_rows(chosen)
    assert sorted(module.canonical for row in rows for module in row.modules) == sorted(m.canonical for m in chosen)
    assert all(len({module.format for module in row.modules}) == 1 for row in rows)
    for table in (
        report(mixed, chosen, filters, width),
        layer_table(mixed, chosen, width),
        tensor_table(mixed, chosen, width),
    ):
        text = report_text(table, width)
        harmless(text, width)
        if "directory" in text:  # broken over lines where it has to be, and never cut
            assert f"directory{mixed.checkpoint.path}" in "".join(text.split())
    fields = json.loads(json_line(report_fields(mixed, chosen, filters)))
    assert [module["name"] for module in fields["modules"]] == [module.name for module in chosen]
    assert fields["totals"]["text_bytes"] == layout.text.nbytes
    if filters:
        assert fields["selection"]["modules"] == len(chosen)
        assert fields["selection"]["bytes"] == sum(module.nbytes for module in chosen)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--role", "upproj"], "gate_proj"),
        (["--mode", "mxfp8"], "affine, bf16, nvfp4"),
        (["--layer", "4"], "0-3"),
        (["--layer", "2-1"], "outside"),
        (["--layer", "0,,1"], "outside"),
        (["--layer", "\x1b[2J"], "0-3"),
        (["--role", "up_proj", "--role", ""], "up_proj"),
        (["--reference", "."], "--tensor"),
        (["--tensor", "x", "--role", "up_proj"], "one tensor"),
        (["--tensor", "x", "--compare", "."], "one tensor"),
        (["--compare", ".", "--layers"], "--compare"),
    ],
    ids=str,
)
@pytest.mark.parametrize("form", [[], ["--json"]])
def test_words_that_the_model_does_not_know_are_wrong_use(
    words: list[str], says: str, form: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["inspect", *words, *form]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert says in err.splitlines()[-1]
    assert err.replace("\n", "").isprintable()


def test_alignment_is_of_the_bytes_that_lie_well(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for offset, expected in ((0, "all"), (2, "all"), (1, "0 B (0 %) can be used")):
        write_mixture(tmp_path / str(offset), lambda _: None, offset=offset)
        assert f"alignment {expected}" in " ".join(inspected(capsys, tmp_path / str(offset)).split())
    found = as_json(capsys, tmp_path / "2")
    assert found["totals"]["mappable_bytes"] == found["totals"]["text_bytes"]
    assert all(module["offset"] % module["alignment"] == 0 for module in found["modules"])
    assert all(PAGE % module["alignment"] == 0 for module in found["modules"])


def test_a_summary_says_when_aligning_would_help(tmp_path: Path) -> None:
    """Data that begins off an element's size cannot be mapped; the same data aligned needs no advice."""
    for name, offset in (("off", 1), ("on", 0)):
        write_checkpoint(tmp_path / name, offset=offset, text={"vocab_size": 4096})
    assert "convert --realign" in (open_subject(tmp_path / "off").advice or "")
    assert open_subject(tmp_path / "on").advice is None


def test_a_stretched_context_is_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With the line that warns where another section would have stretched it, and does not count."""
    rope = {"rope_type": "yarn", "rope_theta": 1e7, "factor": 4.0, "original_max_position_embeddings": 262144}
    write_checkpoint(tmp_path, text={"rope_parameters": rope, "max_position_embeddings": 262144})
    assert "1,010,000 tokens: 262,144 stretched by YaRN, factor 4" in inspected(capsys, tmp_path)
    model = as_json(capsys, tmp_path)["model"]
    assert (model["max_position_embeddings"], model["yarn"]["factor"]) == (1_010_000, 4.0)
    edit_config(tmp_path, rope_scaling=rope)
    assert "YaRN in rope_scaling beside text_config stretches nothing" in " ".join(inspected(capsys, tmp_path).split())
