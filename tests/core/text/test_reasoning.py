"""The splitter against llama.cpp's own cases, the template that parts follow, and any chunking of the stream."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from qwen_core.protocol.pieces import Part
from qwen_core.text.reasoning import Piece, Splitter, ToolCall, parse_tool_calls
from qwen_core.text.template import ChatTemplate
from qwen_core.text.tokenizer import Tokenizer
from support.text import write_text_files

compiled = cache(ChatTemplate)
TAGS = ("<think>", "</think>", "<tool_call>", "</tool_call>")


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    directory = tmp_path_factory.mktemp("text")
    write_text_files(directory)
    return Tokenizer(directory / "tokenizer.json")


@pytest.fixture(scope="module")
def real(fixtures_dir: Path) -> Tokenizer:
    return Tokenizer(fixtures_dir / "qwen3.6" / "tokenizer.hybrid.json")


def split(tokenizer: Tokenizer, ids: list[int], in_reasoning: bool = False) -> list[Piece]:
    """All pieces of a stream, as the session makes them."""
    return split_late(tokenizer, ids, in_reasoning)[0]


def split_late(tokenizer: Tokenizer, ids: list[int], in_reasoning: bool = False) -> tuple[list[Piece], int]:
    """The same, and how much of the answer's text turned out to be reasoning."""
    decoder, splitter = tokenizer.stream(), Splitter(tokenizer, in_reasoning)
    pieces = [piece for id in ids for piece in splitter.push(id, decoder.push(id))]
    return [*pieces, *splitter.push_text(decoder.flush()), *splitter.flush()], splitter.late_reasoning


def text_of(pieces: list[Piece], part: Part) -> str:
    return "".join(text for of, text in pieces if of == part)


def runs(pieces: list[Piece]) -> list[Piece]:
    """Neighbouring pieces of one part joined."""
    joined: list[Piece] = []
    for part, text in pieces:
        if joined and joined[-1][0] == part:
            joined[-1] = (part, joined[-1][1] + text)
        else:
            joined.append((part, text))
    return joined


def test_llama_cpp_cases(fixtures_dir: Path, real: Tokenizer) -> None:
    """Compared exactly: no text is stripped here, of ours or of theirs. A case without a field says nothing of it."""
    cases = json.loads((fixtures_dir / "vectors" / "llamacpp_qwen35_chat_parse.json").read_text())["cases"]
    assert len(cases) == 13
    for case in cases:
        pieces = split(real, real.encode(case["output"]), case["thinking"])
        calls = [[call.name, call.arguments] for call in parse_tool_calls(text_of(pieces, "tool_call"))]
        assert calls == case["calls"], case
        assert text_of(pieces, "reasoning") == case.get("reasoning", text_of(pieces, "reasoning")), case
        assert text_of(pieces, "answer") == case.get("content", text_of(pieces, "answer")), case


WORDS = st.sampled_from(["a", "é", "生", "🙂", "\n", "\n\n", " ", "<think", "think>", "<tool_call", "<|im_end|>"])
PROSE = st.lists(WORDS, max_size=4).map("".join)
OUTPUT = st.lists(st.one_of(PROSE, st.sampled_from(TAGS)), max_size=10)


def oracle(output: list[str], in_reasoning: bool) -> tuple[list[Piece], int]:
    """The rule of the Splitter's docstring, on a whole output whose control tokens are items of their own: the pieces,
    and how many characters of the answer's text are reasoning.
    """
    part: Part = "reasoning" if in_reasoning else "answer"
    segments: list[tuple[Part, str]] = [(part, "")]
    strays: set[int] = set()  # segments that a `</think>` in the answer began
    opened = in_reasoning  # nothing but newlines since reasoning was opened
    written = 0  # `<think>`s in the answer's text that are not closed there
    for item in output:
        part, text = segments[-1]
        after_call = len(segments) > 1 and segments[-2][0] == "tool_call" and not text.strip()
        answers = [text for of, text in segments[max(strays, default=0) :] if of == "answer"]
        if part == "reasoning":
            if item == "</think>":
                segments.append(("answer", ""))
            elif not (item == "<think>" and opened and not text.strip("\n")):
                segments[-1] = (part, text + item)
        elif part == "tool_call":
            segments[-1] = (part, text + item)
            if item == "</tool_call>":
                segments.append(("answer", ""))
        elif item == "<tool_call>":
            segments.append(("tool_call", item))
        elif item == "<think>" and not any(map(str.strip, answers)) and not after_call:
            segments.append(("reasoning", ""))
            opened = True
        elif item == "</think>" and not written:
            strays.add(len(segments))
            segments.append(("answer", ""))
        else:
            written += {"<think>": 1, "</think>": -1}.get(item, 0)
            segments[-1] = (part, text + item)
    pieces: list[Piece] = []
    late, said, last_stray = 0, 0, False  # last_stray: a stray tag after an answer that nothing has followed yet
    for n, (part, text) in enumerate(segments):
        before = segments[n - 1][0] if n else None
        after = segments[n + 1][0] if n + 1 < len(segments) and n + 1 not in strays else None
        if part == "reasoning":
            pieces.append((part, text.strip("\n")))
            continue
        if part == "tool_call":
            late, last_stray = (said, False) if last_stray else (late, False)
            pieces.append((part, text))
            continue
        if n in strays:
            since = max((stray for stray in strays if stray < n), default=0)
            last_stray = last_stray or any(words.strip() for of, words in segments[since:n] if of == "answer")
        if n in strays or before == "reasoning":
            text = text.lstrip("\n")
        if not text.strip() and (last_stray or before == "tool_call"):
            if after == "tool_call":
                pieces.append(("tool_call", text))
            continue
        if last_stray:
            text = "\n\n" + text
            late, last_stray = said + 2, False
        said += len(text)
        pieces.append((part, text))
    return runs([piece for piece in pieces if piece[1]]), late


