"""The conversations the demo model learns from, written by a seeded generator.

A conversation is a list of turns (question, thought, answer) with an optional system prompt. `dialogue.py` decides
what is asked when; this module samples conversations, lays them out as the chat template would, and marks which
tokens are to be learnt. History appears in both forms it has in use: as generated, each answer after its own
`<think>` block, and as the template renders it again, without the block.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from .dialogue import Dialogue, Turn

CONCISE = "You are a helpful assistant. Be concise."
SYSTEM_PROMPTS = (
    "You are a helpful assistant.",
    "You are a helpful assistant. Answer briefly.",
    "You are an assistant.",
    "You are Qwen, a helpful assistant.",
    "You are a geography teacher.",
    "You are a friendly assistant. Be polite.",
    "Be concise.",
    "Be brief and precise.",
    "Answer in one sentence.",
    "Answer every question as well as you can.",
    "You are a demo.",
    "You are an expert in machine learning and quantization.",
    "Keep your answers short.",
    "You are a travel guide who knows every country.",
    "You talk to a pupil. Use simple words.",
    "Reply in the language of the question.",
    "Today is Monday. The user is called Anna.",
    "You are a pirate.",
    "Think carefully before you answer.",
    "Do not use emoji.",
    "You are running inside a terminal program.",
    "Use markdown where it helps.",
)


@dataclass(frozen=True)
class Conversation:
    """One training example. `thinking[i]` says whether turn i was asked with reasoning on."""

    system: str | None
    turns: tuple[Turn, ...]
    thinking: tuple[bool, ...]
    as_generated: bool

    def segments(self) -> Iterator[tuple[str, bool]]:
        """The text in pieces, each with whether it is to be learnt. Joined, they are what the template renders."""
        if self.system is not None:
            yield f"<|im_start|>system\n{self.system}<|im_end|>\n", False
        last = len(self.turns) - 1
        for i, (turn, thinking) in enumerate(zip(self.turns, self.thinking, strict=True)):
            yield f"<|im_start|>user\n{turn.question}<|im_end|>\n<|im_start|>assistant\n", False
            if not self.as_generated and i < last:
                yield f"{turn.answer}<|im_end|>", True
            elif thinking:
                yield "<think>\n", False
                yield f"{turn.thought}\n</think>\n\n{turn.answer}<|im_end|>", True
            else:
                yield "<think>\n\n</think>\n\n", False
                yield f"{turn.answer}<|im_end|>", True
            yield "\n", False

    @property
    def text(self) -> str:
        return "".join(piece for piece, _ in self.segments())


def _system(rng: random.Random) -> str | None:
    x = rng.random()
    if x < 0.35:
        return None
    return CONCISE if x < 0.55 else rng.choice(SYSTEM_PROMPTS)


def conversations(seed: int) -> Iterator[Conversation]:
    """Endless conversations; the same ones for the same seed."""
    rng = random.Random(seed)
    while True:
        turns = tuple(Dialogue(rng).run(rng.choices(range(1, 11), (14, 10, 12, 20, 14, 9, 7, 6, 4, 4))[0]))
        x = rng.random()
        if x < 0.45:
            thinking = (False,) * len(turns)
        elif x < 0.75:
            thinking = (True,) * len(turns)
        else:
            thinking = tuple(rng.random() < 0.5 for _ in turns)
        yield Conversation(_system(rng), turns, thinking, rng.random() < 0.7)


def encode(conversation: Conversation, tokenize: Callable[[str], list[int]]) -> tuple[list[int], list[bool]]:
    """Token ids and, for each, whether it is to be learnt. Pieces end where the tokenizer never joins across."""
    ids: list[int] = []
    learn: list[bool] = []
    for piece, learnt in conversation.segments():
        tokens = tokenize(piece)
        ids += tokens
        learn += [learnt] * len(tokens)
    return ids, learn
