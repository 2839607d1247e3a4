"""Which experts an answer has used: counts that come from the device with its tokens. Plain values, like all here."""

from dataclasses import dataclass


@dataclass(frozen=True)
class ExpertUse:
    """Which experts of a mixture the tokens of an answer were given, since somebody looks.

    `counts`: how often each was, uint32 [layers, experts], native bytes; `last`: those of the last token, uint16
    [layers, used]. `tokens`: how many these are. It stays a token behind the answer, so that nothing waits for it.
    """

    tokens: int
    experts: int
    used: int
    counts: bytes
    last: bytes

    def of_layer(self, layer: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """(how often each expert of a layer was used, the experts of the last token); empty for a layer it has not."""
        counts, last = memoryview(self.counts).cast("I"), memoryview(self.last).cast("H")
        return (
            tuple(counts[layer * self.experts : (layer + 1) * self.experts]),
            tuple(sorted(last[layer * self.used : (layer + 1) * self.used])),
        )
