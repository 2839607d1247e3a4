"""The peak that is measured: best copies that agree, kept for this machine, never waited for without end."""

import json
from collections.abc import Iterator
from itertools import count, cycle, islice
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwen_core.device import memory_peak
from qwen_core.device.backend import is_gpu
from qwen_core.device.memory_peak import LEAST_COPIES, WITHIN, copies, gpu_copies, kept_peak, measured_peak, settled


def rates(*values: float) -> Iterator[float]:
    return cycle(values)


@pytest.fixture
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine whose copies are as fast as each other, whatever this one is doing."""
    name = "gpu_copies" if is_gpu() else "copies"
    monkeypatch.setattr(memory_peak, name, lambda: (rate for rate in rates(20.0, 21.0, 20.9, 3.0)))


def test_the_best_counts_once_others_come_close() -> None:
    assert settled(rates(20.0, 21.0, 20.9, 3.0)) == 21.0
    assert settled(islice(rates(20.0), LEAST_COPIES - 1)) is None, "too few to say"
    assert settled(islice(rates(0.0), 99)) is None, "the clock did not move"


def test_what_does_not_repeat_itself_is_no_figure() -> None:
    assert settled(1.5**number for number in range(99)) is None


@given(st.lists(st.floats(0.5, 1.0), min_size=LEAST_COPIES, max_size=40), st.floats(1, 1e6))
def test_what_settles_is_the_best_that_was_seen_and_others_come_close(noise: list[float], rate: float) -> None:
    seen: list[float] = []

    def copied() -> Iterator[float]:
        for factor in noise:
            seen.append(rate * factor)
            yield seen[-1]

    found = settled(copied())
    third = sorted(seen)[-3]
    assert found is None or (found == max(seen) and third >= (1 - WITHIN) * found)
    assert found is not None or third < (1 - WITHIN) * max(seen)


@pytest.mark.usefixtures("quiet")
def test_a_peak_is_measured_once_and_kept_for_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = str(tmp_path)
    assert kept_peak(folder) is None
    assert measured_peak(folder) == kept_peak(folder) == 21.0
    file = tmp_path / "memory-peak.json"
    assert file.stat().st_mode & 0o077 == 0
    (key,) = json.loads(file.read_text())
    file.write_text(json.dumps({key: 33}))
    assert measured_peak(folder) == 33.0
    monkeypatch.setattr(memory_peak.platform, "node", lambda: "another")
    assert kept_peak(folder) is None
    assert measured_peak(folder) == 21.0
    assert len(json.loads(file.read_text())) == 2


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize("text", ["", "[]", "{", '{"KEY": 0}', '{"KEY": -1}', '{"KEY": "1"}', '{"KEY": true}'])
def test_a_damaged_file_is_measured_over(tmp_path: Path, text: str) -> None:
    measured_peak(str(tmp_path))
    file = tmp_path / "memory-peak.json"
    (key,) = json.loads(file.read_text())
    file.write_text(text.replace("KEY", key))
    assert kept_peak(str(tmp_path)) is None
    assert measured_peak(str(tmp_path)) == 21.0


@pytest.mark.usefixtures("quiet")
def test_it_ends_when_it_is_told_to_and_keeps_nothing_without_a_folder(tmp_path: Path) -> None:
    assert measured_peak(str(tmp_path), stop=lambda: True) is None
    assert kept_peak(str(tmp_path)) is None
    assert measured_peak("") == 21.0


def test_a_machine_that_never_settles_has_no_peak(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = count()
    monkeypatch.setattr(memory_peak.time, "monotonic", lambda: next(seconds) / 10)
    for name in ("gpu_copies", "copies"):
        monkeypatch.setattr(memory_peak, name, lambda: (1.5**number for number in count()))
    assert measured_peak("") is None
    assert next(seconds) < 99


def test_where_there_is_no_memory_there_is_no_peak(monkeypatch: pytest.MonkeyPatch) -> None:
    def none_left() -> Iterator[float]:
        raise MemoryError
        yield 1.0

    for name in ("gpu_copies", "copies"):
        monkeypatch.setattr(memory_peak, name, none_left)
    assert measured_peak("") is None


def test_a_copy_counts_bytes_read_and_written() -> None:
    """A clock that moves one second a reading: each copy takes exactly one, whatever it really took."""
    ticks = count()
    found = list(islice(copies(8 << 20, 3, lambda: float(next(ticks))), 4))
    assert found == pytest.approx([2 * (8 << 20) / 1e9] * 4)
    assert next(copies(1 << 10, 1, lambda: 0.0)) == 0.0


def test_the_copy_in_the_devices_memory_is_a_rate() -> None:
    assert next(gpu_copies(1 << 20)) > 0
