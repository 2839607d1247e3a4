"""How likely given tokens are, by one prefill in chunks: no more logits are in memory than those of a few positions."""

from collections.abc import Callable, Iterator, Sequence

from qwen_core.device.backend import mx
from qwen_core.errors import CapacityError, SettingsError, TextError, quote
from qwen_core.model.model import Model
from qwen_core.protocol.probabilities import LENS_TOP, Probabilities, together
from qwen_core.protocol.scoring import Score, Spelling, TextScore
from qwen_core.session.foresight import check_fits, foresee
from qwen_core.session.generate import check_ids, chunk_size
from qwen_core.session.lens import probability_rows, rows_of
from qwen_core.session.loading import LoadedModel, ModelOwner, Stopped
from qwen_core.text.tokenizer import Tokenizer

ROWS = 32
"""Positions whose logits are in memory at a time: 32 MB of a vocabulary of 248,320."""

Done = Callable[[int, int], None]
"""Told how many tokens are read, and of how many."""


def predictions(
    model: Model, ids: Sequence[int], first: int, stop: Stopped, progress: Done = lambda done, total: None
) -> Iterator[tuple[mx.array, Sequence[int]]]:
    """Runs of the tokens from place `first` (1 or later) on with the logits [R, V] that they were predicted by.

    It ends early where `stop`, asked before each chunk, says so. The same ids give the same runs, of every model.
    Raises QwenError, reading nothing, if an id is none of the model's.
    """
    check_ids(ids, model.config.vocab_size)
    state, start, total = model.new_state(), 0, len(ids) - 1  # what follows the last token nobody asks
    while start < total and not stop():
        end = min(start + chunk_size(model.config.num_attention_heads, state.length), total)
        fed = mx.array([list(ids[start:end])])
        if end < first:
            model.feed(fed, state)
            mx.eval(state.arrays())
        else:
            hidden = model.hidden(fed, state)
            mx.eval(hidden, state.arrays())
            for row in range(max(start, first - 1), end, ROWS):
                last = min(row + ROWS, end)
                yield model.head(hidden[:, row - start : last - start])[0], ids[row + 1 : last + 1]
        start = end
        progress(end, total)


def score(
    loaded: LoadedModel,
    tokenizer: Tokenizer | None,
    ids: Sequence[int],
    prompt_ids: Sequence[int] = (),
    *,
    top: int = LENS_TOP,
    stop: Stopped = lambda: False,
    progress: Done = lambda done, total: None,
) -> TextScore | None:
    """How likely `ids` are behind `prompt_ids`; None where `stop` said so. The first token of all has no probability.

    Raises SettingsError for too few tokens, QwenError for ids that the model does not have or where it computes no
    numbers.
    """
    whole = [*prompt_ids, *ids]
    if len(whole) < 2 or not ids:
        raise SettingsError("there is nothing to score: it takes two tokens, of which the first predicts the second")
    top = min(top, loaded.model.config.vocab_size)
    first = max(1, len(prompt_ids))
    parts: list[Probabilities] = []
    place = first
    for logits, tokens in predictions(loaded.model, whole, first, stop, progress):
        rows = probability_rows(logits, mx.array(list(tokens), mx.uint32), top)
        parts.append(rows_of(rows, top, place + 1))
        place += len(tokens)
    if place < len(whole):
        return None
    nbytes = sum(len(tokenizer.token_bytes(token)) for token in whole[first:]) if tokenizer is not None else 0
    return TextScore(tuple(ids), together(parts) or Probabilities(top), nbytes)


def check_room(tokens: int, loaded: LoadedModel) -> int:
    """How many bytes are left beside the state of so many tokens. CapacityError where that is less than none."""
    limit = loaded.summary.context_limit
    if tokens > limit:
        raise CapacityError(f"the text has {tokens:,} tokens and the model takes {limit:,}: shorten it")
    return check_fits(foresee(loaded, tokens, tokens), loaded, 0)


def text_ids(tokenizer: Tokenizer, text: str, limit: int, stop: Stopped = lambda: False) -> list[int] | None:
    """The tokens of `text`, which are ordinary ones whatever it spells; None where `stop` said so.

    Raises CapacityError for more than `limit`, before a long text is encoded in one piece.
    """
    count = tokenizer.count_up_to(text, limit + limit // 8, stop)
    if count is None:
        return None
    if count > limit + limit // 8:
        raise CapacityError(f"the text has more than {limit:,} tokens, which is what the model takes: shorten it")
    return tokenizer.encode_ordinary(text)


class Scorer(ModelOwner):
    """A model that says of given tokens how likely they are, and what they write."""

    def __init__(self, loaded: LoadedModel, tokenizer: Tokenizer | None) -> None:
        super().__init__(loaded)
        self._tokenizer = tokenizer

    def score(
        self, asked: Score, *, stop: Stopped = lambda: False, progress: Done = lambda done, total: None
    ) -> TextScore | None:
        """How likely the tokens that are asked about are, by one prefill over a state of its own; None where `stop`
        said so meanwhile. Raises TextError for a text without a tokenizer, CapacityError for more tokens than the model
        takes or the memory holds, and what `score` raises.
        """
        ids: Sequence[int] | None = asked.ids
        if asked.text:
            if self._tokenizer is None:
                raise TextError(f"{quote(self.model.checkpoint.path)} has no tokenizer.json: give token ids, not text")
            ids = text_ids(self._tokenizer, asked.text, self.loaded.summary.context_limit, stop)
        if ids is None:
            return None
        self._keep_free(check_room(len(asked.prompt_ids) + len(ids), self.loaded))
        return score(
            *(self.loaded, self._tokenizer, ids, asked.prompt_ids), top=asked.top, stop=stop, progress=progress
        )

    def spell(self, ids: Sequence[int]) -> tuple[Spelling, ...]:
        """What the tokens write; nothing without a tokenizer."""
        if self._tokenizer is None:
            return tuple(Spelling(token, b"") for token in ids)
        control = frozenset(self._tokenizer.special_tokens.values())
        return tuple(Spelling(token, self._tokenizer.token_bytes(token), token in control) for token in ids)

    def _keep_free(self, nbytes: int) -> None:
        """So many bytes are left beside the state that is about to be made: whoever holds others lets go of some."""
