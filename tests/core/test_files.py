"""JSON of a model directory: what is no JSON, or would be none when it is written again, is one line."""

from pathlib import Path

import pytest

from qwen_core.convert.writer import OutputDirectory
from qwen_core.errors import CheckpointError
from qwen_core.files import parse_json_object


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


def test_nothing_infinite_is_written(tmp_path: Path) -> None:
    with OutputDirectory(tmp_path / "out") as output, pytest.raises(ValueError, match="not JSON compliant"):
        output.write_json("config.json", {"a": float("inf")})
