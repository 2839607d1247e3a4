"""How many kernels a token of the 27B's 64 layers is on a Mac, counted from the graph: nothing of it is computed here.

The numbers are those of README's table. A change that lowers one writes the new number here; one that raises it makes
every token slower where a GPU waits for launches.
"""

from collections.abc import Iterator
from pathlib import Path

import mlx.core as mx
import pytest

from count_launches import OWN_KERNELS, SAMPLERS, can_count, checkpoint, load, our_count, peer_count, sampling_count
from qwen_core.model.model import Model
from support.launch_graph import Recorder, launches, steps_of, waits

pytestmark = pytest.mark.skipif(not can_count(), reason="without g++ MLX joins no elementwise operations on a CPU")


@pytest.fixture(scope="module")
def path() -> Iterator[Path]:
    with checkpoint() as found:
        yield found


@pytest.fixture(scope="module")
def own(path: Path) -> Model:
    return load(path, kernels=OWN_KERNELS)


@pytest.fixture(scope="module")
def model(path: Path) -> Model:
    return load(path)


def test_one_token(model: Model) -> None:
    count = our_count("", model)
    assert (count.launches, count.waits, count.linear, count.full) == (1_295, 906, 21, 17)


@pytest.mark.parametrize(("rows", "launched", "linear"), [(2, 1_392, 23), (4, 1_346, 22), (8, 1_350, 22)])
def test_a_pass_with_drafts(model: Model, rows: int, launched: int, linear: int) -> None:
    count = our_count("", model, rows)
    assert (count.launches, count.waits, count.linear, count.full) == (launched, 954, linear, 17)


def test_where_weights_are_mapped_neighbours_are_launched_apart(path: Path) -> None:
    count = our_count("", load(path, joined=False))
    assert (count.launches, count.waits, count.linear, count.full) == (1_487, 906, 24, 20)


@pytest.mark.parametrize("rows", [1, 2, 5, 8])
def test_with_kernels_of_our_own(own: Model, rows: int) -> None:
    """A pass with drafts is one launch more a row: that row's draw."""
    count = our_count("", own, rows)
    assert (count.launches, count.waits, count.linear, count.full) == (734 + rows, 666, 11, 12)


def test_with_kernels_of_our_own_and_mapped_weights(path: Path) -> None:
    count = our_count("", load(path, joined=False, kernels=OWN_KERNELS))
    assert (count.launches, count.waits, count.linear, count.full) == (927, 666, 14, 15)


def test_sampling_beside_the_one_launch_of_a_greedy_draw() -> None:
    assert {name: sampling_count("", asked).launches for name, asked in SAMPLERS.items()} == {
        "the card's settings": 18,
        "without thinking": 20,
    }


def test_mlx_lm_by_the_same_rules(path: Path) -> None:
    pytest.importorskip("mlx_lm")
    count = peer_count(path)
    assert (count.launches, count.linear, count.full) == (1_649, 27, 21)


def test_a_kernel_waits_where_it_reads_what_was_written_or_writes_what_was_read() -> None:
    a, b = mx.array([1.0]), mx.array([2.0])
    apart = [mx.exp(a), mx.exp(b)]
    assert (launches(steps_of(apart, Recorder())), waits(steps_of(apart, Recorder()))) == (2, 0)
    after = mx.exp(a) + mx.exp(b)
    assert (launches(steps_of([after], Recorder())), waits(steps_of([after], Recorder()))) == (3, 1)
    through_a_view = mx.log(mx.exp(mx.array([[1.0, 2.0]]))[:, :1])
    assert waits(steps_of([through_a_view], Recorder())) == 1


def test_each_part_of_a_concatenation_is_a_launch_and_none_waits_for_another() -> None:
    joined = [mx.concatenate([mx.array([1.0]), mx.array([2.0]), mx.array([3.0])])]
    assert (launches(steps_of(joined, Recorder())), waits(steps_of(joined, Recorder()))) == (3, 0)