@settings(max_examples=200)
@given(output=OUTPUT, in_reasoning=st.booleans())
@example(output=["x", "</think>", "\n\n", "<think>", "\n", "y", "</think>", "z"], in_reasoning=True)
@example(output=["<tool_call>", "a", "</tool_call>", "\n", "<tool_call>", "b"], in_reasoning=False)
@example(output=["a", "</think>", "\n\n", "b", "</think>", " ", "<tool_call>", "c"], in_reasoning=False)
@example(output=["a", "</think>", " \n", "<think>", "b", "</think>", "\n", "c"], in_reasoning=False)
@example(output=["<tool_call>", "</tool_call>", "</think>", "<think>"], in_reasoning=False)
def test_parts_are_those_of_the_rule(tokenizer: Tokenizer, output: list[str], in_reasoning: bool) -> None:
    ids = [
        id
        for item in output
        for id in ([tokenizer.special_tokens[item]] if item in TAGS else tokenizer.encode_ordinary(item))
    ]
    pieces, late = split_late(tokenizer, ids, in_reasoning)
    assert (runs(pieces), late) == oracle(output, in_reasoning)


@settings(max_examples=150)
@given(data=st.data(), output=OUTPUT, in_reasoning=st.booleans())
def test_text_may_come_late(tokenizer: Tokenizer, data: st.DataObject, output: list[str], in_reasoning: bool) -> None:
    """However the decoder holds text back (but never past a control token), the parts are the same."""
    ids = tokenizer.encode("".join(output))
    late, held = [], ""
    splitter = Splitter(tokenizer, in_reasoning)
    decoder = tokenizer.stream()
    tags = {tokenizer.special_tokens[tag] for tag in TAGS}
    for id in ids:
        held += decoder.push(id)
        given_now = len(held) if id in tags else data.draw(st.integers(0, len(held)))
        late += splitter.push(id, held[:given_now])
        held = held[given_now:]
    late += [*splitter.push_text(held), *splitter.push_text(decoder.flush()), *splitter.flush()]
    pieces, late_reasoning = split_late(tokenizer, ids, in_reasoning)
    assert (runs(late), splitter.late_reasoning) == (runs(pieces), late_reasoning)


@settings(max_examples=200)
@given(data=st.data(), in_reasoning=st.booleans())
def test_random_ids_lose_nothing_but_tags_and_white_space(
    tokenizer: Tokenizer, data: st.DataObject, in_reasoning: bool
) -> None:
    tags = [tokenizer.special_tokens[tag] for tag in TAGS]
    ids = data.draw(st.lists(st.one_of(st.integers(0, tokenizer.size + 5), st.sampled_from(tags)), max_size=30))
    pieces = split(tokenizer, ids, in_reasoning)
    assert all(text for _, text in pieces)
    shown = "".join(text for _, text in pieces)
    whole = tokenizer.decode(ids)
    for tag in ("<think>", "</think>"):
        shown, whole = shown.replace(tag, ""), whole.replace(tag, "")
    assert "".join(shown.split()) == "".join(whole.split())


