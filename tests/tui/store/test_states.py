"""Saved states go with their conversations, and with the programs that were killed while they wrote them."""

import os
import subprocess
import sys
from pathlib import Path

from support.stores import opened


def saved(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def files(number: int) -> set[str]:
    """Of one conversation: rank 0's, and another rank's part."""
    return {f"{number}.safetensors", f"{number}.rank1.safetensors"}


def test_a_state_goes_when_its_conversation_is_deleted_and_the_rest_when_a_program_starts(tmp_path: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    states = tmp_path / "states"
    states.mkdir()
    with opened(tmp_path) as store:
        kept, deleted, purged = (store.conversations.begin(title=name) for name in ("a", "b", "c"))
        for number in (kept, deleted, purged):
            (states / f"{number}.safetensors").write_bytes(b"x")
            (states / f"{number}.rank1.safetensors").write_bytes(b"x")
        store.conversations.delete(deleted)
        assert saved(states) == files(kept) | files(purged)
        store.conversations.restore(deleted)
        store.database.read("DELETE FROM conversations WHERE id = ?", (purged,))
    for name in files(kept):
        (states / f".{name}.{ended.pid}.safetensors").write_bytes(b"half")
    being_saved = f".{kept}.safetensors.{os.getppid()}.safetensors"
    (states / being_saved).write_bytes(b"half")
    # A number that is used again: this process has saved nothing yet.
    (states / f".{kept}.safetensors.{os.getpid()}.safetensors").write_bytes(b"half")
    (states / "notes.txt").write_text("not ours")
    with opened(tmp_path):
        assert saved(states) == files(kept) | {being_saved, "notes.txt"}


def test_a_state_that_cannot_be_removed_keeps_nothing_from_being_opened(tmp_path: Path) -> None:
    (tmp_path / "states" / "7.safetensors").mkdir(parents=True)
    with opened(tmp_path) as store:
        assert store.conversations.listed() == []
