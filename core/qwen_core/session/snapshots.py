"""Snapshots of one conversation's state at turn boundaries, under a memory budget: the only way back for a state
that cannot be trimmed.

Which prefix a conversation needs is session.py's question; what a snapshot holds is state.py's.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from qwen_core.model.state import Snapshot, State


@dataclass(frozen=True)
class KeptSnapshot:
    """A snapshot and the ids that had been fed when it was taken. `passing`: only until another one is taken."""

    ids: tuple[int, ...]
    snapshot: Snapshot
    passing: bool = False


class SnapshotStore:
    """Snapshots of the run that a state is in, shortest first, and behind them those of runs that were set aside; the
    oldest go when their bytes pass the budget, those set aside first.
    """

    def __init__(self, budget_bytes: int) -> None:
        self.budget_bytes = budget_bytes
        self._kept: list[KeptSnapshot] = []
        self._aside: list[KeptSnapshot] = []

    @property
    def nbytes(self) -> int:
        """Bytes that the snapshots alone keep in memory: keys and values are those of runs that the state has left."""
        snapshots = [kept.snapshot for kept in self._all()]
        runs = {id(snapshot.lineage): snapshot.lineage for snapshot in snapshots}
        return sum(snapshot.nbytes for snapshot in snapshots) + sum(run.nbytes for run in runs.values())

    def keep(self, ids: Sequence[int], state: State, room: int | None = None) -> bool:
        """Take a snapshot of `state`, which holds exactly `ids`; it replaces one at the same length, and passing ones.
        Whether it is kept.

        `room`: a passing one, only where it has a place beside the others, in so many bytes of memory and the budget.
        """
        self._kept = [kept for kept in self._kept if len(kept.ids) < len(ids) and not kept.passing]
        self._kept.append(KeptSnapshot(tuple(ids), state.snapshot(), passing=room is not None))
        if room is None:
            self.trim()
        elif self.nbytes > min(room, self.budget_bytes):
            del self._kept[-1]
            return False
        return True

    def set_aside(self, ids: Sequence[int], state: State) -> None:
        """Keep the run of `state`, which holds exactly `ids`, for a way back: it is about to leave it."""
        self.keep(ids, state)
        self._aside += self._kept
        self._kept = []

    def trim(self) -> None:
        """Let the oldest go until the others are within the budget; the newest stays."""
        self.make_room(self.budget_bytes, least=1)

    def make_room(self, nbytes: int, least: int = 0) -> None:
        """Let the oldest go until the others have at most `nbytes`, or `least` of the present run's are left."""
        while self._aside and self.nbytes > nbytes:
            del self._aside[0]
        while len(self._kept) > least and self.nbytes > nbytes:
            del self._kept[0]

    def go_to(self, kept: KeptSnapshot) -> None:
        """The state goes back to `kept`, one of these: of its own run what is longer is forgotten."""
        if self.is_aside(kept):
            run = kept.snapshot.lineage
            self._kept = [other for other in self._aside if other.snapshot.lineage is run]
            self._aside = [other for other in self._aside if other.snapshot.lineage is not run]
        self.drop_after(len(kept.ids))

    def is_aside(self, kept: KeptSnapshot) -> bool:
        """Whether it is of another run than the state's."""
        return kept in self._aside

    def _all(self) -> list[KeptSnapshot]:
        return [*self._kept, *self._aside]

    def longest_prefix(self, target: Sequence[int]) -> KeptSnapshot | None:
        """The longest snapshot whose ids are a prefix of `target`; all of it only where the logits behind it are kept,
        as something must be left to feed else.
        """
        fitting = (
            kept
            for kept in self._all()
            if len(kept.ids) < len(target) + (kept.snapshot.logits is not None)
            and kept.ids == tuple(target[: len(kept.ids)])
        )
        return max(fitting, key=lambda kept: len(kept.ids), default=None)

    def drop_after(self, length: int) -> None:
        """Forget the run's snapshots of more than `length` tokens: the state goes another way from there."""
        self._kept = [kept for kept in self._kept if len(kept.ids) <= length]

    def clear(self) -> None:
        self._kept, self._aside = [], []
