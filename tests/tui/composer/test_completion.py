"""What a word may become, and what a name in a folder looks like in a message."""

import os
import threading
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import settings as limits
from hypothesis import strategies as st

from qwen_tui.composer.attachments import attach, mentions
from qwen_tui.composer.completion import (
    MAX_SHOWN,
    Candidate,
    Word,
    choice_candidates,
    command_candidates,
    completed,
    path_candidates,
    ranked,
    word_at,
)
from qwen_tui.composer.folder_listing import MAX_THREADS, FolderEntry, FolderLister, folded, list_folder
from qwen_tui.composer.slash import COMMANDS, SlashCommand
from qwen_tui.text.safe import typed as cleaned

THEME = SlashCommand("theme", "/theme [NAME]", "colours", "Theme", (), True)
SET = SlashCommand("set", "/set NAME VALUE", "sampling", "Set", (), True)


def names(candidates: list[Candidate]) -> list[str]:
    return [candidate.name for candidate in candidates]


@pytest.mark.parametrize(
    ("marked", "word"),
    [
        ("/|", ("command", 0, 1, "")),
        ("/th|", ("command", 0, 3, "th")),
        ("/th| high", ("command", 0, 3, "th")),
        ("/t|h", None),
        ("|/th", None),
        ("//|", None),
        (" /th|", None),
        ("see /th|", None),
        ("/think |", ("argument", 7, 7, "")),
        ("/Think  hi|", ("argument", 8, 10, "hi")),
        ("/think h|i", None),
        ("/think\n|", None),
        ("/think a\nb|", None),
        ("@|", ("path", 0, 1, "")),
        ("see @no|", ("path", 4, 7, "no")),
        ("see\n@src/ap| now", ("path", 4, 11, "src/ap")),
        ("(@no|)", ("path", 1, 4, "no")),
        ("@no|tes", None),
        ('@"two w|', ("path", 0, 7, "two w")),
        ('@"two w|" x', ("path", 0, 8, "two w")),
        ('@"two words"|', None),
        ("me@example|", None),
        ("`@no|`", None),
        ("```\n@no|", None),
        ("/system be @no|", ("path", 11, 14, "no")),
        ("plain|", None),
        ("|", None),
    ],
)
def test_which_word_is_being_written(marked: str, word: tuple[str, int, int, str] | None) -> None:
    place = marked.index("|")
    found = word_at(marked.replace("|", ""), place)
    assert (found and (found.kind, found.start, found.end, found.typed)) == word


@given(st.text(st.sampled_from('/@"`~. ab\n東'), max_size=20), st.integers(0, 20))
def test_any_text_has_a_word_or_none(text: str, place: int) -> None:
    place = min(place, len(text))
    word = word_at(text, place)
    if word is not None:
        assert 0 <= word.start <= place <= word.end <= len(text)
        assert text[:place].endswith(word.typed)


def test_commands_by_their_beginning_then_by_what_is_inside() -> None:
    assert names(command_candidates("", COMMANDS)) == [command.name for command in COMMANDS]
    found = names(command_candidates("Se", COMMANDS))
    assert found[:2] != [] and found == sorted(found, key=lambda name: not name.startswith("se"))
    assert names(command_candidates("set", COMMANDS))[0] == "set"
    assert command_candidates("nothing of that name", COMMANDS) == []
    for command in COMMANDS:
        (first, *_) = command_candidates(command.name, COMMANDS)
        assert first.text == f"/{command.name}" + " " * command.argument
        assert (first.label, first.note) == (command.usage, command.help)


def test_choices_end_where_one_is_written_out() -> None:
    choices = ["midnight", "moss", "paper", "con\x1btrol"]
    assert names(choice_candidates("", choices, THEME)) == ["midnight", "moss", "paper"]
    assert names(choice_candidates("m", choices, THEME)) == ["midnight", "moss"]
    assert names(choice_candidates("P", choices, THEME)) == ["paper"]
    assert choice_candidates("moss", choices, THEME) == []
    assert choice_candidates("moss 2", choices, THEME) == []
    assert [choice.text for choice in choice_candidates("to", ["top_p"], SET)] == ["top_p "]
    assert [choice.text for choice in choice_candidates("pa", choices, THEME)] == ["paper"]


@given(st.text(max_size=4), st.lists(st.text(max_size=6), max_size=8))
def test_the_order_is_the_word_itself_then_beginnings_then_insides(typed: str, every: list[str]) -> None:
    found = names(ranked(typed, [Candidate(name, name, "", name) for name in every]))
    wanted = folded(typed)
    assert sorted(found) == sorted(name for name in every if wanted in folded(name))
    ranks = [(folded(name) != wanted) + (not folded(name).startswith(wanted)) for name in found]
    assert ranks == sorted(ranks)


# Names as a file system may have them: any characters but two, in any composition.
NAMES = st.text(
    st.characters(codec="utf-8", exclude_characters="\0/") | st.sampled_from(" \"'`@~.)\t\n\x1b\u202e日本\u0301"),
    min_size=1,
    max_size=12,
).filter(lambda name: name not in (".", "..") and len(name.encode()) < 200)


