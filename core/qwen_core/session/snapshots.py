"""Snapshots of one conversation's state at turn boundaries, under a memory budget: the only way back for a state
that cannot be trimmed.

Which prefix a conversation needs is session.py's question; what a snapshot holds is state.py's.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from qwen_core.model.state import Snapshot, State


@dataclass(frozen=True)
class KeptSnapshot:
    """A snapshot and the ids that had been fed when it was taken."""

    ids: tuple[int, ...]
    snapshot: Snapshot


class SnapshotStore:
    """Snapshots of one lineage, shortest first; the oldest go when their bytes pass the budget."""

    def __init__(self, budget_bytes: int) -> None:
        self.budget_bytes = budget_bytes
        self._kept: list[KeptSnapshot] = []

    @property
    def nbytes(self) -> int:
        return sum(kept.snapshot.nbytes for kept in self._kept)

    def keep(self, ids: Sequence[int], state: State) -> None:
        """Take a snapshot of `state`, which holds exactly `ids`. One at the same length is replaced."""
        self.drop_after(len(ids) - 1)
        self._kept.append(KeptSnapshot(tuple(ids), state.snapshot()))
        while len(self._kept) > 1 and self.nbytes > self.budget_bytes:
            del self._kept[0]

    def make_room(self, nbytes: int) -> None:
        """Let the oldest go until the others have at most `nbytes`."""
        while self._kept and self.nbytes > nbytes:
            del self._kept[0]

    def longest_prefix(self, target: Sequence[int]) -> KeptSnapshot | None:
        """The longest snapshot whose ids are a proper prefix of `target`: at least one id is left to feed."""
        fitting = (
            kept
            for kept in reversed(self._kept)
            if len(kept.ids) < len(target) and kept.ids == tuple(target[: len(kept.ids)])
        )
        return next(fitting, None)

    def drop_after(self, length: int) -> None:
        """Forget the snapshots of more than `length` tokens: the state goes another way from there."""
        self._kept = [kept for kept in self._kept if len(kept.ids) <= length]

    def clear(self) -> None:
        self._kept.clear()
