"""How much of a mapped file is in this process's memory, as Linux tells it."""

from pathlib import Path

import pytest

_SMAPS = Path("/proc/self/smaps")
linux_only = pytest.mark.skipif(not _SMAPS.exists(), reason="only Linux tells what of a mapping is resident")


def resident_bytes(path: Path) -> int:
    """Bytes of this process's mappings of `path` that are in memory."""
    total, inside = 0, False
    for line in _SMAPS.read_text().splitlines():
        if "-" in line.split()[0]:
            inside = line.endswith(str(path))
        elif inside and line.startswith("Rss:"):
            total += int(line.split()[1]) * 1024
    return total
