"""Reading one header against the safetensors library, and directories that the system will not let us read."""

import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.numpy import save

from qwen_core.checkpoint.directory import open_checkpoint
from qwen_core.checkpoint.headers import DTYPE_BITS, read_header
from qwen_core.errors import CheckpointError
from support.checkpoints import DTYPE_BYTES, Stored, write_checkpoint, write_safetensors

KINDS = {"U8": np.uint8, "I16": np.int16, "F16": np.float16, "U32": np.uint32, "F32": np.float32, "I64": np.int64}
NAMES = st.text(min_size=1, max_size=8).filter(lambda name: name != "__metadata__")
SHAPES = st.lists(st.integers(0, 5), max_size=4).map(tuple)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("headers") / "model.safetensors"


@given(tensors=st.dictionaries(NAMES, st.tuples(st.sampled_from(sorted(KINDS)), SHAPES), max_size=6))
def test_what_the_library_wrote_is_read_as_it_reads_it(
    tensors: dict[str, tuple[str, tuple[int, ...]]], file: Path
) -> None:
    """Any names, types and shapes, scalars and empty tensors too; offsets lead to the library's own bytes."""
    random = np.random.RandomState(0)
    arrays = {name: np.asarray(random.randint(0, 99, shape), KINDS[kind]) for name, (kind, shape) in tensors.items()}
    data = save(arrays, {"format": "mlx"})
    file.write_bytes(data)
    found = read_header(file)
    with safe_open(file, framework="numpy") as library:
        assert set(found) == set(library.keys())
        for name, info in found.items():
            view = library.get_slice(name)
            assert (info.dtype, list(info.shape)) == (view.get_dtype(), view.get_shape())
            assert data[info.offset : info.offset + info.nbytes] == library.get_tensor(name).tobytes()
            assert (info.name, info.file) == (name, file)


@pytest.mark.parametrize("dtype", sorted(set(DTYPE_BITS) - set(DTYPE_BYTES)))
def test_a_type_that_this_program_does_not_run_is_still_read(dtype: str, tmp_path: Path) -> None:
    """A vision tower may hold it. The library's own opinion of sizes counts: it refuses what does not fit."""
    path = tmp_path / "model.safetensors"
    nbytes = DTYPE_BITS[dtype]  # eight elements
    header = {"x": {"dtype": dtype, "shape": [2, 4], "data_offsets": [0, nbytes]}}
    blob = json.dumps(header).encode()
    path.write_bytes(len(blob).to_bytes(8, "little") + blob + b"\0" * nbytes)
    assert (read_header(path)["x"].dtype, read_header(path)["x"].nbytes) == (dtype, nbytes)


@pytest.mark.parametrize("offset", [None, 0, 1, 7, 63])
def test_data_may_begin_anywhere(offset: int | None, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    write_safetensors(path, {"a": Stored("U8", (3,), b"abc"), "b": Stored("BF16", (2,), b"defg")}, offset)
    found = read_header(path)
    data = path.read_bytes()
    assert [data[i.offset : i.offset + i.nbytes] for i in (found["a"], found["b"])] == [b"abc", b"defg"]
    if offset is not None:
        assert found["a"].offset % 64 == offset


@pytest.fixture
def mortal(tmp_path: Path) -> Iterator[Path]:
    """A checkpoint directory, as somebody whom permissions stop (root they do not)."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model"
        write_checkpoint(path, shard_cap=200_000)
        Path(folder).chmod(0o755)
        root = os.geteuid() == 0
        if root:
            os.seteuid(65534)
        try:
            yield path
        finally:
            if root:
                os.seteuid(0)
            path.chmod(0o755)


def deny(path: Path, mode: int) -> None:
    """Set the mode of `path`, whoever owns it."""
    current = os.geteuid()
    os.seteuid(os.getuid())
    path.chmod(mode)
    os.seteuid(current)


def complaint(path: Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        open_checkpoint(path)
    assert str(caught.value).isprintable()
    return str(caught.value)


@pytest.mark.parametrize("mode", [0o000, 0o444])
def test_a_directory_that_may_not_be_searched_is_one_line(mode: int, mortal: Path) -> None:
    open_checkpoint(mortal)
    deny(mortal, mode)
    assert str(mortal) in complaint(mortal)


def test_a_directory_that_may_not_be_listed_is_one_line(mortal: Path) -> None:
    deny(mortal / "model.safetensors.index.json", 0o000)
    assert "index.json cannot be read" in complaint(mortal)
    deny(mortal, 0o777)
    (mortal / "model.safetensors.index.json").unlink()
    open_checkpoint(mortal)
    deny(mortal, 0o311)
    assert f"{mortal} cannot be read" in complaint(mortal)


@pytest.mark.parametrize("name", ["config.json", "model-00002-of-00006.safetensors"])
def test_a_file_that_may_not_be_read_is_named(name: str, mortal: Path) -> None:
    deny(mortal / name, 0o000)
    assert f"{name} cannot be read" in complaint(mortal)


@pytest.mark.parametrize("name", ["x" * 300, "x" * 5000, "\ud800", "model.safetensors\n"])
def test_an_index_with_a_name_that_no_system_takes_is_one_line(name: str, tmp_path: Path) -> None:
    write_checkpoint(tmp_path)
    index = tmp_path / "model.safetensors.index.json"
    content = json.loads(index.read_text())
    content["weight_map"]["language_model.model.norm.weight"] = name
    index.write_text(json.dumps(content))
    if len(name) > 255:
        assert str(tmp_path) in complaint(tmp_path)
    else:  # no such file, and those that are there hold the whole model
        (warning,) = open_checkpoint(tmp_path).warnings
        assert warning.isprintable()
