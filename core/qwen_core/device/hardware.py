"""What this machine can do: its chip, the peak of its memory bandwidth and where that figure is from, its memory.

Takes the mapping of `mx.device_info()` from its caller, so that it runs, and is tested, without MLX. Naming the device
for people is backend.py's business; measuring where nothing is published is machine.py's.
"""

import os
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qwen_core.errors import SettingsError, quote
from qwen_core.protocol.events import PeakSource

# Peak GB/s by chip as Apple publishes it in its technical specifications and newsroom (apple.com: "unified memory
# bandwidth" of MacBook Air and Pro, Mac mini, Mac Studio and iMac of each generation). A Max made in two widths is in
# _WIDTHS below. There is no M4 Ultra, and what an M5 Ultra will reach is not published.
_PEAK_GB_S: dict[str, float] = {
    "M1": 68, "M1 Pro": 200, "M1 Max": 400, "M1 Ultra": 800,
    "M2": 100, "M2 Pro": 200, "M2 Max": 400, "M2 Ultra": 800,
    "M3": 100, "M3 Pro": 150, "M3 Ultra": 819,
    "M4": 120, "M4 Pro": 273,
    "M5": 153, "M5 Pro": 307,
}  # fmt: skip


@dataclass(frozen=True)
class Hardware:
    """The machine as meters and benchmarks need it. Bytes; bandwidth in decimal GB/s; None: not known.

    `peak_source` says where the peak is from: "published" by the maker, "measured" here by a short copy (a stand-in
    for a limit, and not one), or "configured" by the person.
    """

    chip: str | None
    gpu_cores: int | None
    memory_bytes: int
    recommended_bytes: int | None
    peak_bandwidth_gb_s: float | None
    peak_source: PeakSource | None


@dataclass(frozen=True)
class _Width:
    """One of the two widths that a Max is made in, and the memory sizes (GiB) that only this one is sold with."""

    gpu_cores: int
    gb_s: float
    memory_gib: tuple[int, ...]


# The same specifications list which memory each number of GPU cores can be bought with; no size is offered with both.
_WIDTHS = {
    "M3 Max": (_Width(30, 300, (36, 96)), _Width(40, 400, (48, 64, 128))),
    "M4 Max": (_Width(32, 410, (36,)), _Width(40, 546, (48, 64, 128))),
    "M5 Max": (_Width(32, 460, (36,)), _Width(40, 614, (48, 64, 128))),
}
_VIRTUAL = " (Virtual)"
_CHIP = re.compile(r"Apple (M[0-9]+(?: (?:Pro|Max|Ultra))?)")

# The generation of a Mac's GPU, 17 from M5 on; names of other devices end on p.
_ARCHITECTURE = re.compile(r"applegpu_g([0-9]{1,3})[a-oq-z]")

_CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")


def chip_name(device_info: Mapping[str, Any]) -> str | None:
    """ "M3 Max" of a device called "Apple M3 Max" or "Apple M3 Max (Virtual)"; None for anything else.

    The whole name must be understood: an "M3 Max Something" is another chip, and not an M3 Max.
    """
    match = _CHIP.fullmatch(_device_name(device_info).removesuffix(_VIRTUAL))
    return match.group(1) if match else None


def fused_rows(device_info: Mapping[str, Any], macos: str, head_dim: int, dtype: str) -> int | None:
    """Rows from which Metal's causal attention with heads of 256 is one kernel, which keeps no scores in memory.

    That is from M5 on and macOS 26.2 on (mlx, backend/metal/scaled_dot_product_attention.cpp, `use_fallback`, and
    device.cpp, `is_nax_available`). None elsewhere, for other heads, and in float32, where it hangs on a variable of
    MLX's.
    """
    architecture = _ARCHITECTURE.fullmatch(str(device_info.get("architecture")))
    version = re.match(r"(\d+)\.(\d+)", macos)
    if architecture is None or version is None or head_dim != 256 or dtype == "float32":
        return None
    new = int(architecture[1]) >= 17 and (int(version[1]), int(version[2])) >= (26, 2)
    return 1024 if new else None


