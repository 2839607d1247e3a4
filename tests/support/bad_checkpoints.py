"""Small checkpoints for tests that spoil them, and the one line that opening a spoilt one gives."""

from pathlib import Path

import pytest

from qwen_core.checkpoint.directory import open_checkpoint
from qwen_core.errors import CheckpointError
from support.checkpoints import write_checkpoint

INDEX = "model.safetensors.index.json"
ONE = "model.safetensors"
FIRST, SECOND = (f"model-{number:05}-of-00006.safetensors" for number in (1, 2))  # of what `sharded` writes
UP = "language_model.model.layers.1.mlp.up_proj"


def complaint(path: Path) -> str:
    """What opening `path` is refused with."""
    with pytest.raises(CheckpointError) as caught:
        open_checkpoint(path)
    message = str(caught.value)
    assert message.isprintable()
    assert "Traceback" not in message
    return message


def sharded(path: Path) -> Path:
    write_checkpoint(path, shard_cap=200_000)
    return path


def single(path: Path) -> Path:
    write_checkpoint(path, shard_cap=None)
    return path
