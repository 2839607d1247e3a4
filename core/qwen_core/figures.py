"""Sizes, shares, counts and shapes as everything here writes them. Pure, and imports nothing.

The rule of units, for memory, files and bandwidth alike, is decimal: 1 kB = 1,000 B, 1 MB = 1,000 kB, 1 GB = 1,000 MB.
So bytes of a token times tok/s are the GB/s beside them, and a size is the one that a download is offered with. For
memory too: a machine that is sold with 16 GB has 17.18 GB here. A size has two digits behind the point, a share a blank
before its sign; tokens are written out below ten thousand, and in thousands from there on (262,144 is 262K).
"""

from collections.abc import Iterable

_UNITS = ((1e9, "GB"), (1e6, "MB"), (1e3, "kB"), (1.0, "B"))


def decimal_size(count: int) -> str:
    """Bytes: "19.99 GB", "2.74 MB", "96 B"."""
    divisor, unit = _unit_of(count)
    return f"{count / divisor:.2f} {unit}" if divisor > 1 else f"{count} B"


def size_of(done: int, total: int) -> str:
    """Progress in bytes, the unit once: "8.80 of 21.90 GB"."""
    divisor, unit = _unit_of(total)
    return f"{done / divisor:.2f} of {total / divisor:.2f} {unit}" if divisor > 1 else f"{done} of {total} B"


def _unit_of(count: int) -> tuple[float, str]:
    """The largest unit that `count` bytes are not less than one of, as they are rounded: 999,999,999 is 1 GB."""
    return next((divisor, unit) for divisor, unit in _UNITS if count >= divisor - divisor / 200_000 or divisor == 1)


def tokens_short(count: int) -> str:
    """Tokens in at most five characters: "998", "4,096", "16K", "262K", "1.0M"."""
    if count < 10_000:
        return f"{count:,}"
    return f"{count // 1000}K" if count < 1_000_000 else f"{count / 1_000_000:.1f}M"


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
    """A share from 0 to 1 where a glance is enough: "43 %"; what is not all or nothing does not read as if it were."""
    if 0 < share < 0.005:
        return "< 1 %"
    return f"{min(round(100 * share), 99) if share < 1 else round(100 * share)} %"
