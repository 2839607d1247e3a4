"""Quality figures against plain arithmetic on mlx-lm's and our own logits; single roles against real conversions."""

import io
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest

from qwen_core.checkpoint.directory import open_checkpoint
from qwen_core.checkpoint.layout import role_of
from qwen_core.convert import quality
from qwen_core.convert.convert import convert
from qwen_core.convert.plan import make_plan
from qwen_core.convert.quality import Text, compare, compare_roles, read_ids
from qwen_core.convert.rules import Rules
from qwen_core.convert.rules_file import read_rules
from qwen_core.demo import demo_model_path
from qwen_core.errors import CapacityError, CheckpointError, QwenError, SettingsError
from qwen_core.model.model import load_model
from support.checkpoints import write_checkpoint
from support.conversion import converted, write_raw

IDS = tuple(np.random.RandomState(5).randint(0, 500, 150).tolist())
TEXT = Text(IDS, 500)


def log_softmax(logits: np.ndarray) -> np.ndarray:
    logits = logits.astype(np.float64)
    shifted = logits - logits.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))


def log_probabilities(path: Path, ids: list[int], vocabulary: int) -> np.ndarray:
    """In float64, from all logits at once."""
    model = load_model(path, "float32")
    return log_softmax(np.array(model(mx.array([ids[:-1]]), model.new_state())[0])[:, :vocabulary])


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_raw(tmp_path_factory.mktemp("quality") / "raw", seed=21)


@pytest.mark.parametrize("window", [512, 40])
def test_figures_are_their_definitions(
    window: int, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quality, "WINDOW", window)
    converted(source, tmp_path / "q2", "q2")
    found = compare(source, tmp_path / "q2", TEXT, dtype="float32")
    pieces = [list(IDS[begin : begin + window]) for begin in range(0, len(IDS), window)]
    p, q = (
        np.concatenate([log_probabilities(path, piece, 500) for piece in pieces if len(piece) > 1])
        for path in (source, tmp_path / "q2")
    )
    targets = np.concatenate([piece[1:] for piece in pieces])
    rows = np.arange(len(targets))
    divergence = (np.exp(p) * (p - q)).sum(-1)
    assert found.positions == len(targets)
    assert found.reference_perplexity == pytest.approx(np.exp(-p[rows, targets].mean()), rel=1e-4)
    assert found.perplexity == pytest.approx(np.exp(-q[rows, targets].mean()), rel=1e-4)
    assert found.kl_mean == pytest.approx(divergence.mean(), rel=1e-3)
    assert found.kl_p999 == pytest.approx(np.quantile(divergence, 0.999), rel=1e-3)
    assert found.top1 == pytest.approx((p.argmax(-1) == q.argmax(-1)).mean(), abs=0.01)
    assert found.kl_mean > 1e-3
    assert found.top1 < 1


def test_the_perplexity_is_mlx_lms(source: Path, tmp_path: Path) -> None:
    pytest.importorskip("mlx_lm")
    from support.peer_mlx_lm import load_peer

    converted(source, tmp_path / "q4", "q4")
    logits = np.array(load_peer(tmp_path / "q4")(mx.array([list(IDS[:-1])]))[0])[:, :500]
    logs = log_softmax(logits)
    expected = np.exp(-logs[np.arange(len(IDS) - 1), list(IDS[1:])].mean())
    assert compare(source, tmp_path / "q4", TEXT, dtype="float32").perplexity == pytest.approx(expected, rel=1e-4)


def test_a_model_differs_from_itself_by_nothing(source: Path) -> None:
    found = compare(source, source, TEXT, dtype="float32")
    assert (found.kl_mean, found.kl_p999, found.top1) == (0, 0, 1)
    assert found.perplexity == found.reference_perplexity


