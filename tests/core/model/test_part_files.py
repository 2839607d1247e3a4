"""What a saved state says of the other ranks' files comes from a file: it names one in their folder, or is refused."""

from pathlib import Path

import mlx.core as mx
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from qwen_core.model.part_files import PartsName

FOLDER = Path("/somewhere/states")


@given(wanted=st.text(max_size=60))
@example(wanted="")
@example(wanted="../x")
def test_any_name_becomes_one_of_a_file_in_the_folder(wanted: str) -> None:
    parts = PartsName.new(wanted)
    assert PartsName.of_array(parts.array()) == parts
    assert parts.file(FOLDER, 3).parent == FOLDER
    assert PartsName.new(wanted).mark != parts.mark, "each time has its own"


@given(stored=st.binary(max_size=100))
@example(stored=b"../x 0123456789abcdef")
@example(stored=b"x/y 0123456789abcdef")
@example(stored=b"x 0123456789abcde/")
@example(stored=b"x\n 0123456789abcdef")
def test_nothing_else_is_a_name(stored: bytes) -> None:
    with pytest.raises(ValueError, match="does not say where"):
        PartsName.of_array(mx.array(list(stored), mx.uint8))


def test_only_a_name_leads_to_a_file() -> None:
    with pytest.raises(ValueError, match="no name"):
        PartsName("../x", "0123456789abcdef").file(FOLDER, 1)
    with pytest.raises(ValueError, match="does not say where"):
        PartsName.of_array(mx.zeros((1 << 20,), mx.uint8))
    with pytest.raises(ValueError, match="one machine"):
        PartsName.of_array(None)
