"""Figures of the tables: shares, sizes, shapes and formats in few characters."""

from qwen_core.checkpoint.layout import ModuleLayout

PAGE_UNITS = {1 << 10: "1K", 1 << 11: "2K", 1 << 12: "4K", 1 << 13: "8K", 1 << 14: "16K"}


def percent(share: float) -> str:
    """A share from 0 to 1: "32.1 %", "0.25 %", "<0.01 %", "0 %"."""
    value = share * 100
    if value == 0:
        return "0 %"
    if value < 0.01:
        return "<0.01 %"
    return f"{value:.2f} %" if value < 9.995 else f"{value:.1f} %"


def gigabytes(count: int) -> str:
    """Bytes in decimal units, as bandwidth counts them: "19.99 GB", "2.74 MB", "96 B"."""
    for divisor, unit in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if count >= divisor:
            return f"{count / divisor:.2f} {unit}"
    return f"{count} B"


def both(count: int) -> str:
    """Bytes exactly and readably: "19,994,594,368 bytes (19.99 GB)"."""
    return f"{count:,} bytes" if count < 1000 else f"{count:,} bytes ({gigabytes(count)})"


def signed(count: int) -> str:
    """A difference of bytes: "+1.25 GB", "-310 B", "=" for none."""
    if count == 0:
        return "="
    return f"{'+' if count > 0 else '-'}{gigabytes(abs(count))}"


def parameters(count: int) -> str:
    """A number of weights: "26.90 B", "3.1 M", "48"."""
    if count >= 10**9:
        return f"{count / 10**9:.2f} B"
    return f"{count / 10**6:.1f} M" if count >= 10**6 else f"{count:,}"


def format_text(module: ModuleLayout) -> str:
    """Mode, bits and group: "nvfp4 4/16", "affine 6/64", "bf16"."""
    return module.mode if module.spec is None else f"{module.mode} {module.bits}/{module.group_size}"


def shape_text(shape: tuple[int, ...]) -> str:
    """ "17408x5120"; "()" for no dimensions."""
    return "x".join(map(str, shape)) or "()"


def alignment_text(alignment: int) -> str:
    return PAGE_UNITS.get(alignment, str(alignment))
