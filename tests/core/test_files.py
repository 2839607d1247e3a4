"""JSON that is none, or would be none when it is written again, is one line; what is written is private and whole."""

from pathlib import Path

import pytest

from qwen_core.convert.writer import OutputDirectory
from qwen_core.errors import CheckpointError
from qwen_core.files import parse_json_object, strict_json, write_private


@pytest.mark.parametrize("literal", ["1e999", "-1e999", "1" * 400 + ".0", '[2, {"b": 1.8e308}]'])
def test_a_number_that_would_become_infinite_is_refused(literal: str) -> None:
    with pytest.raises(CheckpointError, match=r"^config\.json: not valid JSON: the number .* is too large") as caught:
        parse_json_object(f'{{"a": {literal}}}'.encode(), "config.json")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("literal", ["NaN", "Infinity", "-Infinity"])
def test_a_constant_that_is_no_number_is_refused(literal: str) -> None:
    with pytest.raises(CheckpointError, match=f"{literal} is not a JSON number"):
        parse_json_object(f'{{"a": {literal}}}'.encode(), "config.json")


def test_numbers_stay_what_they_are() -> None:
    data = b'{"a": 1.7e308, "b": -0.0, "c": 1e-999, "d": 12345678901234567890, "e": 1E-6}'
    value = parse_json_object(data, "config.json")
    assert value == {"a": 1.7e308, "b": 0.0, "c": 0.0, "d": 12345678901234567890, "e": 1e-6}
    assert [type(number) for number in value.values()] == [float, float, float, int, float]


@pytest.mark.parametrize("value", ["{},", "[],", "0,", '"",'])
def test_values_are_counted_before_they_are_built(value: str) -> None:
    text = f"[{value * 999_990}0]"
    with pytest.raises(ValueError, match="values, more than the 99 it may have"):
        strict_json(text, 99)
    if value == "0,":
        assert len(strict_json(text)) == 999_991


def test_nothing_infinite_is_written(tmp_path: Path) -> None:
    with OutputDirectory(tmp_path / "out") as output, pytest.raises(ValueError, match="not JSON compliant"):
        output.write_json("config.json", {"a": float("inf")})


@pytest.mark.parametrize("new", [True, False])
def test_a_private_file_is_its_owners_alone_and_whole_or_not_there(
    new: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    write_private(path, b"first", new=new)
    assert (path.read_bytes(), path.stat().st_mode & 0o777) == (b"first", 0o600)
    if new:
        with pytest.raises(FileExistsError):
            write_private(path, b"second", new=True)
        path.unlink()

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_private(path, b"second", new=new)
    assert [(file.name, file.read_bytes()) for file in tmp_path.iterdir()] == ([] if new else [("file", b"first")])


def test_a_new_file_appears_when_all_of_it_is_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that one killed meanwhile leaves no part of it under its name; which may be as long as names can be."""
    path, seen = tmp_path / ("x" * 255), []
    monkeypatch.setattr("os.fsync", lambda _: seen.append(path.exists()))
    write_private(path, b"whole", new=True)
    assert seen == [False]
    assert [(file.name, file.read_bytes()) for file in tmp_path.iterdir()] == [(path.name, b"whole")]


def test_what_a_link_leads_to_is_written_and_not_the_link(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "file")
    for text in (b"first", b"second"):
        write_private(tmp_path / "link", text)
        assert (tmp_path / "link").is_symlink()
        assert (tmp_path / "file").read_bytes() == text
