"""Sizes, shares and shapes as errors and reports write them. Pure, and imports nothing."""

from collections.abc import Iterable


def decimal_size(count: int) -> str:
    """Bytes in decimal units, as disks and bandwidth count them: "19.99 GB", "2.74 MB", "96 B"."""
    for divisor, unit in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if count >= divisor:
            return f"{count / divisor:.2f} {unit}"
    return f"{count} B"


def shape_text(shape: Iterable[int]) -> str:
    """ "17408x5120"; "()" for no dimensions."""
    return "x".join(map(str, shape)) or "()"


def percent(share: float) -> str:
    """A share from 0 to 1: "32.1 %", "0.25 %", "< 0.01 %", "0 %"."""
    value = share * 100
    if value == 0:
        return "0 %"
    if value < 0.01:
        return "< 0.01 %"
    return f"{value:.2f} %" if value < 9.995 else f"{value:.1f} %"


def whole_percent(share: float) -> str:
    """A share from 0 to 1 where a glance is enough and room is scarce: "43%"."""
    return f"{share:.0%}"
