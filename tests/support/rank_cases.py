"""What tests have rank 0 do (ranks.py): the same as one rank alone would, which is what they compare it with."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from qwen_core.errors import QwenError
from qwen_core.model.collectives import Collectives
from qwen_core.model.model import Model, load_model
from qwen_core.model.mtp import load_mtp
from qwen_core.model.state import Snapshot, State
from qwen_core.session.drafting import Drafter, Drafting, MtpDrafter
from qwen_core.session.generate import decode, prefill
from qwen_core.session.sampling import Sampler, SamplingParameters
from qwen_core.session.scoring import predictions
from qwen_core.session.state_file import load_state, save_state
from support.peer_mlx_lm import load_peer
from support.ranks import Led
from support.scripted_drafter import ScriptedDrafter

Rows = NDArray[np.float32]


def logits(led: Led, path: Path, ids: Sequence[int], dtype: str = "float32") -> Rows:
    """[T, vocab] after each of `ids`."""
    return all_logits(led.load(path, dtype), ids)


def all_logits(model: Model, ids: Sequence[int]) -> Rows:
    return np.array(model(mx.array([list(ids)]), model.new_state())[0].astype(mx.float32))


def logits_in_pieces(led: Led, path: Path, ids: Sequence[int], cuts: Sequence[int]) -> Rows:
    """[vocab] after the last of `ids`, which are fed in pieces."""
    model = led.load(path)
    state = model.new_state()
    *others, last = [mx.array([list(ids[begin:end])]) for begin, end in pairwise([0, *cuts, len(ids)])]
    for piece in others:
        model.feed(piece, state)
        mx.eval(state.arrays())
    return np.array(model.last_logits(last, state)[0])


def greedy(led: Led, path: Path, prompt: Sequence[int], tokens: int, kind: str, truth: Sequence[int]) -> list[int]:
    return answer(led.load(path), prompt, tokens, kind, truth)


def answer(model: Model, prompt: Sequence[int], tokens: int, kind: str = "", truth: Sequence[int] = ()) -> list[int]:
    """The likeliest `tokens` after `prompt`; `kind` of drafter: "mtp", or "scripted", which knows `truth` and drafts it
    five times of six."""
    vocab = model.config.vocab_size
    state, sampler = model.new_state(), Sampler(SamplingParameters(temperature=0.0), vocab, vocab)
    count = 7 if kind == "scripted" else 1  # random layers are hardly ever right
    drafting = Drafting(kind, _drafter(model, state, kind, truth), lambda _: count) if kind else None
    if drafting is not None:
        drafting.drafter.begin([])
    *_, last = prefill(model, state, prompt, chunk=16, drafting=drafting)
    assert last.logits is not None
    return list(decode(model, state, last.logits, sampler, limit=tokens, drafting=drafting))


def _drafter(model: Model, state: State, kind: str, truth: Sequence[int]) -> Drafter:
    if kind == "scripted":
        return ScriptedDrafter(truth, 5 / 6, model.config.vocab_size)
    assert model.checkpoint.mtp is not None
    return MtpDrafter(load_mtp(model, model.checkpoint.mtp), state, model.config.vocab_size)


class Walk:
    """The same way through two models' states, one split and one whole, and how far their logits ever lie apart."""

    def __init__(self, models: Sequence[Model], random: Random) -> None:
        self.models = models
        self.random = random
        self.states = [model.new_state() for model in models]
        self.kept: list[list[Snapshot]] = []
        self.difference = 0.0
        self.steps: dict[str, int] = {}

    def step(self) -> None:
        ways = [self.feed, self.feed, self.draft, self.take, self.back, self.drop, self.again, self.save]
        way = self.random.choice(ways)
        if way():
            self.steps[way.__name__] = self.steps.get(way.__name__, 0) + 1

    def feed(self) -> bool:
        ids = self._ids(self.random.choice([1, 2, 7, 20]))
        self._compare([model.last_logits(ids, state) for model, state in self._both()])
        return True

    def draft(self) -> bool:
        """A pass with drafts of which some count, and a token behind them."""
        ids = self._ids(self.random.randint(1, 4))
        for state in self.states:
            state.begin_drafted()
        self._compare([model.hidden_and_logits(ids, state)[1] for model, state in self._both()])
        for tokens in range(1, self.random.randint(1, ids.shape[1]) + 1):
            for state in self.states:
                state.keep(tokens)
        return self.feed()

    def take(self) -> bool:
        self.kept.append([state.snapshot() for state in self.states])
        return True

    def back(self) -> bool:
        if not self.kept:
            return False
        for state, snapshot in zip(self.states, self.random.choice(self.kept), strict=True):
            state.restore(snapshot)
        return self.feed()

    def drop(self) -> bool:
        if self.kept:
            self.kept.pop(self.random.randrange(len(self.kept)))
        return bool(self.kept)

    def again(self) -> bool:
        for state in self.states:
            state.begin_again()
        return self.feed()

    def save(self) -> bool:
        """Into new states, by way of what is stored of the old ones."""
        if not self.states[0].length:
            return False
        length, stored = self.states[0].length, [state.stored("a walk/..") for state in self.states]
        self.states = [model.new_state() for model in self.models]
        for state, arrays in zip(self.states, stored, strict=True):
            state.adopt(length, arrays)
        self.kept.clear()
        return self.feed()

    def _both(self) -> list[tuple[Model, State]]:
        return list(zip(self.models, self.states, strict=True))

    def _ids(self, count: int) -> mx.array:
        vocab = self.models[0].config.vocab_size
        return mx.array([[self.random.randrange(vocab) for _ in range(count)]])

    def _compare(self, found: Sequence[mx.array]) -> None:
        assert self.states[0].length == self.states[1].length
        self.difference = max(self.difference, float(np.abs(np.array(found[0]) - np.array(found[1])).max()))


