"""What is wrong with a model's files and does no harm: said by inspect, doctor and above the layer map."""

import json
import shutil
from pathlib import Path

import pytest

from qwen_core.demo import demo_model_path
from qwen_tui import cli
from qwen_tui.commands import doctor
from support.app_stage import stage
from support.checkpoints import edit_config
from support.inspector_stage import below_rule, inspect

WARNING = "but config.json says affine 2-bit group 64 (override); the headers of the files count"


@pytest.fixture
def contradicted(tmp_path: Path) -> Path:
    """The demo model with a config.json that says otherwise of one module than its headers."""
    path = tmp_path / "contradicted"
    shutil.copytree(demo_model_path(), path)
    block = json.loads((path / "config.json").read_text())["quantization"]
    edit_config(path, quantization={**block, "model.layers.1.mlp.up_proj": {"bits": 2, "group_size": 64}})
    return path


def test_inspect_says_it(contradicted: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["inspect", str(contradicted)]) == 0
    assert WARNING in " ".join(capsys.readouterr().out.split())
    assert cli.main(["inspect", str(contradicted), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [WARNING in warning for warning in found["warnings"]] == [True]
    sources = {module["name"]: module["source"] for module in found["modules"]}
    assert [name for name, source in sources.items() if source == "headers"] == [
        "language_model.model.layers.1.mlp.up_proj"
    ]


def test_doctor_says_it_and_calls_it_no_problem(contradicted: Path) -> None:
    report = doctor.examine(str(contradicted))
    assert WARNING in report["model"]["warning"]
    assert report["problems"] == []


async def test_the_layer_map_says_it(contradicted: Path) -> None:
    async with stage(size=(160, 45)) as here:
        screen = await inspect(here, contradicted)
        assert WARNING in here.lines()[2]
        opened = screen.inspection.opened
        assert opened is not None
        screen.go_to(opened.layer_map.layout.index["layers.1.mlp.up_proj"])
        await here.settle()
        assert "told by its headers" in below_rule(here)


async def test_where_there_is_one_line_it_says_how_many(contradicted: Path) -> None:
    async with stage(size=(60, 20)) as here:
        await inspect(here, contradicted)
        assert here.lines()[1].startswith(" 1 warning · 4 layers")
