"""A document in pieces is read as the whole of it would be, or refused where that is."""

import itertools
import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from qwen_core.files import strict_json
from qwen_tui.store.json_stream import JsonStream

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.sampled_from('ab"\\[]{},: \u4e2d\n'), max_size=6),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=4),
    max_leaves=12,
)


def streamed(text: str, cuts: list[int], most_characters: int = 1000) -> Any:
    """`text`, cut into pieces, as a stream gives it: objects and arrays of the first two levels by their parts."""
    places = sorted({cut % (len(text) + 1) for cut in cuts} | {0, len(text)})
    pieces = [text[begin:end] for begin, end in itertools.pairwise(places)]
    stream = JsonStream(pieces, most_characters, 1_000_000)
    value = read(stream, 0)
    stream.end()
    return value


def read(stream: JsonStream, depth: int) -> Any:
    if depth < 2 and stream.begins_with("{"):
        return {key: read(stream, depth + 1) for key in stream.members()}
    return list(stream.items()) if stream.begins_with("[") else stream.value()


@given(
    VALUES, st.lists(st.integers(0, 10_000), max_size=8), st.integers(0, 10_000), st.text('{}[]",: 0a\\', max_size=3)
)
@example({"a": [1, {"b": "]"}]}, [3, 5], 0, "")
@example(1.5, [1], 0, "")
def test_what_comes_in_pieces_reads_as_the_whole(value: Any, cuts: list[int], place: int, mutation: str) -> None:
    """`mutation` is put over what stands at a place."""
    text = json.dumps(value, indent=place % 2 or None, ensure_ascii=False)
    place %= len(text)
    text = text[:place] + mutation + text[place + len(mutation) :]
    try:
        expected = strict_json(text)
    except ValueError:
        with pytest.raises(ValueError):
            streamed(text, cuts)
        return
    assert json.dumps(streamed(text, cuts)) == json.dumps(expected)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"a": 1, "b": 2, "a": 3}', "'a' occurs twice"),
        ('{"a": [{"b": 1, "b": 2}]}', "'b' occurs twice"),
        ('{"a": [NaN]}', "NaN is not a JSON number"),
        ('{"a": 1e999}', "too large"),
        (f'{{"a": {"1" * 5000}}}', "digits"),
        (f'{{"a": {"[" * 900_000}{"]" * 900_000}}}', "nested too deeply"),
        (f'{{"a": {"[" * 900_000}}}', "in the middle of a value"),
        (f'{{"a": "{"x" * 3_000_000}"}}', "longer than 2,500,000 characters"),
        (f'{{"a": {"1" * 3_000_000}}}', "longer than 2,500,000 characters"),
        (f'{{"a": [[{"1," * 1_000_001}1]]}}', "values"),
        ('{"a": 1} x', "more behind its end"),
    ],
)
def test_what_is_refused_is_said(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        streamed(text, list(range(0, len(text), 65_536)), 2_500_000)


def test_no_more_is_fetched_than_the_value_takes() -> None:
    """Of a file of any size one value is held, and as much again as has come with it."""
    fetched = 0

    def pieces() -> Any:
        nonlocal fetched
        for piece in ('{"a": [', *['"0123456789",'] * 10_000, '""]}'):
            fetched += 1
            yield piece

    stream = JsonStream(pieces(), 1000, 1000)
    for _ in stream.members():
        for number, item in enumerate(stream.items()):
            assert fetched <= number + 6, item
    assert fetched == 10_002
