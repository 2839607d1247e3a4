"""A whole model directory: the published 27B from its headers alone, and every layout in which the family is found."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from qwen_core.checkpoint.directory import open_checkpoint
from qwen_core.checkpoint.quantization import canonical_name
from support.checkpoints import Stored, Written, write_checkpoint, write_safetensors
from support.published_plan import VARIANTS


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Written:
    return write_checkpoint(tmp_path_factory.mktemp("full"), full=True)


def test_the_full_27b_is_what_was_published(full: Written) -> None:
    """FORMAT.md: 1,732 tensors, 21,949,061,600 bytes, 5 shards, 338 quantised modules, 210 overrides."""
    checkpoint = open_checkpoint(full.path)
    assert (len(checkpoint.tensors), checkpoint.total_bytes) == (1732, 21_949_061_600)
    assert len(checkpoint.shards) == 5
    assert len(checkpoint.specs) == 338
    assert list(checkpoint.spec_sources.values()).count("override") == 210
    assert checkpoint.spec_sources.keys() == checkpoint.specs.keys()
    assert checkpoint.converted
    vision = [t for name, t in checkpoint.tensors.items() if name.startswith("vision_tower.")]
    assert len(vision) == 333
    assert checkpoint.text_bytes + sum(t.nbytes for t in vision) == checkpoint.total_bytes


_PROBE = """
import json, resource, sys, time
from pathlib import Path
from qwen_core.checkpoint.directory import open_checkpoint
open_checkpoint(sys.argv[1])
status = Path("/proc/self/status")
peak = int(status.read_text().split("VmHWM:")[1].split()[0]) if status.exists() else None
print(json.dumps({"peak_kb": peak, "modules": [m for m in sys.modules if m.split(".")[0] in ("mlx", "torch")]}))
"""


def test_reading_the_27b_imports_no_mlx_and_stays_small(full: Written) -> None:
    """In a process of its own: nothing of MLX, and a peak under 100 MB, because no tensor byte is touched."""
    output = subprocess.run(
        [sys.executable, "-c", _PROBE, str(full.path)], check=True, capture_output=True, text=True
    ).stdout
    seen = json.loads(output)
    assert seen["modules"] == []
    if seen["peak_kb"] is not None:
        assert seen["peak_kb"] < 100_000


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_gives_its_specs_back(variant: str, tmp_path: Path) -> None:
    written = write_checkpoint(tmp_path, variant, full=True)
    checkpoint = open_checkpoint(tmp_path)
    assert {m: (s.mode, s.bits, s.group_size) for m, s in checkpoint.specs.items()} == {
        m: (s.mode, s.bits, s.group) for m, s in written.specs.items()
    }
    assert sorted(m for m, s in checkpoint.spec_sources.items() if s == "override") == sorted(written.overrides)
    assert set(checkpoint.text) == {canonical_name(n) for n in written.tensors if not n.startswith("vision_tower.")}


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"names": "raw"},
        {"names": "raw", "converted": True},
        {"names": "converted", "converted": False},
        {"names": "flat", "nested": False},
        {"names": "flat", "nested": True},
        {"tied": True},
        {"names": "raw", "tied": True, "nested": False},
        {"shard_cap": None},
        {"shard_cap": 100_000},
        {"text": {"linear_num_value_heads": 2}},
        {"text": {"linear_num_value_heads": 6, "num_attention_heads": 6, "num_key_value_heads": 3}},
        {"variant": "bf16", "float_dtype": "F32"},
        {"variant": "q4", "float_dtype": "F16"},
    ],
    ids=str,
)
def test_layouts_found_in_the_wild(options: dict[str, Any], tmp_path: Path) -> None:
    written = write_checkpoint(tmp_path, **options)
    checkpoint = open_checkpoint(str(tmp_path))
    assert checkpoint.converted == options.get("converted", options.get("names") != "raw")
    assert checkpoint.config.tie_word_embeddings == options.get("tied", False)
    assert {t.name: (t.dtype, t.shape, t.nbytes) for t in checkpoint.text.values()} == {
        name: (t.dtype, t.shape, t.nbytes) for name, t in written.tensors.items()
    }
    assert [shard.name for shard in checkpoint.shards] == written.files


def test_offsets_point_at_the_bytes(tmp_path: Path) -> None:
    written = write_checkpoint(tmp_path, shard_cap=200_000)
    checkpoint = open_checkpoint(tmp_path)
    for name, info in checkpoint.tensors.items():
        with info.file.open("rb") as file:
            file.seek(info.offset)
            assert file.read(info.nbytes) == written.tensors[name].data


def test_the_tensors_present_decide_the_head(tmp_path: Path) -> None:
    """A config that says tied does not hide an lm_head that is there."""
    write_checkpoint(tmp_path, config={"tie_word_embeddings": True})
    assert not open_checkpoint(tmp_path).config.tie_word_embeddings


def test_a_hugging_face_snapshot_of_links_opens(tmp_path: Path) -> None:
    """The cache keeps blobs beside snapshots whose every file is a link to ../../blobs."""
    written = write_checkpoint(tmp_path / "blobs", shard_cap=300_000)
    snapshot = tmp_path / "snapshots" / "0123abcd"
    snapshot.mkdir(parents=True)
    for file in written.path.iterdir():
        (snapshot / file.name).symlink_to(Path("../../blobs") / file.name)
    assert open_checkpoint(snapshot).total_bytes == written.total_bytes


def test_numbered_shards_need_no_index(tmp_path: Path) -> None:
    written = write_checkpoint(tmp_path, shard_cap=300_000)
    (tmp_path / "model.safetensors.index.json").unlink()
    assert open_checkpoint(tmp_path).total_bytes == written.total_bytes


@pytest.mark.parametrize("name", ["mtp.fc.weight", "model.visual.pos_embed.weight", "visual.x", "vision_tower.y"])
def test_towers_and_mtp_are_counted_and_left_aside(name: str, tmp_path: Path) -> None:
    written = write_checkpoint(tmp_path, "bf16", shard_cap=None)
    extra = written.tensors | {name: Stored("U8", (3,), b"abc")}
    write_safetensors(tmp_path / "model.safetensors", dict(sorted(extra.items())))
    checkpoint = open_checkpoint(tmp_path)
    assert checkpoint.total_bytes == checkpoint.text_bytes + 3
    assert name in checkpoint.tensors


def test_side_files_are_found_where_they_are(tmp_path: Path) -> None:
    write_checkpoint(tmp_path)
    bare = open_checkpoint(tmp_path)
    assert (bare.tokenizer_path, bare.template_source(), bare.generation_config) == (None, None, {})
    (tmp_path / "tokenizer.json").write_text("{}")
    (tmp_path / "generation_config.json").write_text('{"top_k": 20}')
    (tmp_path / "tokenizer_config.json").write_text('{"chat_template": "inside"}')
    found = open_checkpoint(tmp_path)
    assert found.tokenizer_path == tmp_path / "tokenizer.json"
    assert (found.template_source(), found.generation_config) == ("inside", {"top_k": 20})
    (tmp_path / "chat_template.jinja").write_text("beside ü")
    assert found.template_source() == "beside ü"
    (tmp_path / "chat_template.jinja").unlink()
    (tmp_path / "tokenizer_config.json").write_text(
        '{"chat_template": [{"name": "rag", "template": "no"}, {"name": "default", "template": "named"}]}'
    )
    assert found.template_source() == "named"
    (tmp_path / "chat_template.json").write_text('{"chat_template": "older"}')
    assert found.template_source() == "named"
    (tmp_path / "tokenizer_config.json").write_text("{}")
    assert found.template_source() == "older"
