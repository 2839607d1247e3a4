"""Chips and their published bandwidth, and the memory that a process may use."""

import os
from pathlib import Path
from typing import Any

import pytest

from qwen_core.device import hardware
from qwen_core.device.hardware import chip_name, memory_bytes, peak_bandwidth_gb_s, recommended_bytes

# What Apple publishes, base / Pro / Max / Ultra; a Max of two widths is in WIDTHS.
PUBLISHED: dict[str, tuple[float | None, ...]] = {
    "M1": (68, 200, 400, 800),
    "M2": (100, 200, 400, 800),
    "M3": (100, 150, None, 819),
    "M4": (120, 273, None, None),
    "M5": (153, 307, None, None),
}
# Chip, GPU cores, GB/s, memory sizes (GiB) that only this width is sold with.
WIDTHS = [
    ("M3 Max", 30, 300, (36, 96)),
    ("M3 Max", 40, 400, (48, 64, 128)),
    ("M4 Max", 32, 410, (36,)),
    ("M4 Max", 40, 546, (48, 64, 128)),
    ("M5 Max", 32, 460, (36,)),
    ("M5 Max", 40, 614, (48, 64, 128)),
]
GIB = 1 << 30


def device(name: str, **more: Any) -> dict[str, Any]:
    return {"device_name": f"Apple {name}", **more}


@pytest.mark.parametrize("generation", PUBLISHED)
def test_every_chip_of_the_table_has_its_published_peak(generation: str) -> None:
    for grade, expected in zip(("", " Pro", " Max", " Ultra"), PUBLISHED[generation], strict=True):
        assert peak_bandwidth_gb_s(device(generation + grade)) == expected
        assert chip_name(device(generation + grade)) == generation + grade


@pytest.mark.parametrize(("chip", "cores", "peak", "sizes"), WIDTHS)
def test_the_widths_of_a_max_are_told_by_its_cores_or_its_memory(
    chip: str, cores: int, peak: float, sizes: tuple[int, ...]
) -> None:
    assert peak_bandwidth_gb_s(device(chip), gpu_cores=cores) == peak
    for size in (36, 48, 64, 96, 128):
        info = device(chip, memory_size=size * GIB)
        assert peak_bandwidth_gb_s(info, gpu_cores=cores) == peak, "cores are the better sign"
        assert (peak_bandwidth_gb_s(info) == peak) == (size in sizes)


@pytest.mark.parametrize("chip", ["M3 Max", "M4 Max", "M5 Max"])
def test_a_max_of_unknown_width_has_no_peak(chip: str) -> None:
    for cores in (0, 20, 31, 80):
        assert peak_bandwidth_gb_s(device(chip, memory_size=64 * GIB), gpu_cores=cores) is None
    for memory in (None, "much", 16 * GIB, 64 * GIB - 1):
        assert peak_bandwidth_gb_s(device(chip, memory_size=memory)) is None


def test_cores_do_not_matter_where_they_do_not_tell_widths_apart() -> None:
    for cores in (7, 24, 32, 80):
        assert peak_bandwidth_gb_s(device("M1 Max"), gpu_cores=cores) == 400


@pytest.mark.parametrize(
    "name", ["M5 Extreme", "M4 Maximum", "M3 Max-Plus", "M3 Max 2", "M3Max", "M3 max", "M3 Pro Max", "M5+", "M٣", "M3."]
)
def test_a_name_that_only_begins_like_a_known_chip_is_none(name: str) -> None:
    info = device(name, memory_size=64 * GIB)
    assert (chip_name(info), peak_bandwidth_gb_s(info), peak_bandwidth_gb_s(info, 40)) == (None, None, None)
    assert chip_name({"device_name": "Not an Apple M3 Pro"}) is None


def test_any_white_space_between_the_words_will_do() -> None:
    assert peak_bandwidth_gb_s({"device_name": " Apple M3 \t Max\n"}, gpu_cores=40) == 400
    assert peak_bandwidth_gb_s({"device_name": "Apple  M4  Pro"}) == 273


@pytest.mark.parametrize(
    "info", [{}, {"device_name": "NVIDIA H100"}, {"device_name": "Apple A18"}, {"device_name": None}, device("M9")]
)
def test_an_unknown_chip_has_no_peak(info: dict[str, Any]) -> None:
    assert peak_bandwidth_gb_s(info) is None


def test_a_virtual_machine_names_its_chip_but_has_no_published_peak() -> None:
    assert chip_name({"device_name": "Apple M1 (Virtual)"}) == "M1"
    assert peak_bandwidth_gb_s({"device_name": "Apple M1 (Virtual)"}) is None


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


@pytest.mark.parametrize(
    ("architecture", "macos", "head_dim", "dtype", "rows"),
    [
        ("applegpu_g17s", "26.2", 256, "bfloat16", 1024),
        ("applegpu_g18d", "27.0.1", 256, "float16", 1024),
        ("applegpu_g16s", "26.2", 256, "bfloat16", None),
        ("applegpu_g17p", "26.2", 256, "bfloat16", None),
        ("applegpu_g17s", "26.1", 256, "bfloat16", None),
        ("applegpu_g17s", "", 256, "bfloat16", None),
        ("applegpu_g17s", "26.2", 128, "bfloat16", None),
        ("applegpu_g17s", "26.2", 256, "float32", None),
        ("x86_64", "26.2", 256, "bfloat16", None),
    ],
)
def test_long_attention_is_fused_from_m5_on(
    architecture: str, macos: str, head_dim: int, dtype: str, rows: int | None
) -> None:
    """The conditions are MLX's own (`use_fallback` of its Metal attention)."""
    assert hardware.fused_rows({"architecture": architecture}, macos, head_dim, dtype) == rows