@pytest.mark.parametrize("cut", ["</think>", "<tool_call>"])
def test_a_character_cut_short_by_a_tag_stays_before_it(tokenizer: Tokenizer, cut: str) -> None:
    half = tokenizer.encode_ordinary("🙂")[:1]
    tag = tokenizer.special_tokens[cut]
    pieces = runs(split(tokenizer, [*half, tag, *tokenizer.encode("b")], in_reasoning=cut == "</think>"))
    first: Part = "reasoning" if cut == "</think>" else "answer"
    assert pieces[0] == (first, "\ufffd")
    assert pieces[1][1] == ("b" if cut == "</think>" else "<tool_call>b")


def test_in_reasoning_follows_the_tokens(tokenizer: Tokenizer) -> None:
    splitter = Splitter(tokenizer, in_reasoning=True)
    states = []
    for id in tokenizer.encode("a<tool_call></think>b<think>"):
        splitter.push(id, tokenizer.decode([id]))
        states.append(splitter.in_reasoning)
    assert states == [True, True, False, False, False]


def test_a_tokenizer_without_tags_gives_an_answer() -> None:
    class Bare:
        def token_to_id(self, token: str, /) -> int | None:
            return None

    splitter = Splitter(Bare())
    assert splitter.push(0, "<think>x</think>") == [("answer", "<think>x</think>")]
    assert splitter.flush() == []


NAMES = st.text(st.characters(blacklist_characters=">\n", blacklist_categories=["Cs"]), min_size=1, max_size=9).filter(
    lambda name: name == name.strip()
)
VALUES = st.one_of(
    st.integers(), st.booleans(), st.none(), st.floats(allow_nan=False, allow_infinity=False), st.text(max_size=20),
    st.lists(st.integers(), max_size=3), st.dictionaries(st.text(max_size=3), st.booleans(), max_size=2),
)  # fmt: skip


def reads_back(value: Any) -> bool:
    """Whether XML can say this value: no closing tag inside, and no text that is JSON of something else."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    if "</parameter>" in text:
        return False
    try:
        return not isinstance(value, str) or isinstance(json.loads(value), str)
    except ValueError:
        return True


CALLS = st.lists(
    st.tuples(NAMES, st.dictionaries(NAMES, VALUES.filter(reads_back), max_size=3)), min_size=1, max_size=3
)  # fmt: skip


@given(calls=CALLS)
def test_calls_written_by_the_real_template_read_back(
    calls: list[tuple[str, dict[str, Any]]], fixtures_dir: Path
) -> None:
    functions = [{"function": {"name": name, "arguments": arguments}} for name, arguments in calls]
    messages = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "", "tool_calls": functions}]
    source = (fixtures_dir / "qwen3.6" / "chat_template.jinja").read_text(encoding="utf-8")
    written = compiled(source).render(messages, add_generation_prompt=False).partition("assistant\n")[2]
    assert parse_tool_calls(written) == [ToolCall(name, arguments) for name, arguments in calls]


FRAGMENTS = st.sampled_from(
    ["<function=", "f>", "<parameter=", "p>", "</parameter>", "</function>", "\n", "1", "x", "<tool_call>", "[", ">"]
)


@settings(max_examples=150)
@given(text=st.one_of(st.text(), st.lists(FRAGMENTS, max_size=30).map("".join)))
def test_junk_is_read_without_an_error(text: str) -> None:
    for call in parse_tool_calls(text):
        assert call.name in text
        assert all(name in text for name in call.arguments)


@pytest.mark.parametrize(
    "fragment",
    ["<function=", "<function=f>", "<parameter=", "<function=f><parameter=p>", "</function>", "[", "9", "\n"],
)
def test_long_junk_takes_linear_time(fragment: str) -> None:
    """A million characters of anything: with a quadratic search this would not end."""
    parse_tool_calls(fragment * (1_000_000 // len(fragment)))
    parse_tool_calls("<function=f>\n<parameter=p>\n" + fragment * (1_000_000 // len(fragment)) + "\n</parameter>")


def test_a_call_cut_short_keeps_what_was_complete() -> None:
    text = "<tool_call>\n<function=f>\n<parameter=a>\n1\n</parameter>\n<parameter=b>\nhal"
    assert parse_tool_calls(text) == [ToolCall("f", {"a": 1})]


def test_values_that_json_would_change_stay_text() -> None:
    texts = ["1.50", "01", "1e5", "NaN", "Infinity", '"quoted"', "[1,2]", "9" * 5000, "[" * 100_000, " 1", "true "]
    for text in texts:
        call = f"<function=f>\n<parameter=p>\n{text}\n</parameter>\n</function>"
        assert parse_tool_calls(call) == [ToolCall("f", {"p": text})]
