"""Where a result may go: what a rename cannot replace is refused at the start, and long names are no obstacle."""

import os
from pathlib import Path

import pytest

from qwen_core.convert import writer
from qwen_core.errors import CheckpointError


def test_a_mount_point_is_refused_at_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Empty or not: the rename at the end could not replace it."""
    place = tmp_path / "disk"
    place.mkdir()
    monkeypatch.setattr("os.path.ismount", lambda path: Path(path) == place)
    with pytest.raises(CheckpointError, match="is a mount point: name a directory inside it"):
        writer.check_target(tmp_path / "raw", place)
    assert writer.check_target(tmp_path / "raw", place / "out") == place / "out"


@pytest.mark.parametrize("inner", ["", "out"])
def test_a_loop_of_links_is_one_line(inner: str, tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(CheckpointError, match=r"leads back to itself|does not exist") as caught:
        writer.check_target(tmp_path / "raw", tmp_path / "a" / inner)
    assert "\n" not in str(caught.value)


def test_a_loop_that_python_gives_back_is_seen_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Python 3.13's `resolve` raises nothing."""
    (tmp_path / "a").symlink_to("a")
    monkeypatch.setattr(Path, "resolve", Path.absolute)
    with pytest.raises(CheckpointError, match="leads back to itself"):
        writer.check_target(tmp_path / "raw", tmp_path / "a")


def test_a_path_that_cannot_be_resolved_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(path: Path) -> Path:
        raise OSError(40, "Too many levels of symbolic links", str(path))

    monkeypatch.setattr(Path, "resolve", fail)
    with pytest.raises(CheckpointError, match="cannot be used: Too many levels"):
        writer.check_target(tmp_path / "raw", tmp_path / "a")


@pytest.mark.parametrize("name", ["x" * 255, "ü" * 127, "x" + "🙂" * 63])
def test_a_name_as_long_as_names_may_be(name: str, tmp_path: Path) -> None:
    place = writer.check_target(tmp_path / "raw", tmp_path / name)
    with writer.OutputDirectory(place) as dead:
        left = dead.path
        assert len(os.fsencode(left.name)) <= 255
        assert left.name.startswith(f".{name[:50]}")
        left.name.encode()  # no half of a character
    left.mkdir()  # as a killed run leaves it
    with writer.OutputDirectory(place) as output:
        assert not left.exists()
        output.commit()
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize(("name", "is_cut"), [("x" * 237, False), ("x" * 238, True)])
def test_only_a_name_without_room_is_cut(name: str, is_cut: bool, tmp_path: Path) -> None:
    with writer.OutputDirectory(tmp_path / name) as output:
        assert (f".{name}." not in output.path.name) == is_cut
        assert len(output.path.name) == 255