@limits(max_examples=150)
@given(NAMES, NAMES, st.booleans(), st.sampled_from(["", " after", ")", ", and", "\nnext"]))
@example("~root", "x", False, "")
@example("~", "~", True, ".")
@example("@types", "a b", True, "")
@example("a`b", "c", False, "")
@example("...", "?", True, "")
def test_a_completed_name_mentions_the_file(
    tmp_path_factory: pytest.TempPathFactory, name: str, inner: str, nested: bool, after: str
) -> None:
    """Name by name, from its beginning to the file: the message then mentions that file, and nothing unseen."""
    folder = tmp_path_factory.mktemp("names")
    path = folder / name / inner if nested else folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("here", encoding="utf-8")
    text, place = f"see @{after}", 5
    for depth, part in enumerate((name, inner) if nested else (name,)):
        beginning = part[:1] if part.startswith(".") else ""
        text = text[:place] + beginning + text[place:]
        place += len(beginning)
        word = word_at(text, place)
        if word is None or word.kind != "path":
            assert beginning  # a dot in front of something that makes it another thing
            return
        entries = list_folder(folder / name if depth else folder)
        offered = [candidate for candidate in path_candidates(word.typed, entries) if candidate.name == part]
        if set(part) & set('"\n\t') or cleaned(part) != part:
            assert offered == []
            return
        (candidate,) = offered
        insert = completed(text, word, candidate)
        assert cleaned(insert) == insert
        text = text[: word.start] + insert + text[word.end :]
        place = word.start + len(insert)
    found = list(mentions(text, folder))
    assert [each.resolve() for _, each in found] == [path.resolve()]
    (attached,) = attach(text, folder, 100).files
    assert attached.text == "here"
    assert text.endswith(after)


def test_a_folder_is_listed_folders_first_and_hidden_names_only_when_asked(tmp_path: Path) -> None:
    for name in ("b.txt", "A.txt", ".secret", "über.md"):
        (tmp_path / name).write_text("x" * 2048)
    (tmp_path / "src").mkdir()
    (tmp_path / ".git").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    (tmp_path / "linked").symlink_to(tmp_path / "src")
    entries = list_folder(tmp_path)
    found = path_candidates("", entries)
    assert [candidate.label for candidate in found] == ["linked/", "src/", "A.txt", "b.txt", "über.md"]
    assert [candidate.note for candidate in found] == ["", "", "2.05 kB", "2.05 kB", "2.05 kB"]
    assert names(path_candidates(".", entries)) == [".git", ".secret", "A.txt", "b.txt", "über.md"]
    assert names(path_candidates("u\u0308B", entries)) == ["über.md"]
    assert names(path_candidates("TXT", entries)) == ["A.txt", "b.txt"]
    assert path_candidates("b.txt", entries) == []
    assert names(path_candidates("src", entries)) == ["src"]
    assert list_folder(tmp_path / "nowhere") == ()
    assert list_folder(tmp_path / "A.txt") == ()
    assert list_folder(Path("no\0such")) == ()


def test_a_large_folder_shows_no_more_than_can_be_looked_through() -> None:
    entries = [FolderEntry(f"file{number}", False, 0, f"file{number}") for number in range(5_000)]
    assert len(path_candidates("", entries)) == MAX_SHOWN
    assert names(path_candidates("file4999", [*entries, FolderEntry("file4999x", False, 0, "file4999x")])) == [
        "file4999",
        "file4999x",
    ]


def test_completing_adds_no_second_blank() -> None:
    candidate = Candidate("notes.txt", "notes.txt", "", "@notes.txt ")
    for text, expected in (("@no", "@notes.txt "), ("@no now", "@notes.txt"), ("@no)", "@notes.txt")):
        assert completed(text, Word("path", 0, 3, "no"), candidate) == expected


def test_a_disk_that_never_answers_holds_up_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One hung folder, then as many more as threads allow: the last one wanted is read when one comes back."""
    slow, read, done = threading.Event(), list_folder, threading.Semaphore(0)
    seen: list[Path] = []

    def listed(folder: Path) -> tuple[FolderEntry, ...]:
        if folder.name.startswith("slow"):
            assert slow.wait(30)
        return read(folder)

    def tell(folder: Path, entries: tuple[FolderEntry, ...]) -> None:
        seen.append(folder)
        done.release()

    monkeypatch.setattr("qwen_tui.composer.folder_listing.list_folder", listed)
    (tmp_path / "file").touch()
    lister = FolderLister(tell)
    lister.want(tmp_path / "slow0")
    lister.want(tmp_path / "slow0")
    lister.want(tmp_path)
    assert done.acquire(timeout=30)
    assert seen == [tmp_path]
    for number in range(1, MAX_THREADS):
        lister.want(tmp_path / f"slow{number}")
    lister.want(tmp_path / "forgotten")
    lister.want(tmp_path)
    assert seen == [tmp_path]
    slow.set()
    for _ in range(MAX_THREADS + 1):
        assert done.acquire(timeout=30)
    assert sorted(seen) == sorted([tmp_path, tmp_path, *(tmp_path / f"slow{number}" for number in range(MAX_THREADS))])
