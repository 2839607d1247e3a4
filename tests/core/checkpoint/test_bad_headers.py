"""Headers made to cost time, memory or the terminal: refused before they are parsed, or opened and harmless."""

import json
import struct
from pathlib import Path
from typing import Any, NoReturn

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from qwen_core.checkpoint import headers
from qwen_core.checkpoint.directory import MAX_CONFIG_BYTES, open_checkpoint
from qwen_core.checkpoint.headers import FORMAT_HEADER_BYTES, MAX_HEADER_BYTES, MAX_TENSORS
from qwen_core.checkpoint.weight_files import MAX_INDEX_BYTES
from qwen_core.errors import MAX_MESSAGE, CheckpointError
from support.checkpoints import read_header_json, replace_header, write_checkpoint

ONE = "model.safetensors"
INDEX = "model.safetensors.index.json"
TOWER, TEXT = "vision_tower.", "language_model.model.layers.0.mlp."


def complaint(path: Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        open_checkpoint(path)
    message = str(caught.value)
    assert message.isprintable()
    assert len(message) <= MAX_MESSAGE
    return message


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small single-file model. Tests put its header back."""
    path = tmp_path_factory.mktemp("model")
    write_checkpoint(path, shard_cap=None, text={"num_hidden_layers": 1})
    return path


@pytest.fixture
def header(model: Path) -> Any:
    original = read_header_json(model / ONE)
    yield json.loads(json.dumps(original))
    replace_header(model / ONE, original)


def empty(header: dict[str, Any]) -> dict[str, Any]:
    """The entry of a tensor of no bytes after the last one, which is truthful."""
    end = max(entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__")
    return {"dtype": "U8", "shape": [0], "data_offsets": [end, end]}


def never(*_: object, **__: object) -> NoReturn:
    raise AssertionError("a header over the limit was parsed")


@pytest.mark.parametrize("length", [MAX_HEADER_BYTES + 1, FORMAT_HEADER_BYTES, FORMAT_HEADER_BYTES + 1, 1 << 62])
def test_a_long_header_is_refused_before_anything_reads_it(
    length: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file is a hole: only its length field is there. Neither the library nor the parser gets to see it."""
    monkeypatch.setattr(headers, "parse_json_object", never)
    monkeypatch.setattr(headers, "safe_open", never)
    write_checkpoint(tmp_path, shard_cap=None, text={"num_hidden_layers": 1})
    with (tmp_path / ONE).open("wb") as file:
        file.write(struct.pack("<Q", length))
        file.truncate(min(length, FORMAT_HEADER_BYTES) + 100)
    message = complaint(tmp_path)
    assert f"header of {length:,} bytes" in message
    assert ONE in message
    with pytest.raises(CheckpointError, match=f"header of {length:,} bytes"):
        headers.read_header(tmp_path / ONE)


def test_many_headers_that_are_short_enough_alone_are_refused_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(headers, "parse_json_object", never)
    write_checkpoint(tmp_path, shard_cap=None, text={"num_hidden_layers": 1})
    names = [f"{number}.safetensors" for number in range(3)]
    for name in names:
        with (tmp_path / name).open("wb") as file:
            file.write(struct.pack("<Q", MAX_HEADER_BYTES // 2))
            file.truncate(MAX_HEADER_BYTES)
    (tmp_path / INDEX).write_text(json.dumps({"weight_map": {name: name for name in names}}))
    message = complaint(tmp_path)
    assert f"headers of 3 files of {MAX_HEADER_BYTES // 2 * 3:,} bytes" in message


def test_a_header_as_long_as_allowed_is_read(model: Path, header: Any) -> None:
    blob = json.dumps(header).encode()
    replace_header(model / ONE, blob.ljust(MAX_HEADER_BYTES))
    assert len(open_checkpoint(model).tensors) == len(header) - 1
    replace_header(model / ONE, blob.ljust(MAX_HEADER_BYTES + 1))
    assert f"more than the {MAX_HEADER_BYTES:,}" in complaint(model)


def test_ten_thousand_tensors_open_and_too_many_are_refused(model: Path, header: Any) -> None:
    entry, own = empty(header), len(header) - 1
    header |= {f"{TOWER}{number}": entry for number in range(10_000)}
    replace_header(model / ONE, header)
    checkpoint = open_checkpoint(model)
    assert len(checkpoint.tensors) == own + 10_000
    assert len(checkpoint.text) == own
    header |= {f"{TOWER}{number}": entry for number in range(MAX_TENSORS)}
    replace_header(model / ONE, json.dumps(header, separators=(",", ":")).encode())
    assert f"header of {own + MAX_TENSORS:,} tensors" in complaint(model)


def test_too_many_tensors_over_several_files_are_refused(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, shard_cap=None, text={"num_hidden_layers": 1})
    weight_map: dict[str, str] = {}
    for file in "ab":
        entries = {
            f"{TOWER}{file}{number}": {"dtype": "U8", "shape": [0], "data_offsets": [0, 0]}
            for number in range(MAX_TENSORS // 2 + 1)
        }
        blob = json.dumps(entries, separators=(",", ":")).encode()
        (tmp_path / f"{file}.safetensors").write_bytes(struct.pack("<Q", len(blob)) + blob)
        weight_map |= dict.fromkeys(entries, f"{file}.safetensors")
    (tmp_path / INDEX).write_text(json.dumps({"weight_map": weight_map}))
    assert f"b.safetensors: with it there are more than {MAX_TENSORS:,} tensors" in complaint(tmp_path)


@given(name=st.text(st.characters(codec="utf-8"), max_size=40), length=st.sampled_from([0, 10_000]))
@example(name="\x1b]0;owned\x07\x7f\x9b31m\u202e\r\n", length=0)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
def test_any_name_is_kept_in_a_tower_and_quoted_in_a_complaint(
    name: str, length: int, model: Path, header: dict[str, Any]
) -> None:
    name += "x" * length
    replace_header(model / ONE, header | {TOWER + name: empty(header)})
    assert TOWER + name in open_checkpoint(model).tensors
    replace_header(model / ONE, header | {f"{TEXT}{name}?": empty(header)})
    assert "is not part of the architecture" in complaint(model)


@pytest.mark.parametrize("key", ["a", "\x1b[2J", "n" * 10_000], ids=["plain", "control", "long"])
def test_a_key_twice_is_named_and_bounded(key: str, model: Path, header: Any) -> None:
    entry = json.dumps(empty(header))
    doubled = f"{json.dumps(header)[:-1]}, {json.dumps(TOWER + key)}: {entry}, {json.dumps(TOWER + key)}: {entry}}}"
    replace_header(model / ONE, doubled.encode())
    message = complaint(model)
    assert f"key '{TOWER}" in message
    assert "occurs twice" in message or len(key) > 1000


@pytest.mark.parametrize(
    ("shape", "says"),
    [
        ([1] * 200_000 + [0], "200,001 dimensions"),
        ([1 << 63] * 32, "overflow"),
        ([[[]]] * 100_000, "expected usize"),
    ],
    ids=["long", "vast", "lists"],
)
def test_a_shape_that_would_take_long_to_print_is_cut(shape: Any, says: str, model: Path, header: Any) -> None:
    replace_header(model / ONE, header | {TOWER + "x": empty(header) | {"shape": shape}})
    assert says in complaint(model)


@pytest.mark.parametrize(("name", "limit"), [("config.json", MAX_CONFIG_BYTES), (INDEX, MAX_INDEX_BYTES)])
def test_a_long_config_or_index_is_refused_by_its_size(name: str, limit: int, tmp_path: Path) -> None:
    write_checkpoint(tmp_path, text={"num_hidden_layers": 1})
    with (tmp_path / name).open("r+b") as file:
        file.truncate(limit + 1)
    assert f"{name} has {limit + 1:,} bytes" in complaint(tmp_path)
