"""Screens as committed text and styles, one file each: `pytest --snapshot-update` writes them anew."""

from syrupy.extensions.single_file import SingleFileSnapshotExtension, WriteMode


class ScreenText(SingleFileSnapshotExtension):
    """The very text, so that a difference reads as the screen does. pyproject.toml makes it what `snapshot` means."""

    _write_mode = WriteMode.TEXT
    file_extension = "txt"
