"""What tests of the engine's process share."""

import os
from pathlib import Path

import pytest


@pytest.fixture
def pipe(tmp_path: Path) -> Path:
    """A named pipe by which a scripted session and its test wait for each other."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    return path
