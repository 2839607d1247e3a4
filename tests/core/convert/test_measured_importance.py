"""The importance that the table in README.md goes by: every projection is heard, with what it is given."""

from pathlib import Path

import numpy as np
import pytest

from measure_quantisation import DOCUMENT, parse, with_table
from qwen_core.checkpoint.architecture import text_tensors
from qwen_core.checkpoint.directory import open_checkpoint
from qwen_core.convert.quality import Text
from support.conversion import write_raw
from support.measured_importance import measured_importance


def test_every_projection_is_heard_with_what_it_is_given(tmp_path: Path) -> None:
    source = write_raw(tmp_path / "raw")
    config = open_checkpoint(source).config
    found = measured_importance(source, Text(tuple(range(60)), 512))
    matrices = [tensor for tensor in text_tensors(config, lm_head=True) if tensor.is_matrix]
    shapes = {tensor.module: tensor.shape for tensor in matrices if tensor.module != "embed_tokens"}
    assert {module: (len(values),) for module, values in found.items()} == {m: s[-1:] for m, s in shapes.items()}
    for layer in range(config.num_hidden_layers):
        gate, up = (found[f"layers.{layer}.mlp.{name}_proj"] for name in ("gate", "up"))
        assert np.array_equal(gate, up)
        # Behind a norm the mean square of a token is 1, times the norm's own weights of about 1.
        assert 0.3 < gate.mean() < 3


def test_the_table_is_what_the_script_would_write_of_its_rows() -> None:
    document = DOCUMENT.read_text(encoding="utf-8")
    rows = parse(document)
    assert [row.variant for row in rows] == ["q3", "q4", "nvfp4"] * 3
    assert with_table(document, rows) == document
    assert all(row.fitted <= 0.85 * row.plain for row in rows)
    assert all(row.searched <= min(row.plain, row.fixed) for row in rows)
    assert [row.searched / row.plain for row in rows] == pytest.approx([1] * 9, abs=0.1)