def test_no_kernel_of_our_own_measures(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qwen_core.model.model.proven", lambda *_: pytest.fail("kernels were asked for"))
    compare(source, source, TEXT, dtype="float32")


def test_more_bits_do_less_harm(source: Path, tmp_path: Path) -> None:
    harm = []
    for variant in ("q2", "q3", "q4", "q6", "q8"):
        converted(source, tmp_path / variant, variant)
        harm.append(compare(source, tmp_path / variant, TEXT, dtype="float32").kl_mean)
    assert harm == sorted(harm, reverse=True)
    assert harm[0] > 10 * harm[-1] > 0


def test_each_role_is_what_converting_it_alone_gives(source: Path, tmp_path: Path) -> None:
    # From a converted source: a raw one's norms, less 1, lose a rounding of their own in every result.
    convert(make_plan(open_checkpoint(source), Rules()), tmp_path / "bf16")
    source = tmp_path / "bf16"
    plan = converted(source, tmp_path / "all", "mxfp4")
    whole, roles = compare_roles(source, tmp_path / "all", TEXT, dtype="float32")
    assert whole == compare(source, tmp_path / "all", TEXT, dtype="float32")
    assert {entry.role for entry in roles} == {role_of(module) for module in plan.specs}
    assert sum(entry.modules for entry in roles) == len(plan.specs)
    harm = [entry.quality.kl_mean for entry in roles]
    assert harm == sorted(harm, reverse=True)
    for entry in roles[::4]:
        spec = next(spec for module, spec in plan.specs.items() if role_of(module) == entry.role)
        assert entry.formats == (str(spec),)
        toml = f'match = "{entry.role}"\nmode = "{spec.mode}"\nbits = {spec.bits}\ngroup_size = {spec.group_size}\n'
        (tmp_path / "rules.toml").write_text(f"[[rule]]\n{toml}")
        alone = tmp_path / entry.role
        convert(make_plan(open_checkpoint(source), read_rules(tmp_path / "rules.toml")), alone)
        expected = compare(source, alone, TEXT, dtype="float32").kl_mean
        # Other neighbours are joined, so that products of 16 rows or more add up in another order: 1e-5 in the logits.
        assert entry.quality.kl_mean == pytest.approx(expected, rel=1e-3, abs=1e-7), entry.role


def test_texts_are_read_in_the_models_own_tokens(tmp_path: Path) -> None:
    checkpoint = open_checkpoint(demo_model_path())
    (tmp_path / "t").write_text("<|im_start|>user\nWhat is the capital of France?<|im_end|>\n" * 9, encoding="utf-8")
    text = read_ids(tmp_path / "t", checkpoint, 20)
    assert len(text.ids) == 20
    assert text.positions == 19
    assert text.vocabulary == 3033 < checkpoint.config.vocab_size
    assert max(text.ids) < text.vocabulary


@pytest.mark.parametrize("content", [b"", b"a", b"\xff\xfe\x00"])
def test_texts_that_are_none_are_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "t").write_bytes(content)
    with pytest.raises(SettingsError):
        read_ids(tmp_path / "t", open_checkpoint(demo_model_path()), 20)
    with pytest.raises(SettingsError, match="cannot be read"):
        read_ids(tmp_path / "none", open_checkpoint(demo_model_path()), 20)


def test_other_models_are_not_compared(source: Path, tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "wide", "q4", text={"intermediate_size": 512})
    with pytest.raises(CheckpointError, match="another model than the reference: intermediate_size"):
        compare(source, tmp_path / "wide", TEXT)
    write_checkpoint(tmp_path / "q4", "q4")
    with pytest.raises(CheckpointError, match="is quantised: single roles need"):
        compare_roles(tmp_path / "q4", tmp_path / "q4", TEXT)
    with pytest.raises(QwenError, match="does not exist"):
        compare(source, tmp_path / "none", TEXT)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_temporary_disk_is_one_line(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """/dev/full is a disk without room."""
    monkeypatch.setattr(quality.tempfile, "TemporaryFile", lambda **_: io.FileIO("/dev/full", "r+"))
    with pytest.raises(CapacityError, match=r"[0-9.]+ [kM]?B of temporary space are needed: No space left"):
        compare(source, source, TEXT)
