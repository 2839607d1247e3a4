"""What this machine is: its device's name, its memory, and the published peak of its memory bandwidth.

Takes the mapping of `mx.device_info()` from its caller, so that it runs, and is tested, without MLX.
"""

import os
import platform
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

# Peak GB/s by chip as Apple publishes it (PERFORMANCE.md, "The roofline"). Where a Max exists with two widths, the
# value is {GPU cores of the narrow one: its GB/s} beside the wide one's. None: not published.
_PEAK_GB_S: dict[str, float | None] = {
    "M1": 68, "M1 Pro": 200, "M1 Max": 400, "M1 Ultra": 800,
    "M2": 100, "M2 Pro": 200, "M2 Max": 400, "M2 Ultra": 800,
    "M3": 100, "M3 Pro": 150, "M3 Max": 400, "M3 Ultra": 819,
    "M4": 120, "M4 Pro": 273, "M4 Max": 546,
    "M5": 153, "M5 Pro": 307, "M5 Max": 614,
}  # fmt: skip
_NARROW_GB_S: dict[tuple[str, int], float] = {("M3 Max", 30): 300, ("M4 Max", 32): 410, ("M5 Max", 32): 460}
_CHIP = re.compile(r"\bApple (M\d+(?: (?:Pro|Max|Ultra))?)\b")

_CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")


def chip_name(device_info: Mapping[str, Any]) -> str | None:
    """ "M3 Max" of a device called "Apple M3 Max"; None for anything that is not an Apple chip."""
    match = _CHIP.search(str(device_info.get("device_name", "")))
    return match.group(1) if match else None


def peak_bandwidth_gb_s(device_info: Mapping[str, Any], gpu_cores: int | None = None) -> float | None:
    """Published peak memory bandwidth in decimal GB/s; None where it is not known.

    `gpu_cores`, where known, tells apart the two widths of a Max chip; without it the wide one is assumed, so that
    an estimated share of the peak is never flattered.
    """
    chip = chip_name(device_info)
    if chip is None:
        return None
    if gpu_cores is not None and (chip, gpu_cores) in _NARROW_GB_S:
        return _NARROW_GB_S[chip, gpu_cores]
    return _PEAK_GB_S.get(chip)


def memory_bytes() -> int:
    """Memory that this process may use: the machine's, or its container's limit where that is lower."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        limit = int(_CGROUP_LIMIT.read_text())
    except (OSError, ValueError):  # no control group, or "max"
        return total
    return min(total, limit)


def recommended_bytes(device_info: Mapping[str, Any]) -> int | None:
    """How much of the memory Metal recommends a process to keep on the GPU; None on other devices."""
    value = device_info.get("max_recommended_working_set_size")
    return value if isinstance(value, int) and value > 0 else None


def describe_device(device_info: Mapping[str, Any]) -> str:
    """A short name for people: "Apple M3 Max", "NVIDIA H200", or the processor's architecture."""
    name = str(device_info.get("device_name", "")).strip()
    return name or platform.processor() or platform.machine() or "unknown device"
