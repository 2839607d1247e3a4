"""Figures of the layer map: numbers of weights, shapes, and shares of what a token reads. Pure."""


def weights(count: int) -> str:
    """A number of weights: "26.9 B", "3.1 M", "48"."""
    for divisor, unit in ((10**9, "B"), (10**6, "M"), (10**3, "K")):
        if count >= divisor:
            return f"{count / divisor:.1f} {unit}"
    return str(count)


def percent(share: float) -> str:
    """A share (0 to 1): "32.1 %", "0.25 %", "< 0.01 %", "0 %"."""
    value = share * 100
    if value == 0:
        return "0 %"
    if value < 0.01:
        return "< 0.01 %"
    return f"{value:.2f} %" if value < 9.995 else f"{value:.1f} %"


def shape_text(shape: tuple[int, ...]) -> str:
    """ "17,408 × 5,120"; "one number" for a shape without dimensions."""
    return " × ".join(f"{size:,}" for size in shape) or "one number"