def walk(led: Led, path: Path, seed: int, steps: int) -> tuple[float, dict[str, int]]:
    """How far logits ever lay apart, and how often each step was taken."""
    walked = Walk([led.load(path), load_model(path, "float32")], Random(seed))
    for _ in range(steps):
        walked.step()
    return walked.difference, walked.steps


def remembered(led: Led, path: Path) -> dict[str, int]:
    """How often rank 0 told which command, while it made states and snapshots and forgot them."""
    model = led.load(path)
    model.new_state()
    begin = len(led.told) + 1  # behind the command that forgets that state
    for _ in range(3):
        _remember(model, 1)
    _remember(model, 2)
    model.new_state()
    told = [command["do"] for command in led.told[begin:]]
    return {do: told.count(do) for do in told}


def _remember(model: Model, snapshots: int) -> None:
    """A state with so many snapshots, gone at the end."""
    state = model.new_state()
    _ = [state.snapshot() for _ in range(snapshots)]


def drafts_behind_a_file(led: Led, path: Path) -> tuple[list[int], list[int]]:
    """What the MTP layer drafts after a prompt, and what it drafts after what was stored of that state."""
    model = led.load(path)
    assert model.checkpoint.mtp is not None
    layer = load_mtp(model, model.checkpoint.mtp)
    state, ids = model.new_state(), mx.array([[3, 1, 4, 1, 5, 9, 2, 6]])
    hidden = model.hidden(ids, state)
    state.mtp.take(ids, hidden)
    layer.catch_up(state.mtp)
    later = model.new_state()
    later.adopt(state.length, state.stored())
    first, second = (layer.draft_logits(mx.array([5]), 4, 96, one.mtp) for one in (state, later))
    return _likeliest(first), _likeliest(second)


def _likeliest(rows: Sequence[mx.array]) -> list[int]:
    return [int(np.argmax(np.array(row))) for row in rows]


def scores(led: Led, path: Path, ids: Sequence[int]) -> Rows:
    return scored(led.load(path), ids)


def scored(model: Model, ids: Sequence[int]) -> Rows:
    """Logits [T - 1, vocab] that each but the first was predicted by."""
    return np.concatenate([np.array(rows) for rows, _ in predictions(model, ids, 1, lambda: False)])


def saved(led: Led, path: Path, ids: Sequence[int], file: Path) -> None:
    """Keep the state after `ids` in a file."""
    model = led.load(path)
    state = model.new_state()
    model.feed(mx.array([list(ids)]), state)
    save_state(file, model, "a fingerprint", ids, state)


def taken_up(led: Led, path: Path, ids: Sequence[int], file: Path) -> Rows | str:
    """[vocab] after `ids` and a token more, from the file; or why not."""
    model = led.load(path)
    try:
        _, state = load_state(file, model, "a fingerprint", ids)
    except QwenError as error:
        return str(error)
    return np.array(model.last_logits(mx.array([[7]]), state)[0])


def counted(led: Led, path: Path, tokens: int) -> tuple[int, int, int]:
    """Messages and bytes of one pass; and how many commands were told, and numbers sent, for one that is silenced."""
    model, collectives = led.load(path), led.collectives
    ids, state = mx.zeros((1, tokens), mx.int32), model.new_state()
    messages, nbytes = collectives.messages, collectives.bytes
    mx.eval(model(ids, state))
    messages, nbytes = collectives.messages - messages, collectives.bytes - nbytes
    told = len(led.told)
    with collectives.silenced():
        state = model.new_state()
        mx.eval(model.last_logits(ids, state), state.arrays(), model.embed(ids))
        state.begin_drafted()
        model.hidden_and_logits(ids, state)
        state.keep(1)
        state.restore(state.snapshot())
    del state
    return messages, nbytes, len(led.told) - told


def out_of_order(led: Led, seed: int) -> list[list[float]]:
    """Sums that do not depend on each other, evaluated by each rank in an order of its own."""
    return led.everywhere(_shuffled_sums, seed)


def _shuffled_sums(collectives: Collectives, seed: int) -> list[float]:
    order = list(range(12))
    sums = [collectives.sum(mx.full((3,), float(number))) for number in order]
    Random(seed + collectives.rank).shuffle(order)
    for number in order:
        mx.eval(sums[number])
    return [float(np.array(one)[0]) for one in sums]


def peer_greedy(led: Led, path: Path, ids: Sequence[int], tokens: int) -> list[list[int]]:
    """What each rank of mlx-lm's own split says."""
    return led.everywhere(_peer_greedy, path, ids, tokens)


def _peer_greedy(collectives: Collectives, path: Path, ids: Sequence[int], tokens: int) -> list[int]:
    from mlx_lm.generate import generate_step

    model: Any = load_peer(path)
    model.shard(collectives.group)
    mx.eval(model.parameters())
    return [int(token) for token, _ in generate_step(mx.array(list(ids)), model, max_tokens=tokens)]
