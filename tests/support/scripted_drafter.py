"""A drafter that knows what comes, and says it, something else, or now one and now the other."""

import random
from collections.abc import Sequence

import mlx.core as mx


class ScriptedDrafter:
    """Drafts `truth`, the tokens that the sequence will have, each right with probability `right`."""

    def __init__(self, truth: Sequence[int], right: float, vocab: int, *, hidden: bool = False, seed: int = 0) -> None:
        self.wants_hidden = hidden
        self.bytes_read = 0
        self.fed_ids: list[int] = []
        self._truth = truth
        self._right = right
        self._vocab = vocab
        self._chance = random.Random(seed)

    def begin(self, ids: Sequence[int]) -> None:
        self.fed_ids = list(ids)

    def fed(self, ids: Sequence[int], hidden: mx.array | None) -> None:
        if self.wants_hidden:
            assert hidden is not None
            assert hidden.shape[1] == len(ids)
        self.fed_ids.extend(ids)

    def draft(self, token: mx.array, count: int) -> list[mx.array]:
        place = len(self.fed_ids) + 1
        drafts = []
        for coming in self._truth[place : place + count]:
            wrong = (coming + self._chance.randrange(1, self._vocab)) % self._vocab
            drafts.append(mx.array([coming if self._chance.random() < self._right else wrong], mx.uint32))
        return drafts
