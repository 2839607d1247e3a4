"""Ids to pieces: all of the text once, every token of a block of reasoning counted, nothing without a tokenizer."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwen_core.protocol.pieces import joined, text_of
from qwen_core.text.piece_stream import PieceStream
from qwen_core.text.tokenizer import Tokenizer
from support.text import tokenizer_json


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    path: Path = tmp_path_factory.mktemp("text") / "tokenizer.json"
    path.write_text(tokenizer_json(), encoding="utf-8")
    return Tokenizer(path)


WORDS = st.text(st.sampled_from("ab é日\U0001f642"), min_size=1, max_size=12).filter(str.strip)


@given(thought=WORDS, answer=WORDS)
def test_a_tokens_part_is_where_it_stands(tokenizer: Tokenizer, thought: str, answer: str) -> None:
    """Also that of a token without text of its own: half a character, the tag that closes the block."""
    reasoning = [*tokenizer.encode(thought), *tokenizer.encode("</think>")]
    stream = PieceStream(tokenizer, in_reasoning=True)
    pieces = [piece for token in (*reasoning, *tokenizer.encode(answer)) for piece in stream.push(token)]
    assert not stream.reasoning_is_open
    assert stream.reasoning_tokens == len(reasoning)
    assert joined([*pieces, *stream.flush()]) == (("reasoning", thought), ("answer", answer))
    assert (text_of(pieces, "answer"), text_of(pieces, "reasoning", "answer")) == (answer, thought + answer)


def test_without_a_tokenizer_there_is_no_text() -> None:
    stream = PieceStream(None)
    assert (stream.push(1), stream.flush(), stream.reasoning_tokens) == ([], [], 0)
    assert not stream.mid_character
    assert not stream.reasoning_is_open