def peak_bandwidth_gb_s(device_info: Mapping[str, Any], gpu_cores: int | None = None) -> float | None:
    """Published peak memory bandwidth in decimal GB/s; None where it is not known, and never a guess.

    The two widths of a Max are told apart by `gpu_cores`, or without it by the memory size (MLX reports only that);
    where that fits neither width, nothing is assumed. Nothing is published of a virtual machine's share of its host's.
    """
    chip = chip_name(device_info)
    if chip is None or _device_name(device_info).endswith(_VIRTUAL):
        return None
    if chip not in _WIDTHS:
        return _PEAK_GB_S.get(chip)
    memory = device_info.get("memory_size")
    gib = memory / 2**30 if isinstance(memory, int) else None
    for width in _WIDTHS[chip]:
        if gpu_cores == width.gpu_cores or (gpu_cores is None and gib in width.memory_gib):
            return width.gb_s
    return None


def named_peak_gb_s(name: str) -> float:
    """Published peak of a chip by its name, "M3 Ultra"; of a Max made in two widths with its GPU cores, "M4 Max 40".

    Raises SettingsError for a chip whose peak is not known.
    """
    words = " ".join(name.replace("-", " ").split()).title().removeprefix("Apple ")
    for chip, widths in _WIDTHS.items():
        for width in widths:
            if words == f"{chip} {width.gpu_cores}":
                return width.gb_s
        if words == chip:
            cores = " or ".join(f"'{chip} {width.gpu_cores}'" for width in widths)
            raise SettingsError(f"the {chip} is made in two widths: say {cores}, by its GPU cores")
    if words not in _PEAK_GB_S:
        known = ", ".join([*_PEAK_GB_S, *(f"{chip} {w.gpu_cores}" for chip, both in _WIDTHS.items() for w in both)])
        raise SettingsError(f"no peak bandwidth is published of a chip {quote(repr(name))}: known are {known}")
    return _PEAK_GB_S[words]


def detect(
    device_info: Mapping[str, Any],
    *,
    gpu_cores: int | None = None,
    configured_gb_s: float | None = None,
    measure: Callable[[], float | None] | None = None,
) -> Hardware:
    """What is known of the machine behind `device_info`.

    The peak is what the person configured, else what is published for the chip, else what `measure` finds; nothing is
    measured on an Apple chip: one without a published figure stays unknown.
    """
    chip = chip_name(device_info)
    peak, source = configured_gb_s, "configured"
    if peak is None:
        peak, source = peak_bandwidth_gb_s(device_info, gpu_cores), "published"
    if peak is None and measure is not None and not _is_apple(device_info):
        peak, source = measure(), "measured"
    return Hardware(
        chip=chip,
        gpu_cores=gpu_cores,
        memory_bytes=memory_bytes(),
        recommended_bytes=recommended_bytes(device_info),
        peak_bandwidth_gb_s=peak,
        peak_source=None if peak is None else source,
    )


def _is_apple(device_info: Mapping[str, Any]) -> bool:
    return _device_name(device_info).startswith("Apple")


def _device_name(device_info: Mapping[str, Any]) -> str:
    """What the device calls itself, with one space between the words."""
    return " ".join(str(device_info.get("device_name", "")).split())


_GPU_CORES = re.compile(r'"gpu-core-count"\s*=\s*(\d{1,4})\b')


def parse_gpu_cores(registry: str) -> int | None:
    """The number of GPU cores in what `ioreg` prints of the accelerator; None where it says none."""
    match = _GPU_CORES.search(registry)
    return int(match.group(1)) if match else None


def read_gpu_cores() -> int | None:
    """GPU cores of this Mac, from the system's registry; None elsewhere, or where it cannot be asked."""
    if sys.platform != "darwin":
        return None
    try:
        done = subprocess.run(
            ["/usr/sbin/ioreg", "-rd1", "-c", "AGXAccelerator"], capture_output=True, timeout=5, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return parse_gpu_cores(done.stdout.decode("utf-8", "replace"))


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
