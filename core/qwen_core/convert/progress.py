"""How far a conversion is, as plain values for whoever shows it."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class ConvertProgress:
    """Bytes of the source that are done, of all that will be; seconds since it began; the tensor at work."""

    done_bytes: int
    total_bytes: int
    elapsed_s: float
    tensor: str

    @property
    def left_s(self) -> float | None:
        """Seconds that the rest will take at the pace so far; None before there is a pace."""
        if not self.done_bytes:
            return None
        return self.elapsed_s / self.done_bytes * (self.total_bytes - self.done_bytes)


Progress = Callable[[ConvertProgress], None]
