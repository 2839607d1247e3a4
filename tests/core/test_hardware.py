"""Chips and their published bandwidth, and the memory that a process may use."""

import os
from pathlib import Path
from typing import Any

import pytest

from qwen_core import hardware
from qwen_core.hardware import chip_name, memory_bytes, peak_bandwidth_gb_s, recommended_bytes

# PERFORMANCE.md, "The roofline": base / Pro / Max / Ultra, of a Max the wide one.
PUBLISHED: dict[str, tuple[float | None, ...]] = {
    "M1": (68, 200, 400, 800),
    "M2": (100, 200, 400, 800),
    "M3": (100, 150, 400, 819),
    "M4": (120, 273, 546, None),
    "M5": (153, 307, 614, None),
}
# Chip, cores of its narrow GPU, its GB/s, a memory size (GiB) that only the narrow one has, and one of the wide one.
NARROW = [("M3 Max", 30, 300, 36, 48), ("M4 Max", 32, 410, 36, 128), ("M5 Max", 32, 460, 36, 64)]
GIB = 1 << 30


def device(name: str, **more: Any) -> dict[str, Any]:
    return {"device_name": f"Apple {name}", **more}


@pytest.mark.parametrize("generation", PUBLISHED)
def test_every_chip_of_the_table_has_its_published_peak(generation: str) -> None:
    for grade, expected in zip(("", " Pro", " Max", " Ultra"), PUBLISHED[generation], strict=True):
        assert peak_bandwidth_gb_s(device(generation + grade)) == expected
        assert chip_name(device(generation + grade)) == generation + grade


@pytest.mark.parametrize(("chip", "cores", "slow", "small", "large"), NARROW)
def test_the_narrow_max_is_told_by_its_cores_or_its_memory(
    chip: str, cores: int, slow: float, small: int, large: int
) -> None:
    fast = peak_bandwidth_gb_s(device(chip))
    assert fast is not None
    assert fast > slow
    assert peak_bandwidth_gb_s(device(chip), gpu_cores=cores) == slow
    assert peak_bandwidth_gb_s(device(chip, memory_size=small * GIB)) == slow
    assert peak_bandwidth_gb_s(device(chip, memory_size=large * GIB)) == fast
    assert peak_bandwidth_gb_s(device(chip, memory_size=small * GIB), gpu_cores=40) == fast, "cores are the better sign"
    assert peak_bandwidth_gb_s(device(chip, memory_size="much")) == fast


@pytest.mark.parametrize(
    "info", [{}, {"device_name": "NVIDIA H100"}, {"device_name": "Apple A18"}, {"device_name": None}, device("M9")]
)
def test_an_unknown_chip_has_no_peak(info: dict[str, Any]) -> None:
    assert peak_bandwidth_gb_s(info) is None


def test_a_virtual_machine_names_its_chip() -> None:
    assert chip_name({"device_name": "Apple M1 (Virtual)"}) == "M1"


def test_memory_is_the_machines_or_its_containers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = tmp_path / "memory.max"
    monkeypatch.setattr(hardware, "_CGROUP_LIMIT", limit)
    assert memory_bytes() == machine, "no control group"
    for content, expected in (("max\n", machine), ("1048576\n", 1 << 20), (f"{machine * 2}\n", machine)):
        limit.write_text(content)
        assert memory_bytes() == expected


@pytest.mark.parametrize(("value", "expected"), [(21 * GIB, 21 * GIB), (0, None), (None, None), ("x", None)])
def test_metals_recommendation_is_a_number_or_nothing(value: Any, expected: int | None) -> None:
    assert recommended_bytes({"max_recommended_working_set_size": value}) == expected
    assert recommended_bytes({}) is None
