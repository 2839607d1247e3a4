"""Whether rewriting a checkpoint aligned would help: what of it cannot be used where it lies in its files.

Headers alone; where the bytes go is shards.py's business. inspect and doctor show the advice.
"""

from dataclasses import dataclass

from qwen_core.checkpoint.directory import Checkpoint
from qwen_core.figures import decimal_size, whole_percent

# Smaller tensors are copied whatever their place (weights.py).
_LEAST_BYTES = 1 << 16
# A rewrite is not worth a smaller share than this of the bytes.
_LEAST_SHARE = 0.01


@dataclass(frozen=True)
class Alignment:
    """Bytes of the text tensors: all, those that can be mapped where they lie, and those that begin off their own
    element size and are copied. The rest is in tensors so small that they are copied whatever their place."""

    text_bytes: int
    mappable_bytes: int
    unaligned_bytes: int

    @property
    def small_bytes(self) -> int:
        return self.text_bytes - self.mappable_bytes - self.unaligned_bytes

    @property
    def share(self) -> float:
        """The unaligned share of all, 0 to 1."""
        return self.unaligned_bytes / self.text_bytes if self.text_bytes else 0.0


def alignment_of(checkpoint: Checkpoint) -> Alignment:
    """Sum over the text tensors of `checkpoint`."""
    large = [info for info in checkpoint.text.values() if info.nbytes >= _LEAST_BYTES]
    mappable, off = (sum(info.nbytes for info in large if info.element_aligned is aligned) for aligned in (True, False))
    return Alignment(checkpoint.text_bytes, mappable, off)


def alignment_advice(checkpoint: Checkpoint) -> str | None:
    """One line that says what `convert --realign` would bring this checkpoint; None where it would bring nothing."""
    found = alignment_of(checkpoint)
    if found.share < _LEAST_SHARE:
        return None
    return (
        f"{whole_percent(found.share)} of the weights ({decimal_size(found.unaligned_bytes)}) are not aligned in their "
        "files, so a Mac copies them on loading instead of mapping them; "
        "qwen-tui convert --realign SRC DST writes them aligned"
    )
