"""Stores for tests: with a clock that ticks by itself, and turns written in one line."""

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hypothesis import strategies as st

from qwen_core.protocol.events import GenerationSettings, Message
from qwen_tui.store import ModelIdentity, Store, open_store

MODEL = ModelIdentity("f" * 32, "/models/Qwen3.6-27B-UD-NVFP4_K_XL-mlx", "Qwen3.6-27B", "UD-NVFP4_K_XL", 21_900_000_000)
OTHER = ModelIdentity("e" * 32, "/models/small", "Qwen3.5-0.8B", "Q4", 500_000_000)

# Everything that UTF-8 can hold, the character that ends a C string too.
TEXT = st.text(st.characters(codec="utf-8") | st.sampled_from("\0\n中文 é"), max_size=30)
TOKENS = st.lists(st.integers(0, 300_000) | st.integers(0, (1 << 32) - 1), max_size=40)


@contextmanager
def opened(path: Path, *, full_text: bool = True) -> Iterator[Store]:
    """The store in the folder `path`, closed at the end. Its time goes on by one second with every look at it."""
    ticks = itertools.count(1_700_000_000)
    store = open_store(path / "conversations.db", now=lambda: float(next(ticks)), full_text=full_text)
    # Tests write thousands of transactions and pull no plug: waiting for the disk at each would take minutes.
    store.database.read("PRAGMA synchronous = OFF")
    try:
        yield store
    finally:
        store.close()


def turn(store: Store, conversation_id: int, question: str, answer: str, ids: tuple[int, ...] = ()) -> tuple[int, int]:
    """A whole turn at the end of the shown branch: the ids of question and answer."""
    question_id = store.answers.ask(conversation_id, question)
    answer_id = store.answers.begin(question_id, GenerationSettings(), MODEL)
    store.answers.finish(answer_id, Message("assistant", answer), "stop", ids)
    return question_id, answer_id


def shown(store: Store, conversation_id: int) -> list[str]:
    return [message.content for message in store.tree.path(conversation_id)]
