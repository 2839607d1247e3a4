"""The rates of one turn over its time, bounded: what the sparkline of the meters is drawn from."""

from dataclasses import dataclass, field

MOST_RATES = 256


@dataclass
class RateHistory:
    """The live rates of one turn, evenly spaced in time whatever its length: full, it keeps every second mean."""

    rates: list[float] = field(default_factory=list)
    _stride: int = 1
    _pending: list[float] = field(default_factory=list)

    def add(self, rate: float) -> None:
        self._pending.append(rate)
        if len(self._pending) < self._stride:
            return
        self.rates.append(sum(self._pending) / len(self._pending))
        self._pending = []
        if len(self.rates) > MOST_RATES:
            pairs = zip(self.rates[::2], self.rates[1::2], strict=False)
            self.rates = [(first + second) / 2 for first, second in pairs]
            self._stride *= 2
