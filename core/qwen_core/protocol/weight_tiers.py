"""How weights came into memory, in bytes. A plain value."""

from dataclasses import dataclass


@dataclass(frozen=True)
class WeightTiers:
    """Bytes of weights by how they came into memory: the three tiers of model/weights.py."""

    mapped: int = 0
    copied: int = 0
    streamed: int = 0

    @property
    def total(self) -> int:
        return self.mapped + self.copied + self.streamed
