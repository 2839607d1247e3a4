"""`qwen-tui inspect --compare`: what differs between two models, and nothing else."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qwen_tui import cli
from qwen_tui.commands.inspect_report.comparison import Comparison, compare
from qwen_tui.commands.inspect_report.comparison_lines import comparison_fields, comparison_lines
from qwen_tui.commands.inspect_report.selection import Filters
from qwen_tui.commands.inspect_report.subject import open_subject
from qwen_tui.text.safe import cells
from support.checkpoints import write_checkpoint
from support.mixtures import MATRICES, write_mixture
from support.published_plan import SMALL_MIXTURE, Spec, text_config, text_plan
from support.reports import report_text

SPECS = (None, Spec("nvfp4", 4, 16), Spec("mxfp8", 8, 32), Spec("affine", 4, 64), Spec("affine", 4, 32))
SMALL = {"num_hidden_layers": 4}
MODULES = [
    planned.name.removesuffix(".weight") for planned in text_plan(text_config(True, SMALL)) if planned.role in MATRICES
]


def opened(path: Path, choose: Any, **options: Any) -> Any:
    write_mixture(path, choose, **options)
    return open_subject(path)


def text_of(found: Comparison, width: int = 80) -> str:
    lines = report_text(comparison_lines(found, width), width).splitlines()
    assert all(line.isprintable() and cells(line) <= width for line in lines)
    return " ".join(" ".join(lines).split())


def test_a_model_compared_with_itself_is_alike(tmp_path: Path) -> None:
    one = opened(tmp_path, lambda _: SPECS[1])
    found = compare(one, one, Filters())
    assert found.differing == ()
    assert "All 56 modules are stored alike" in text_of(found)
    fields = comparison_fields(found)
    assert (fields["modules"], fields["compared"]) == ([], 56)
    assert fields["left"] == fields["right"]


@pytest.mark.parametrize("variant", ["bf16", "nvfp4"])
def test_experts_of_raw_files_and_of_mlx(variant: str, tmp_path: Path) -> None:
    """The same stacks under other names: alike where they are stored alike, and of a conversion what it changed."""
    write_checkpoint(tmp_path / "raw", "bf16", names="raw", text=SMALL_MIXTURE)
    write_checkpoint(tmp_path / "mlx", variant, text=SMALL_MIXTURE)
    raw, mlx = open_subject(tmp_path / "raw"), open_subject(tmp_path / "mlx")
    assert any(module.role == "experts.gate_up_proj" for module in raw.layout.modules)
    for left, right in ((raw, mlx), (mlx, raw)):
        found = compare(left, right, Filters())
        stacks = [pair for pair in found.pairs if "experts." in pair.name or "switch_mlp." in pair.name]
        assert len(stacks) == 3 * 4
        assert {pair.differences for pair in stacks} == {("spec",) if variant == "nvfp4" else ()}
        assert "only in" not in text_of(found)
        assert sum(module.nbytes for role in found.by_role() for module in role.left) == left.layout.text.nbytes
        assert sum(module.nbytes for role in found.by_role() for module in role.right) == right.layout.text.nbytes
        chosen = compare(left, right, Filters(roles=("switch_mlp.up_proj",)))
        assert len(chosen.pairs) == 4
    assert {pair.name for pair in compare(raw, raw, Filters()).pairs} == {m.canonical for m in raw.layout.modules}


def test_two_variants_of_the_27b(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    left, right = tmp_path / "nvfp4", tmp_path / "mxfp4"
    write_checkpoint(left, "nvfp4", full=True)
    write_checkpoint(right, "mxfp4", full=True)
    assert cli.main(["inspect", str(left), "--compare", str(right)]) == 0
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    for line in (
        "variant UD-NVFP4_K_XL UD-MXFP4_K_XL differs",
        "bytes per token 19,994,594,368 19,638,078,528 -356,515,840",
        "tensors 1,732 1,732 =",
        "mlp.gate_proj / up_proj nvfp4 4/16 mxfp4 4/32 6.42 GB -356.52 MB",
        "mlp.down_proj affine 5/64 affine 5/64 3.92 GB =",
        "128 of 851 modules differ:",
        "gate_proj nvfp4 4/16 -> mxfp4 4/32, layers 0-63",
        "up_proj nvfp4 4/16 -> mxfp4 4/32, layers 0-63",
    ):
        assert line in lines
    assert cli.main(["inspect", str(left), "--compare", str(right), "--json"]) == 0
    out = capsys.readouterr().out
    assert out.count("\n") == 1
    fields = json.loads(out)
    assert {module["role"] for module in fields["modules"]} == {"gate_proj", "up_proj"}
    assert all(module["differs"] == ["spec"] for module in fields["modules"])


def test_shapes_and_modules_that_only_one_has(tmp_path: Path) -> None:
    left = opened(tmp_path / "a", lambda _: None, tied=True, text={"num_hidden_layers": 4})
    right = opened(tmp_path / "b", lambda _: None, text={"num_hidden_layers": 5, "intermediate_size": 192})
    found = compare(left, right, Filters())
    differences = {pair.name: pair.differences for pair in found.differing}
    assert differences["lm_head"] == ("only right",)
    assert differences["layers.4.mlp.up_proj"] == ("only right",)
    assert differences["layers.2.mlp.down_proj"] == ("shape",)
    assert "layers.0.linear_attn.A_log" not in differences
    text = text_of(found)
    assert "up_proj 256x128 -> 192x128, layers 0-3" in text
    assert "lm_head only in B: bf16" in text
    assert "head tied yes no differs" in text
    assert compare(right, left, Filters()).differing[-1].differences in (("only left",), ("shape",))


def test_filters_know_the_words_of_both(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, spec in (("a", SPECS[1]), ("b", SPECS[2])):
        write_mixture(tmp_path / name, lambda _, spec=spec: spec)
    line = ["inspect", str(tmp_path / "a"), "--compare", str(tmp_path / "b"), "--role", "up_proj", "--layer", "1,3"]
    assert cli.main([*line, "--mode", "mxfp8", "--json"]) == 0
    names = [module["name"] for module in json.loads(capsys.readouterr().out)["modules"]]
    assert names == ["layers.1.mlp.up_proj", "layers.3.mlp.up_proj"]
    assert cli.main([*line, "--mode", "mxfp4"]) == 2
    assert "bf16, mxfp8, nvfp4" in capsys.readouterr().err


@given(data=st.data())
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_exactly_the_modules_that_were_changed_differ(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Whatever was written: the pairs that differ are those with another spec, from either side, in lines and JSON."""
    path = tmp_path_factory.mktemp("pair")
    base = dict.fromkeys(MODULES, data.draw(st.sampled_from(SPECS)))
    some = st.dictionaries(st.sampled_from(MODULES), st.sampled_from(SPECS), max_size=8)
    before, after = base | data.draw(some), base | data.draw(some)
    left = opened(path / "a", before.__getitem__, text=SMALL)
    right = opened(path / "b", after.__getitem__, text=SMALL)
    expected = {module for module in MODULES if before[module] != after[module]}
    for found in (compare(left, right, Filters()), compare(right, left, Filters())):
        assert {pair.name for pair in found.differing} == expected
        assert all(pair.differences == ("spec",) for pair in found.differing)
        fields = json.loads(json.dumps(comparison_fields(found)))
        assert {module["name"] for module in fields["modules"]} == expected
        for side in ("left", "right"):
            totals = fields[side]["totals"]
            assert sum(role[side]["bytes"] for role in fields["roles"]) == totals["text_bytes"]
            read = sum(role[side]["weight_bytes_per_token"] for role in fields["roles"])
            assert read == totals["weight_bytes_per_token"]
        text = text_of(found, data.draw(st.integers(20, 120)))
        assert ("stored alike" in text) == (not expected)
