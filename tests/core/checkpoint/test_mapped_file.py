"""Windows of whole pages, and views on a mapped file whose pages come and go."""

import mmap
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwen_core.checkpoint.headers import TensorInfo
from qwen_core.checkpoint.mapped_file import MappedFile, window
from qwen_core.errors import CheckpointError
from support.resident import linux_only, resident_bytes

SIZE = 3 * mmap.PAGESIZE + 1234  # ends inside a page, as files do


@pytest.fixture(scope="module")
def contents() -> bytes:
    return np.random.RandomState(0).bytes(SIZE)


@pytest.fixture(scope="module")
def path(contents: bytes, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("mapped") / "weights"
    file.write_bytes(contents)
    return file


def info(path: Path, offset: int, nbytes: int) -> TensorInfo:
    return TensorInfo("some.tensor", "U8", (nbytes,), path, offset, nbytes)


@given(
    offset=st.integers(0, 1 << 45),
    nbytes=st.integers(1, 1 << 40),
    page=st.sampled_from([4096, 16384, 65536]),
)
def test_a_window_is_the_smallest_run_of_pages_that_covers_a_tensor(offset: int, nbytes: int, page: int) -> None:
    start, length, delta = window(offset, nbytes, page)
    assert start % page == length % page == 0
    assert start + delta == offset
    assert 0 <= delta < page, "no page before the tensor's first"
    assert delta + nbytes <= length < delta + nbytes + page, "no page behind its last"


@given(data=st.data())
def test_views_are_the_bytes_of_the_file(data: st.DataObject, contents: bytes, path: Path) -> None:
    offset = data.draw(st.integers(0, SIZE - 1))
    nbytes = data.draw(st.integers(1, SIZE - offset))
    file = MappedFile(path)
    tensor = info(path, offset, nbytes)
    assert file.bytes_of(tensor).tobytes() == contents[offset : offset + nbytes]
    pages, delta = file.window_of(tensor)
    assert pages[delta : delta + nbytes].tobytes() == contents[offset : offset + nbytes]
    assert pages.ctypes.data % mmap.PAGESIZE == 0, "the window begins on a page in memory too"
    whole = pages.size % mmap.PAGESIZE == 0
    assert whole or offset + nbytes > SIZE // mmap.PAGESIZE * mmap.PAGESIZE, "only the file's last page may be cut"
    file.pre_read(tensor)
    assert file.bytes_of(tensor).tobytes() == contents[offset : offset + nbytes]
    file.close()


@linux_only
def test_reading_brings_in_the_pages_of_a_tensor(tmp_path: Path) -> None:
    size = 8 << 20
    path = tmp_path / "large"
    path.write_bytes(b"\1" * size)
    file = MappedFile(path)
    first = info(path, 0, size // 2)
    assert resident_bytes(path) == 0
    file.pre_read(first)
    read = resident_bytes(path)
    assert size // 2 <= read < size, "its pages, and not the whole file"
    file.close()


def test_a_file_that_became_shorter_names_itself_and_the_tensor(path: Path) -> None:
    file = MappedFile(path)
    inside, beyond = info(path, SIZE - 10, 10), info(path, SIZE - 10, 11)
    assert file.bytes_of(inside).size == 10
    for read in (file.bytes_of, file.window_of, file.pre_read):
        with pytest.raises(CheckpointError, match=r"weights became shorter while tensor some\.tensor"):
            read(beyond)
    file.close()


def test_a_file_cut_while_it_is_mapped_is_noticed_before_its_lost_pages_are_read(tmp_path: Path) -> None:
    path = tmp_path / "weights"
    path.write_bytes(bytes(SIZE))
    file = MappedFile(path)
    kept, lost = info(path, 0, mmap.PAGESIZE), info(path, mmap.PAGESIZE, mmap.PAGESIZE)
    assert file.bytes_of(lost).size == mmap.PAGESIZE
    os.truncate(path, mmap.PAGESIZE)
    assert not file.bytes_of(kept).any()
    with pytest.raises(CheckpointError, match="became shorter"):
        file.bytes_of(lost)
    file.close()


def test_what_cannot_be_mapped_says_so_with_an_error_that_the_loader_knows(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    for name in ("empty", "absent"):
        with pytest.raises((OSError, ValueError)):
            MappedFile(tmp_path / name)


def test_closing_lets_go_unless_a_view_still_looks(contents: bytes, path: Path) -> None:
    file = MappedFile(path)
    view = file.bytes_of(info(path, 5, 100))
    file.close()
    assert view.tobytes() == contents[5:105]
    file.close()
    alone = MappedFile(path)
    alone.close()
    with pytest.raises(CheckpointError):
        alone.bytes_of(info(path, 0, 1))
