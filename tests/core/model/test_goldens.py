"""The forward pass against transformers' implementation in float32 (make_goldens.py wrote what it computes)."""

from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest

from qwen_core.model.model import load_model
from support.reference import CASES, MIXTURES, PROMPT, STRETCHED, Case, write_case

# Both sides are float32 and sum in different orders. Measured: 2e-5 to 2e-4.
TOLERANCE = 1e-3
GOLDENS = Path(__file__).resolve().parent / "goldens"


@pytest.mark.parametrize("case", (*CASES, *MIXTURES, *STRETCHED), ids=lambda case: case.name)
def test_logits_equal_transformers(case: Case, tmp_path: Path) -> None:
    expected = np.load(GOLDENS / f"{case.name}.npz")["logits"]
    write_case(case, tmp_path)
    model = load_model(tmp_path, "float32")
    state = model.new_state()
    rows = [np.array(model(mx.array([case.ids[:PROMPT]]), state)[0])]
    for token in case.ids[PROMPT:]:
        rows.append(np.array(model.last_logits(mx.array([[token]]), state)))
    difference = np.abs(np.concatenate(rows) - expected).max()
    print(f"{case.name}: largest difference {difference:.1e}")
    assert difference <= TOLERANCE
