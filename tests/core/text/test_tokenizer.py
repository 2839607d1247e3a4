"""The tokenizer against the `tokenizers` library, Unicode's own normalisation, and transformers' golden ids."""

import json
import signal
import unicodedata
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import pytest
import tokenizers
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qwen_core.checkpoint.directory import MAX_TOKENIZER_BYTES, open_checkpoint
from qwen_core.errors import TextError
from qwen_core.text.tokenizer import Tokenizer, byte_alphabet, load_tokenizer
from qwen_core.text.tokenizer_file import called
from support.checkpoints import write_checkpoint
from support.text import ADDED_TOKENS, TOKENIZER_SIZE, tokenizer_json, write_text_files

LITERALS = st.sampled_from(list(ADDED_TOKENS))
# Accents that compose, scripts of two to four bytes, an emoji of several code points, and characters of all planes.
TEXT = st.one_of(
    st.text(),
    st.lists(st.sampled_from(["e\u0301", "生活的真谛是", "ปี", "👩‍🚀🇫🇷", " \n\n  x", "It's 2026", "\ufffd"])).map(
        "".join
    ),
)
MIXED = st.lists(st.one_of(TEXT, LITERALS)).map("".join)


@pytest.fixture(scope="module", params=["real", "small"])
def path(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """tokenizer.json of the real model's ids, or the small one of tests/support."""
    if request.param == "real":
        return request.getfixturevalue("fixtures_dir") / "qwen3.6" / "tokenizer.hybrid.json"
    directory = tmp_path_factory.mktemp("small")
    write_text_files(directory)
    return directory / "tokenizer.json"


@pytest.fixture(scope="module")
def tokenizer(path: Path) -> Tokenizer:
    return Tokenizer(path)


@pytest.fixture(scope="module")
def library(path: Path) -> tokenizers.Tokenizer:
    return tokenizers.Tokenizer.from_file(str(path))


@pytest.fixture(scope="module")
def stripped(path: Path) -> tokenizers.Tokenizer:
    """The library's tokenizer of the same file without its added tokens: what ordinary text must encode as."""
    data = json.loads(path.read_text(encoding="utf-8"))
    data["added_tokens"] = []
    return tokenizers.Tokenizer.from_str(json.dumps(data))


def ids_of(tokenizer: Tokenizer) -> st.SearchStrategy[list[int]]:
    """Ids of all kinds: any, those of text (whose characters they split), added ones, and ids without a token."""
    any_id = st.integers(min_value=0, max_value=tokenizer.size + 300)
    added = st.sampled_from(sorted(tokenizer.special_tokens.values()))
    single_bytes = st.integers(min_value=0, max_value=255)
    lists = st.lists(st.one_of(any_id, added, single_bytes), max_size=40)
    return st.one_of(
        lists, st.lists(st.one_of(lists, MIXED.map(tokenizer.encode))).map(lambda parts: list(chain(*parts)))
    )


@given(data=st.data())
def test_decoding_is_the_librarys(tokenizer: Tokenizer, library: tokenizers.Tokenizer, data: st.DataObject) -> None:
    ids = [id for id in data.draw(ids_of(tokenizer)) if library.id_to_token(id) is not None]
    assert tokenizer.decode(ids) == library.decode(ids, skip_special_tokens=False)


@given(data=st.data())
def test_a_stream_joins_to_the_whole(tokenizer: Tokenizer, data: st.DataObject) -> None:
    stream = tokenizer.stream()
    for _ in range(2):  # a flushed stream is as new
        ids = data.draw(ids_of(tokenizer))
        pieces = [stream.push(id) for id in ids]
        assert "".join(pieces) + stream.flush() == tokenizer.decode(ids)


@given(text=MIXED)
def test_text_comes_back_and_streams_in_whole_characters(tokenizer: Tokenizer, text: str) -> None:
    expected = tokenizer.decode(tokenizer.encode(text))
    # Added tokens are cut out before normalising, so marks do not compose with their ends; NFC again hides that.
    assert unicodedata.normalize("NFC", expected) == unicodedata.normalize("NFC", text)
    stream, shown = tokenizer.stream(), ""
    for id in tokenizer.encode(text):
        shown += stream.push(id)
        assert expected.startswith(shown)
    assert shown == expected
    assert stream.flush() == ""


@given(text=MIXED)
def test_encoding_is_the_librarys(tokenizer: Tokenizer, library: tokenizers.Tokenizer, text: str) -> None:
    assert tokenizer.encode(text) == library.encode(text, add_special_tokens=False).ids


@given(text=MIXED)
def test_ordinary_text_makes_no_control_token(tokenizer: Tokenizer, stripped: tokenizers.Tokenizer, text: str) -> None:
    ids = tokenizer.encode_ordinary(text)
    assert ids == stripped.encode(text, add_special_tokens=False).ids
    assert not set(ids) & set(tokenizer.special_tokens.values())
    assert tokenizer.decode(ids) == unicodedata.normalize("NFC", text)


@given(text=MIXED)
def test_cutting_at_control_tokens_loses_nothing(tokenizer: Tokenizer, text: str) -> None:
    pieces = tokenizer.cut_at_control(text)
    spelled = {id: spelling for spelling, id in tokenizer.special_tokens.items()}
    assert "".join(piece if isinstance(piece, str) else spelled[piece] for piece in pieces) == text
    control = [id for id in tokenizer.encode(text) if id in spelled]
    assert [piece for piece in pieces if isinstance(piece, int)] == control


def test_ids_without_a_token_are_nothing(tokenizer: Tokenizer) -> None:
    beyond = [tokenizer.size, tokenizer.size + 1, 2**31, 2**40, -1]
    assert tokenizer.decode(beyond) == ""
    assert [tokenizer.id_to_token(id) for id in beyond] == [None] * len(beyond)
    stream = tokenizer.stream()
    assert "".join(map(stream.push, beyond)) + stream.flush() == ""


def test_the_added_tokens_are_qwens(fixtures_dir: Path) -> None:
    published = json.loads((fixtures_dir / "qwen3.6" / "added_tokens.json").read_text())
    real = Tokenizer(fixtures_dir / "qwen3.6" / "tokenizer.hybrid.json")
    assert real.special_tokens == published
    assert real.size == 248077  # FORMAT.md, 11
    for spelling, id in published.items():
        assert real.encode(spelling) == [id] == [real.token_to_id(spelling)]
        assert real.id_to_token(id) == spelling
    assert list(published) == sorted(ADDED_TOKENS)  # what the small tokenizer is made of


def test_golden_ids_decode_to_their_text(fixtures_dir: Path, tmp_path: Path) -> None:
    """transformers' golden ids of the 9B. The fixture's merges are another model's, so a tokenizer.json is made here
    that has the golden tokens at the golden ids; its bytes, specials and streaming are as for any other.
    """
    golden = json.loads((fixtures_dir / "vectors" / "qwen35_tokenizer_golden.json").read_text(encoding="utf-8"))
    data = json.loads((fixtures_dir / "qwen3.6" / "tokenizer.hybrid.json").read_text(encoding="utf-8"))
    data["model"]["vocab"] = dict(zip(golden["tokens"], golden["ids"], strict=True))
    data["model"]["merges"] = []
    (tmp_path / "tokenizer.json").write_text(json.dumps(data), encoding="utf-8")
    tokenizer = Tokenizer(tmp_path / "tokenizer.json")
    assert tokenizer.decode(golden["ids"]) == golden["text"]
    stream = tokenizer.stream()
    pieces = [stream.push(id) for id in golden["ids"]]
    assert "".join(pieces) == golden["text"]
    assert "😊" in [piece.strip() for piece in pieces]  # two tokens, one character, one piece


def test_golden_ids_that_no_merge_can_change(fixtures_dir: Path) -> None:
    """Of the golden ids, those of tokens of one byte, and of added tokens, hold for the fixture's merges too."""
    golden = json.loads((fixtures_dir / "vectors" / "qwen35_tokenizer_golden.json").read_text(encoding="utf-8"))
    tokenizer = Tokenizer(fixtures_dir / "qwen3.6" / "tokenizer.hybrid.json")
    single = {token: id for token, id in zip(golden["tokens"], golden["ids"], strict=True) if len(token) == 1}
    assert len(single) > 8
    assert {token: tokenizer.token_to_id(token) for token in single} == single
    assert {tokenizer.token_bytes(id) for id in single.values()} == {bytes([byte_alphabet()[c]]) for c in single}
    words = {846, 6283}  # "user" and " seconds", which are merges
    ours = tokenizer.encode("<|im_start|>user\n<0.3 seconds><|vision_start|>")
    theirs = golden["chat_prefix_ids"]["video"]
    assert len(ours) == len(theirs)
    assert [o for o, t in zip(ours, theirs, strict=True) if t not in words] == [t for t in theirs if t not in words]


def test_lone_surrogates_are_replaced(tokenizer: Tokenizer) -> None:
    assert tokenizer.encode("a\ud800é\udfff") == tokenizer.encode("a\ufffdé\ufffd")
    assert tokenizer.encode_ordinary("\udc80") == tokenizer.encode_ordinary("\ufffd")
    assert tokenizer.cut_at_control("\ud83d") == ["\ufffd"]


def write(directory: Path, data: bytes | str) -> Path:
    path = directory / "tokenizer.json"
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path


def one_line(error: pytest.ExceptionInfo[TextError], *words: str) -> None:
    message = str(error.value)
    assert message.isprintable()
    assert all(word in message for word in words), message


def test_files_that_are_no_tokenizer(tmp_path: Path) -> None:
    word_level = tokenizers.Tokenizer(tokenizers.models.WordLevel({"a": 0}, unk_token="a")).to_str()
    for data, words in (
        (b"", "damaged"),
        (b"\xff\xfe{}", "damaged"),
        (b"[" * 100_000, "damaged"),
        (b"{}", "byte-level BPE"),
        (b"{" + b",".join(b'"a": []' for _ in range(9)) + b"}", "occurs twice"),
        (word_level, "byte-level BPE"),
    ):
        with pytest.raises(TextError) as error:
            Tokenizer(write(tmp_path, data))
        one_line(error, "tokenizer.json", words)


REPLACE = {"type": "Replace", "pattern": {"String": "a"}, "content": "a" * 100}
REPEATS = {"type": "TemplateProcessing", "single": [{"Sequence": {"id": "A", "type_id": 0}}] * 9, "pair": []}
CUT = {"type": "Split", "behavior": "Isolated", "invert": False}


@pytest.mark.parametrize(
    ("part", "value", "words"),
    [
        ("normalizer", REPLACE, 'normaliser "Replace"'),
        ("normalizer", {"type": "Sequence", "normalizers": [{"type": "NFC"}] + [REPLACE] * 9}, 'normaliser "Replace"'),
        ("normalizer", {"type": "Sequence", "normalizers": [{"type": "Sequence", "normalizers": []}]}, "Sequence"),
        ("normalizer", "NFC", 'normaliser "str"'),
        ("normalizer", {"type": "Sequence", "normalizers": 3}, 'normaliser "int"'),
        ("pre_tokenizer", {**CUT, "pattern": {"Regex": "(a|a|aa)+$"}}, "a pattern of its own"),
        ("pre_tokenizer", {**CUT, "pattern": {"String": "a"}}, "a pattern of its own"),
        ("pre_tokenizer", {"type": "Sequence", "pretokenizers": [{"type": "Digits"}]}, 'pre-tokenizer "Digits"'),
        ("added_tokens", [{"id": 0, "content": "x" * 60_000}], "at most 64 characters"),
        ("added_tokens", [{"id": n, "content": f"<{n}>"} for n in range(5000)], "512 added tokens"),
        ("normalizer", {"type": "Sequence", "normalizers": [{"type": "NFC"}] * 2}, "normalizer takes a step twice"),
        ("pre_tokenizer", {"type": "Sequence", "pretokenizers": [{"type": "ByteLevel"}] * 24}, "takes a step twice"),
        ("post_processor", REPEATS, 'post-processor "TemplateProcessing"'),
        ("post_processor", {"type": "Sequence", "processors": [REPEATS]}, 'post-processor "TemplateProcessing"'),
        ("added_tokens", ["<a>"], "an added token that is not text"),
        ("model", {"type": "BPE", "vocab": {"a": 0, "a" * 1025: 1}, "merges": []}, "more than 1,024 characters"),
        ("decoder", {"type": "Fuse"}, "byte-level BPE"),
    ],
)
def test_what_no_qwen_model_has_is_not_built(part: str, value: object, words: str, tmp_path: Path) -> None:
    """It may multiply text, search it for ever, crash the library or take gigabytes."""
    with pytest.raises(TextError) as error:
        Tokenizer(write(tmp_path, json.dumps({**json.loads(tokenizer_json()), part: value})))
    one_line(error, "tokenizer.json", "Qwen", words)


@pytest.mark.parametrize("option", ["continuing_subword_prefix", "end_of_word_suffix", "unk_token"])
def test_what_bpe_can_do_beside_merging_crashes_nothing(option: str, tmp_path: Path) -> None:
    """A prefix longer than a token is taken from it all the same, which ends in a crash that writes pages."""
    tree = json.loads(tokenizer_json())
    tree["model"][option] = "abcdefgh"
    with pytest.raises(TextError) as error:
        Tokenizer(write(tmp_path, json.dumps(tree)))
    one_line(error, "tokenizer.json", "Qwen", option)


@pytest.mark.parametrize("merges", [[["h", "e"], ["he", "he"]], ["h e", "he he"], [3], [["h", 3]], [[]], {}, None])
def test_what_is_merged_is_a_token(merges: object, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Where it is longer than all tokens the library crashes, which writes pages."""
    tree = json.loads(tokenizer_json())
    tree["model"]["vocab"] = {token: id for token, id in tree["model"]["vocab"].items() if len(token) == 1} | {
        "he": 999
    }
    tree["model"]["merges"] = merges
    with pytest.raises(TextError) as error:
        Tokenizer(write(tmp_path, json.dumps(tree)))
    one_line(error, "tokenizer.json", "merges what is no token")
    assert capfd.readouterr().err == ""


def test_values_are_counted_before_they_are_built(tmp_path: Path) -> None:
    with pytest.raises(TextError) as error:
        Tokenizer(write(tmp_path, b'{"model": [' + b"{}," * 2_000_000 + b"{}]}"))
    one_line(error, "tokenizer.json", "values, more than the 2,000,000")


def test_a_crash_inside_the_library_is_one_line() -> None:
    class PanicException(BaseException):
        """As the Rust side raises it."""

    def panics() -> None:
        raise PanicException("called `Option::unwrap()` on a `None` value\nsecond line")

    with pytest.raises(TextError) as error:
        called(Path("tokenizer.json"), panics)
    one_line(error, "tokenizer.json", "called `Option::unwrap()`")
    with pytest.raises(KeyboardInterrupt):
        called(Path("tokenizer.json"), lambda: signal.raise_signal(signal.SIGINT))


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(TextError) as error:
        Tokenizer(tmp_path / "tokenizer.json")
    one_line(error, "tokenizer.json", "missing")
    (tmp_path / "tokenizer.json").mkdir()
    with pytest.raises(TextError) as error:
        Tokenizer(tmp_path / "tokenizer.json")
    one_line(error, "not a regular file")
    huge = tmp_path / "huge.json"
    with huge.open("wb") as file:
        file.truncate(MAX_TOKENIZER_BYTES + 1)  # a hole: no disk, no time
    with pytest.raises(TextError) as error:
        Tokenizer(huge)
    one_line(error, "huge.json", f"{MAX_TOKENIZER_BYTES:,}")


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """The small tokenizer.json with a stretch of it cut out or written over."""
    data = tokenizer_json().encode()
    start = draw(st.integers(0, len(data) - 1))
    end = draw(st.one_of(st.just(len(data)), st.integers(start, min(start + 40, len(data)))))
    return data[:start] + draw(st.one_of(st.binary(max_size=8), st.just(b""), st.just(b"9"))) + data[end:]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=damaged(), text=MIXED)
def test_damage_is_a_clear_line_or_a_tokenizer(tmp_path: Path, data: bytes, text: str) -> None:
    try:
        tokenizer = Tokenizer(write(tmp_path, data))
    except TextError as error:
        assert "tokenizer.json" in str(error)
        return
    tokenizer.decode(range(min(tokenizer.size, 1000)))
    tokenizer.decode(tokenizer.encode_ordinary(text))
    tokenizer.cut_at_control(text)


def test_a_control_token_that_text_can_reach_is_refused(tmp_path: Path) -> None:
    data = json.loads(tokenizer_json())
    capital = data["model"]["vocab"]["A"]
    token = {**data["added_tokens"][0], "id": capital, "content": "A", "special": True}
    data["added_tokens"] = [token, *data["added_tokens"]]
    with pytest.raises(TextError) as error:
        Tokenizer(write(tmp_path, json.dumps(data)))
    one_line(error, "tokenizer.json", "control token A")


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Path]:
    write_checkpoint(tmp_path, "q4")
    write_text_files(tmp_path)
    yield tmp_path


def test_load_tokenizer_checks_that_it_fits(directory: Path) -> None:
    rows = open_checkpoint(directory).config.vocab_size
    assert load_tokenizer(open_checkpoint(directory)).size == TOKENIZER_SIZE <= rows
    data = json.loads(tokenizer_json())
    data["added_tokens"] += [{**data["added_tokens"][-1], "id": rows, "content": "<one_too_many>"}]
    vocabulary = data["model"]["vocab"]
    vocabulary |= {f"filler{n}": n for n in range(TOKENIZER_SIZE, rows)}  # ids of added tokens must be consecutive
    write(directory, json.dumps(data))
    with pytest.raises(TextError) as error:
        load_tokenizer(open_checkpoint(directory))
    one_line(error, "tokenizer.json", f"up to {rows},", f"{rows} rows")


def test_load_tokenizer_says_that_there_is_none(directory: Path) -> None:
    (directory / "tokenizer.json").unlink()
    with pytest.raises(TextError) as error:
        load_tokenizer(open_checkpoint(directory))
    one_line(error, "no tokenizer.json", "copy")
