"""NVIDIA's NVFP4 files in the layer map and in `inspect`: cells like other nvfp4, words that say whose they are."""

import json
from pathlib import Path
from typing import Any

import pytest

from qwen_core.checkpoint.directory import open_checkpoint
from qwen_tui import cli
from qwen_tui.layers.detail import header_lines
from qwen_tui.layers.facts import headline
from qwen_tui.layers.filter import matching
from qwen_tui.layers.legend import beside
from qwen_tui.layers.map_text import View
from support.layouts import drawn, map_at
from support.nvfp4_files import PARTS, WAYS, Nvfp4Files, write_nvfp4

WRITERS = {"modelopt": "modelopt", "compressed": "compressed-tensors", "mlx": ""}
UP = "layers.1.mlp.up_proj"


@pytest.fixture(scope="module", params=WAYS)
def files(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Nvfp4Files:
    return write_nvfp4(tmp_path_factory.mktemp("files") / request.param, request.param)


def as_json(capsys: pytest.CaptureFixture[str], path: Path, *options: str) -> dict[str, Any]:
    assert cli.main(["inspect", str(path), "--json", *options]) == 0
    return json.loads(capsys.readouterr().out)


def test_the_map_is_that_of_nvfp4_and_says_who_wrote_it(files: Nvfp4Files) -> None:
    checkpoint, layer_map = open_checkpoint(files.path), map_at(files.path)
    writer = WRITERS[files.way]
    assert next(row for row in drawn(layer_map, View(layer_map.places[UP])) if "ffn up" in row).count("N") == 4
    legend = "\n".join(line.plain for line in beside(layer_map, "mode", 60, 30))
    assert "N nvfp4 4-bit g16" in legend
    assert f"{writer or 'uniform'} nvfp4 4-bit g16" in headline(layer_map)
    for width, says in (
        (240, f"NVIDIA's NVFP4 as {writer} wrote it, read as it is"),
        (70, f"nvfp4 4-bit g16, {writer}"),
    ):
        lines = "\n".join(line.plain for line in header_lines(layer_map, checkpoint, layer_map.places[UP], width))
        assert not writer or says in lines
        assert max(map(len, lines.splitlines())) <= width
    found = matching(layer_map.layout, "modelopt")
    assert found == (frozenset(files.values) if files.way == "modelopt" else frozenset())


def test_inspect_says_it_in_words_and_in_json(files: Nvfp4Files, capsys: pytest.CaptureFixture[str]) -> None:
    writer = WRITERS[files.way]
    assert cli.main(["inspect", str(files.path)]) == 0
    words = " ".join(capsys.readouterr().out.split())
    assert (f"NVIDIA's NVFP4 as {writer} wrote it" in words) == bool(writer)
    found = as_json(capsys, files.path)
    assert found["model"]["writers"] == ([writer] if writer else [])
    modules = {module["name"].partition("layers.")[2]: module for module in found["modules"]}
    module = modules[UP.removeprefix("layers.")]
    assert (module["mode"], module["bits"], module["group_size"]) == ("nvfp4", 4, 16)
    assert module["writer"] == (writer or "mlx")
    assert [name.rpartition(".")[2] for name in module["tensors"]] == list(PARTS[files.way])
    assert {other["writer"] for other in found["modules"] if other["mode"] == "bf16"} == {"mlx"}


def test_the_values_of_a_tensor_are_to_the_bit_in_json(files: Nvfp4Files, capsys: pytest.CaptureFixture[str]) -> None:
    found = as_json(capsys, files.path, "--tensor", UP)
    wanted = files.values[UP]
    tensor = found.get("tensor", found)
    assert [row["values"] for row in tensor["first_rows"]] == wanted[:4, :8].tolist()
    assert tensor["factor"] > 0
    assert (tensor["minimum"], tensor["maximum"]) == (wanted.min(), wanted.max())
    assert cli.main(["inspect", str(files.path), "--tensor", UP]) == 0
    assert f"all times {tensor['factor']:.4g}" in " ".join(capsys.readouterr().out.split())
