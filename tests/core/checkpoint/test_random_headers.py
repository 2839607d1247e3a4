"""Random headers: whatever a header or config holds, opening it ends well or with one line for people."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qwen_core.checkpoint.directory import open_checkpoint
from qwen_core.errors import CheckpointError
from support.checkpoints import read_header_json, replace_header, write_checkpoint

ONE = "model.safetensors"


@pytest.fixture(scope="module")
def victim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("victim")
    write_checkpoint(path, shard_cap=None, text={"num_hidden_layers": 1})
    return path


def only_complains(path: Path) -> None:
    try:
        open_checkpoint(path)
    except CheckpointError as error:
        assert str(error).isprintable()


@given(data=st.data())
@settings(max_examples=150)
def test_random_damage_to_a_header_never_crashes(data: st.DataObject, victim: Path) -> None:
    """Bytes of a true header overwritten, inserted or removed at random."""
    original = (victim / ONE).read_bytes()
    try:
        length = int.from_bytes(original[:8], "little")
        damaged = bytearray(original)
        for _ in range(data.draw(st.integers(1, 4))):
            at = data.draw(st.integers(0, 8 + length))
            new = data.draw(st.binary(max_size=3) | st.sampled_from([b"0", b"-", b'"', b"}", b"{", b"[", b"null"]))
            damaged[at : at + data.draw(st.integers(0, 3))] = new
        if data.draw(st.booleans()):  # keep the length field true, so that the damage reaches the JSON
            damaged[:8] = (max(0, len(damaged) - (len(original) - length))).to_bytes(8, "little")
        (victim / ONE).write_bytes(damaged)
        only_complains(victim)
    finally:
        (victim / ONE).write_bytes(original)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=6,
)


@given(data=st.data())
@settings(max_examples=150)
def test_random_values_in_a_header_never_crash(data: st.DataObject, victim: Path) -> None:
    """Valid JSON with a random value at a random place of a true header or config."""
    name = data.draw(st.sampled_from([ONE, "config.json"]))
    file = victim / name
    original = file.read_bytes()
    try:
        tree = read_header_json(file) if name == ONE else json.loads(original)
        spot: Any = tree
        while True:
            keys = list(spot) if isinstance(spot, dict) else list(range(len(spot)))
            key = data.draw(st.sampled_from(keys))
            if isinstance(spot[key], dict | list) and spot[key] and data.draw(st.booleans()):
                spot = spot[key]
                continue
            spot[key] = data.draw(JSON)
            break
        if name == ONE:
            replace_header(file, tree)
        else:
            file.write_text(json.dumps(tree))
        only_complains(victim)
    finally:
        file.write_bytes(original)
