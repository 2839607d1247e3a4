"""Products shared out over processors: bit for bit those of one, in any thread."""

import random
import threading

import mlx.core as mx
import pytest

from qwen_core.checkpoint.quantization import QuantSpec
from qwen_core.model import row_parallel
from qwen_core.model.layers import QuantizedLinear
from qwen_core.model.row_parallel import LEAST_WORK, cut_rows, processors, shares

SPECS = [
    QuantSpec(group_size=16, bits=4, mode="nvfp4"),
    QuantSpec(group_size=32, bits=4, mode="mxfp4"),
    QuantSpec(group_size=32, bits=8, mode="mxfp8"),
    QuantSpec(group_size=64, bits=5, mode="affine"),
]


def linear(rows: int, columns: int, spec: QuantSpec, seed: int) -> QuantizedLinear:
    weight = mx.random.normal((rows, columns), key=mx.random.key(seed))
    weight, scales, *biases = mx.quantize(weight, group_size=spec.group_size, bits=spec.bits, mode=spec.mode)
    return QuantizedLinear(weight, scales, biases[0] if biases else None, spec)


@pytest.fixture
def many(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a machine of five processors, for the smallest weights too."""
    monkeypatch.setattr(row_parallel, "processors", lambda: 5)
    monkeypatch.setattr(row_parallel, "LEAST_WORK", 1)
    monkeypatch.setattr(row_parallel, "is_gpu", lambda: False)


@pytest.mark.usefixtures("many")
@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.mode)
def test_parts_give_what_the_whole_gives(spec: QuantSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = random.Random(spec.bits)
    for seed in range(6):
        projection = linear(rng.randrange(1, 80), 128, spec, seed)
        x = mx.random.normal((1, rng.choice([1, 2, 7]), 128), key=mx.random.key(100 + seed))
        parts = projection(x)
        with monkeypatch.context() as one:
            one.setattr(row_parallel, "processors", lambda: 1)
            whole = projection(x)
        assert parts.shape == whole.shape
        assert mx.array_equal(parts, whole).item()


@pytest.mark.usefixtures("many")
def test_every_thread_has_streams_of_its_own() -> None:
    """MLX lets a stream be used only where it was made; an engine may live in any thread."""
    found: list[bool] = []

    def work() -> None:
        with mx.stream(mx.new_stream(mx.cpu)):
            projection = linear(40, 64, SPECS[0], 1)
            x = mx.ones((1, 1, 64))
            found.append(bool(mx.allclose(projection(x), x @ projection.dequantized(mx.float32).T, atol=1e-4).item()))

    work()
    for thread in [threading.Thread(target=work) for _ in range(2)]:
        thread.start()
        thread.join()
    assert found == [True] * 3


def test_rows_are_dealt_out_evenly() -> None:
    for rows in range(1, 40):
        for parts in range(1, min(rows, 8) + 1):
            cuts = cut_rows(rows, parts)
            assert [row for cut in cuts for row in range(rows)[cut]] == list(range(rows))
            sizes = [cut.stop - cut.start for cut in cuts]
            assert max(sizes) - min(sizes) <= 1


def test_only_large_products_on_a_cpu_are_shared_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_parallel, "processors", lambda: 4)
    monkeypatch.setattr(row_parallel, "is_gpu", lambda: False)
    assert shares(LEAST_WORK // 64 - 1, 1, 64) == 1
    assert shares(LEAST_WORK // 64, 1, 64) == 4
    assert shares(LEAST_WORK // 128, 2, 64) == 4
    assert shares(2, LEAST_WORK, 64) == 2
    monkeypatch.setattr(row_parallel, "processors", lambda: 64)
    assert shares(LEAST_WORK, 1, 64) == row_parallel.MOST_STREAMS
    monkeypatch.setattr(row_parallel, "is_gpu", lambda: True)
    assert shares(LEAST_WORK, 8, 64) == 1
    assert processors() >= 1
