"""A shelf of conversations for the tests of the list of conversations."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.conversations_stage import Shelf, shelf


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Shelf]:
    here = shelf(tmp_path / "data")
    yield here
    here.thread.close()


@pytest.fixture(autouse=True)
def data(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
