"""Headers of importance matrices that claim more than their file has: refused at once, before the gguf reader."""

import struct
import tracemalloc
import warnings
from pathlib import Path

import gguf
import numpy as np
import pytest

from qwen_core.checkpoint.config import ModelConfig
from qwen_core.checkpoint.directory import open_checkpoint
from qwen_core.convert.gguf_bounds import MAX_ENTRIES, check_bounds
from qwen_core.convert.imatrix import read_imatrix
from qwen_core.errors import CheckpointError
from support.conversion import write_raw
from support.importance import random_importance, write_imatrix

U8, STRING, ARRAY = 0, 8, 9


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> ModelConfig:
    return open_checkpoint(write_raw(tmp_path_factory.mktemp("bounds") / "raw")).config


def head(tensors: int, keys: int) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", 3, tensors, keys)


def text(value: bytes) -> bytes:
    return struct.pack("<Q", len(value)) + value


def array(inner: int, length: int) -> bytes:
    return struct.pack("<IQ", inner, length)


KEY = text(b"a") + struct.pack("<I", ARRAY)
BAD = {
    "array": head(0, 1) + KEY + array(4, 2**33),
    "array of strings": head(0, 1) + KEY + array(STRING, 2**33),
    "array that no importance matrix has": head(0, 1) + KEY + array(U8, MAX_ENTRIES + 1) + bytes(MAX_ENTRIES + 1),
    "nested": head(0, 1) + KEY + array(ARRAY, 1) * 5000 + array(U8, 1) + b"1",
    "nested lengths": head(0, 1) + KEY + array(ARRAY, 1) + array(ARRAY, 2**40),
    "keys": head(0, 2**40),
    "tensors": head(2**40, 0),
    "key": head(0, 1) + struct.pack("<Q", 2**62),
    "string": head(0, 1) + text(b"a") + struct.pack("<IQ", STRING, 2**62),
    "dimensions": head(1, 0) + text(b"t") + struct.pack("<I", 2**31),
    "type": head(0, 1) + text(b"a") + struct.pack("<I", 77),
    "cut short": head(0, 1) + text(b"a")[:-1],
    "other byte order": b"GGUF" + struct.pack(">IQQ", 3, 0, 1) + struct.pack(">QcIIQ", 1, b"a", ARRAY, 4, 2**33),
}


@pytest.mark.parametrize("case", BAD)
def test_what_the_file_has_no_room_for_is_damage(
    case: str, config: ModelConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gguf, "GGUFReader", lambda path: pytest.fail("its reader takes such counts at their word"))
    (tmp_path / "bad.gguf").write_bytes(BAD[case])
    with pytest.raises(CheckpointError, match="is damaged") as caught:
        read_imatrix(tmp_path / "bad.gguf", config)
    assert "\n" not in str(caught.value)
    assert "ValueError" in str(caught.value)  # not what the walk itself stumbled over


def test_every_kind_of_value_may_be_there(tmp_path: Path) -> None:
    """As the gguf package writes them, in both byte orders."""
    for order in gguf.GGUFEndian:
        path = tmp_path / order.name
        writer = gguf.GGUFWriter(path, "imatrix", endianess=order)
        writer.add_array("strings", ["one", "", "three"])
        writer.add_array("numbers", [1, 2, 3])
        writer.add_array("empty", [])
        writer.add_float64("f", 1.5)
        writer.add_bool("b", True)
        writer.add_uint16("u", 7)
        writer.add_string("s", "text")
        writer.add_tensor("t", np.ones((2, 3, 4), np.float32))
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        assert check_bounds(path, "t")
        assert not check_bounds(path, ".in_sum2")


def test_a_model_is_told_from_its_names_alone(
    config: ModelConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its reader makes objects of every word of the vocabulary."""
    monkeypatch.setattr(gguf, "GGUFReader", lambda path: pytest.fail("read for nothing"))
    data = head(1, 0) + text(b"blk.0.ffn_up.weight") + struct.pack("<IQIQ", 1, 1000, 0, 0)
    (tmp_path / "model.gguf").write_bytes(data + bytes(-len(data) % 32) + bytes(4000))
    with pytest.raises(CheckpointError, match=r"holds no tensors \*\.in_sum2"):
        read_imatrix(tmp_path / "model.gguf", config)


def test_of_other_tensors_nothing_is_copied(config: ModelConfig, tmp_path: Path) -> None:
    good = random_importance(config, 1)
    path = write_imatrix(tmp_path / "good", good, config.num_hidden_layers)
    large = np.zeros(32 << 20, np.uint8).view(np.float32)
    writer = gguf.GGUFWriter(tmp_path / "both", "imatrix")
    writer.add_tensor("blk.0.ffn_up.weight", large)
    for tensor in gguf.GGUFReader(path).tensors:
        writer.add_tensor(tensor.name, np.array(tensor.data))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    tracemalloc.start()
    try:
        found = read_imatrix(tmp_path / "both", config)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert set(found) == set(good)
    assert peak < large.nbytes // 2


def test_tensors_that_lie_over_one_another_are_not_copied(config: ModelConfig, tmp_path: Path) -> None:
    names = [f"blk.0.t{number}.in_sum2".encode() for number in range(50)]
    infos = b"".join(text(name) + struct.pack("<IQIQ", 1, 1000, 0, 0) for name in names)
    data = head(len(names), 0) + infos
    (tmp_path / "bad.gguf").write_bytes(data + bytes(-len(data) % 32) + bytes(4000))
    with pytest.raises(CheckpointError, match="more bytes than the file"):
        read_imatrix(tmp_path / "bad.gguf", config)


def test_an_offset_behind_all_numbers_is_one_line_alone(config: ModelConfig, tmp_path: Path) -> None:
    data = head(1, 0) + text(b"blk.0.t.in_sum2") + struct.pack("<IQIQ", 1, 1, 0, (1 << 64) - 1)
    (tmp_path / "bad.gguf").write_bytes(data + bytes(100))
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        with pytest.raises(CheckpointError) as caught:
            read_imatrix(tmp_path / "bad.gguf", config)
    assert "RuntimeWarning" not in str(caught.value)


@pytest.mark.parametrize(
    ("count", "value"), [(np.inf, np.inf), (np.inf, 1.0), (np.nan, 1.0), (1e-45, 3e38), (1.0, 1e300)]
)
def test_numbers_that_are_none_are_said_in_one_line_alone(
    count: float, value: float, config: ModelConfig, tmp_path: Path
) -> None:
    path = write_imatrix(tmp_path / "good", random_importance(config, 1), config.num_hidden_layers)
    writer = gguf.GGUFWriter(tmp_path / "bad", "imatrix")
    for tensor in gguf.GGUFReader(path).tensors:
        if tensor.name.startswith("blk.0.ffn_up."):
            number = count if tensor.name.endswith(".counts") else value
            writer.add_tensor(tensor.name, np.full(tensor.data.shape, number, np.float64))
        else:
            writer.add_tensor(tensor.name, np.array(tensor.data))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(CheckpointError, match=r"ffn_up.*damaged"):
            read_imatrix(tmp_path / "bad", config)
