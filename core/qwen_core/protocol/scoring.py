"""How likely a text was, asked and answered; and what token ids write. Plain values, like all here."""

from dataclasses import dataclass

from qwen_core.protocol.probabilities import LENS_TOP, Probabilities, bits_per_byte, perplexity


@dataclass(frozen=True)
class TextScore:
    """The tokens of a text and how likely each was behind those before it.

    `probabilities` are of the last of `ids`: the first token of all, before which nothing stands, has none. `nbytes` is
    what those that have one write, 0 without a tokenizer.
    """

    ids: tuple[int, ...]
    probabilities: Probabilities
    nbytes: int = 0

    @property
    def perplexity(self) -> float | None:
        return perplexity(self.probabilities.logprobs())

    @property
    def bits_per_byte(self) -> float | None:
        return bits_per_byte(self.probabilities.logprobs(), self.nbytes)

    @property
    def first(self) -> int:
        """The place in `ids` of the first token that has a probability."""
        return len(self.ids) - len(self.probabilities)


@dataclass(frozen=True)
class Score:
    """Say how likely each of `ids` is behind `prompt_ids`, or, where `text` is given, each token of that behind those
    before it. One prefill, beside the conversation; it waits behind other work, and `Stop` ends it. `number` is the
    app's own, repeated in what answers.
    """

    number: int
    ids: tuple[int, ...] = ()
    prompt_ids: tuple[int, ...] = ()
    text: str = ""
    top: int = LENS_TOP


@dataclass(frozen=True)
class ScoreProgress:
    """So many tokens of a `Score` are read."""

    number: int
    done: int
    total: int


@dataclass(frozen=True)
class Scored:
    """The answer to a `Score`."""

    number: int
    score: TextScore


@dataclass(frozen=True)
class ScoreFailed:
    """The other answer: one line that says why."""

    number: int
    message: str


@dataclass(frozen=True)
class Spell:
    """Say what the tokens `ids` write."""

    number: int
    ids: tuple[int, ...]


@dataclass(frozen=True)
class Spelling:
    """What token `id` writes: bytes, which may be part of a character, none for an id without a token. `control`: it is
    no text but a control token, such as `<|im_end|>`."""

    id: int
    written: bytes
    control: bool = False


@dataclass(frozen=True)
class Spelled:
    """The answer to a `Spell`, in its order; () where no model is loaded."""

    number: int
    tokens: tuple[Spelling, ...]
