"""One answer through two models: NumPy's divergences, 0 for equal ones, and a temporary file that never stays."""

import math
from collections.abc import Iterator
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwen_core.checkpoint.directory import open_checkpoint
from qwen_core.demo import demo_model_path
from qwen_core.errors import CapacityError, QwenError, SettingsError, TextError
from qwen_core.protocol.comparison import quantile
from qwen_core.session import comparison, scoring
from qwen_core.session.comparison import Answer, Kept, check_same_tokens
from qwen_core.session.completion import Completion, load_completion
from qwen_core.text.tokenizer import load_tokenizer
from support.demo_variant import write_demo_variant
from support.text import write_text_files

PROMPT = [3001, 292, 274, 198, 459, 264, 268, 273, 265, 812, 30, 3002, 198, 3001, 1427, 335, 198, 3024, 640, 3025, 640]
IDS = [275, 273, 265, 812, 264, 660, 13, 5, 9, 40, 660, 3002]


@pytest.fixture(scope="module")
def one() -> Iterator[Completion]:
    with load_completion(demo_model_path(), dtype="float32") as opened:
        yield opened


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Completion]:
    path = write_demo_variant(tmp_path_factory.mktemp("demo") / "q2", 2)
    with load_completion(path, dtype="float32") as opened:
        yield opened


def never() -> bool:
    return False


def told(done: int, total: int) -> None:
    assert done <= total


def logs(model: Completion) -> np.ndarray:
    """ln of every token's probability at each step of the answer, in float64 from one pass over all of it."""
    ids = mx.array([PROMPT + IDS])
    logits = np.array(model.model(ids, model.model.new_state())[0])[len(PROMPT) - 1 : -1].astype(np.float64)
    shifted = logits - logits.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))


def test_the_model_that_computes_no_numbers_is_named(
    one: Completion, other: Completion, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Kept(Answer(PROMPT, IDS), 8) as kept:
        assert kept.read_by(one.loaded, never, told)
        no_numbers = mx.full((len(IDS), 3072), math.nan)
        monkeypatch.setattr(comparison, "predictions", lambda *_: iter([(no_numbers, IDS)]))
        with pytest.raises(QwenError, match="the model q2 computes no numbers at token 1:"):
            kept.against(other.loaded, never, told)


def test_divergences_are_what_the_definition_says(
    one: Completion, other: Completion, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scoring, "ROWS", 5)
    with Kept(Answer(PROMPT, IDS), one.model.config.vocab_size) as kept:
        assert kept.read_by(one.loaded, never, told)
        found = kept.against(other.loaded, never, told)
    assert found is not None
    p, q = logs(one), logs(other)
    expected = (np.exp(p) * (p - q)).sum(-1)
    # Measured: 2e-6. Logits in chunks and of one pass sum in another order.
    np.testing.assert_allclose(found.divergences, expected, rtol=1e-3, atol=1e-4)
    assert found.mean == pytest.approx(expected.mean(), abs=1e-4)
    assert found.percentile(0.99) == pytest.approx(np.quantile(expected, 0.99), abs=1e-4)
    assert found.parted == np.flatnonzero(p.argmax(-1) != q.argmax(-1)).tolist() != []
    np.testing.assert_allclose(found.a.logprobs(), p[range(len(IDS)), IDS], atol=1e-4)
    np.testing.assert_allclose(found.b.logprobs(), q[range(len(IDS)), IDS], atol=1e-4)


def test_a_model_against_itself_is_exactly_nothing(one: Completion) -> None:
    with Kept(Answer(PROMPT, IDS), one.model.config.vocab_size) as kept:
        assert kept.read_by(one.loaded, never, told)
        found = kept.against(one.loaded, never, told)
    assert found is not None
    assert found.divergences == (0.0,) * len(IDS)
    assert found.a == found.b
    assert (found.mean, found.percentile(0.99), found.parted) == (0.0, 0.0, [])


def test_ids_that_one_alone_has_do_not_count(one: Completion, other: Completion) -> None:
    with Kept(Answer(PROMPT, IDS), 3050) as kept:
        assert kept.read_by(one.loaded, never, told)
        found = kept.against(other.loaded, never, told)
    assert found is not None
    p, q = (each[:, :3050] - np.log(np.exp(each[:, :3050]).sum(-1, keepdims=True)) for each in (logs(one), logs(other)))
    np.testing.assert_allclose(found.divergences, (np.exp(p) * (p - q)).sum(-1), rtol=1e-3, atol=1e-4)


def test_a_stop_and_a_full_disk_leave_no_file(one: Completion, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full:
        closed = False

        def write(self, data: object) -> None:
            raise OSError(28, "No space left on device")

        def close(self) -> None:
            self.closed = True

    full = Full()
    monkeypatch.setattr(comparison.tempfile, "TemporaryFile", lambda **_: full)
    with (
        pytest.raises(CapacityError, match=r"are needed in .*: No space left on device; ask for fewer --max-tokens"),
        Kept(Answer(PROMPT, IDS), 3072) as kept,
    ):
        kept.read_by(one.loaded, never, told)
    assert full.closed
    monkeypatch.undo()
    with Kept(Answer(PROMPT, IDS), 3072) as kept:
        assert not kept.read_by(one.loaded, lambda: True, told)
        assert kept.read_by(one.loaded, never, told)
        assert kept.against(one.loaded, lambda: True, told) is None
    assert kept._file.closed


def test_an_empty_answer_is_one_line() -> None:
    with pytest.raises(SettingsError, match="nothing to compare"):
        Kept(Answer(PROMPT, []), 10)


def test_other_tokens_are_refused_and_equal_ones_are_not(tmp_path: Path) -> None:
    demo = load_tokenizer(open_checkpoint(demo_model_path()))
    write_demo_variant(tmp_path / "same", 4)
    check_same_tokens(demo, load_tokenizer(open_checkpoint(tmp_path / "same")))
    check_same_tokens(demo, None)
    write_text_files(tmp_path / "same")
    with pytest.raises(TextError, match="has other tokens than"):
        check_same_tokens(demo, load_tokenizer(open_checkpoint(tmp_path / "same")))


@given(st.lists(st.floats(0, 10), min_size=1, max_size=30).map(sorted), st.floats(0, 1))
def test_quantiles_are_numpys(values: list[float], share: float) -> None:
    assert math.isclose(quantile(values, share), float(np.quantile(values, share)), abs_tol=1e-9)
