"""`@path`: files that are meant are brought along, whatever else has an "@" stays text, and nothing is a surprise."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from qwen_tui.composer.attachments import MAX_FILES, attach, mentions

LIMIT = 10_000


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, text in (
        ("notes.txt", "some notes\n"),
        ("property", "a file that is called like a decorator"),
        ("example.org", "a file that is called like a host"),
        ("two words.md", "# Two\n"),
        ("odd).txt", "odd"),
        ("src/app.py", "print('hi')\n"),
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def named(text: str, folder: Path) -> list[str]:
    return [name for name, _ in mentions(text, folder)]


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("@notes.txt", ["notes.txt"]),
        ("read @notes.txt, then (@src/app.py)!", ["notes.txt", "src/app.py"]),
        ("Is it in @notes.txt?", ["notes.txt"]),
        ("see @./notes.txt and @src/../notes.txt", ["./notes.txt", "src/../notes.txt"]),
        ('@"two words.md" please', ["two words.md"]),
        ("@odd).txt", ["odd).txt"]),
        ("line\n@notes.txt\nline", ["notes.txt"]),
        # What names no file is text, unless it can be nothing but a path.
        ("@nobody said @types/node is @missing.txt", []),
        ("@./missing.txt @../gone/x, @/no/such/file", ["./missing.txt", "../gone/x,", "/no/such/file"]),
        ("@~/nothing-of-that-name", ["~/nothing-of-that-name"]),
        ("@src said it", []),
        ('@"no such file"', ["no such file"]),
        # An "@" inside a word, as in addresses.
        ("mail me@example.org or <me@notes.txt> or a+b@notes.txt, git@example.org:x/y", []),
        ("user/@notes.txt @@notes.txt", []),
        # Decorators, also where a file is called like one.
        ("@property\ndef f(self): ...", []),
        ("    @property\n    @notes.txt\n    async def f(self): ...", []),
        ("@property\n\nis what I ask about", ["property"]),
        # Code is code.
        ("```\n@notes.txt\n```\nand `@notes.txt`", []),
        ("~~~py\n@notes.txt", []),
        ("`a` @notes.txt `b`", ["notes.txt"]),
        ("@ @. @.. @/ @~ @./ @../ @\"\"", []),
    ],
)  # fmt: skip
def test_what_is_a_mention(folder: Path, text: str, names: list[str]) -> None:
    assert named(text, folder) == names


@pytest.mark.parametrize(
    ("text", "unknown"),
    [
        ("@nonexist.txt hi", ("nonexist.txt",)),
        ("see @src/gone.py, @notes.txt and @b.md.", ("src/gone.py", "b.md")),
        ("@nobody said @types/node is @v1.2 or me@example.org, `@gone.txt`", ()),
        ("@property.setter\ndef f(self): ...", ()),
        ("@./missing.txt", ()),
    ],
)
def test_what_reads_like_a_file_that_is_not_there_is_told(text: str, unknown: tuple[str, ...], folder: Path) -> None:
    assert attach(text, folder, LIMIT).unknown == unknown


@given(st.text(st.sampled_from('@ab./~"`\n ()')), st.text(max_size=60))
def test_any_text_can_be_looked_through(tmp_path_factory: pytest.TempPathFactory, text: str, other: str) -> None:
    folder = tmp_path_factory.getbasetemp() / "empty"
    folder.mkdir(exist_ok=True)
    for given_text in (text, other):
        attached = attach(given_text, folder, LIMIT)
        assert all(problem.isprintable() for problem in attached.problems)
        assert attached.text.startswith(given_text) or attached.files


@given(
    st.text(st.characters(codec="utf-8", exclude_characters="\0\r"), max_size=200)
    | st.sampled_from(["```\n````\nx\n", "\ufeffwith a mark\n"])
)
def test_a_file_comes_whole_and_nothing_in_it_ends_its_fence(
    tmp_path_factory: pytest.TempPathFactory, content: str
) -> None:
    folder = tmp_path_factory.mktemp("files")
    (folder / "file").write_text(content, encoding="utf-8")
    attached = attach("see @file", folder, LIMIT)
    text = content.removeprefix("\ufeff")
    (file,) = attached.files
    assert (file.name, file.text, file.size) == ("file", text, len(text.encode()))
    assert attached.text.startswith(f"see @file\n\nFile file ({file.size:,} bytes):\n```")
    fence = attached.text.split("\n")[3]
    assert attached.text.endswith(f"\n{fence}")
    assert text in attached.text
    tokens = [token for token in MarkdownIt("commonmark").parse(attached.text) if token.type == "fence"]
    assert len(tokens) == 1


def test_the_same_file_comes_once(folder: Path) -> None:
    attached = attach("@notes.txt and again @notes.txt", folder, len("some notes\n"))
    assert attached.problems == ()
    assert [file.name for file in attached.files] == ["notes.txt"]
    assert attached.text.count("some notes") == 1


def test_what_cannot_be_attached_is_one_line_each(folder: Path, tmp_path: Path) -> None:
    (folder / "large").write_text("x" * 2_000)
    (folder / "binary").write_bytes(b"\x89PNG\0\x1a")
    (folder / "latin1").write_bytes(b"caf\xe9")
    os.mkfifo(folder / "pipe")
    (folder / "secret").symlink_to(folder / "nowhere")
    text = 'see @large @binary @latin1 @pipe @src/ @./gone @notes.txt @"secret"'
    attached = attach(text, folder, 1_000)
    assert [file.name for file in attached.files] == ["notes.txt"]
    words = [
        "2,000 bytes",
        "not UTF-8",
        "not UTF-8",
        "not a regular file",
        "is a folder",
        "No such file",
        "No such file",
    ]
    assert len(attached.problems) == len(words)
    for problem, word in zip(attached.problems, words, strict=True):
        assert problem.startswith("@") and word in problem


def test_the_limit_is_for_all_files_of_a_message(folder: Path) -> None:
    (folder / "a").write_text("x" * 600)
    (folder / "b").write_text("y" * 600)
    assert attach("@a @b", folder, 1200).problems == ()
    attached = attach("@a @b", folder, 1199)
    assert [file.name for file in attached.files] == ["a"]
    assert attached.problems == (
        "@b: has 600 bytes; a message may bring 1,199 along, 599 of them are left (composer.attach_limit_kb)",
    )
    for number in range(MAX_FILES + 1):
        (folder / f"n{number}").write_text("")
    attached = attach(" ".join(f"@n{number}" for number in range(MAX_FILES + 1)), folder, 1200)
    assert len(attached.files) == MAX_FILES
    assert "at most 20 files" in attached.problems[0]


def test_a_home_path_is_the_persons(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(folder))
    (attachment,) = attach("@~/notes.txt", Path("/"), LIMIT).files
    assert attachment.text == "some notes\n"


def test_what_was_pasted_mentions_nothing(folder: Path) -> None:
    attached = attach("[paste 1: 2 lines] @notes.txt", folder, LIMIT, sent="@src/app.py\nx @notes.txt")
    assert [file.name for file in attached.files] == ["notes.txt"]
    assert attached.text.startswith("@src/app.py\nx @notes.txt\n\nFile notes.txt")
    assert attach("[paste 1: 2 lines]", folder, LIMIT, sent="@src/app.py\nx").text == "@src/app.py\nx"
