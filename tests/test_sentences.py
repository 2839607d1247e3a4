"""The sentences that the program can say: that the script which prints them finds them, and what none of them says."""

import re

import pytest

from print_sentences import FOLDERS, ROOT, helps, sentences


def everything() -> list[str]:
    paths = [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))]
    return [text for path in paths for _, text in (*sentences(path), *helps(path))]


def test_the_script_finds_what_is_said_anywhere() -> None:
    said = "\n".join(everything())
    for words in (
        "Press Ctrl+C again to quit.",
        "{…} is not a directory",
        "was ended by {…}",
        "Print one answer on standard output.",
        "choose one of {…}",
    ):
        assert words in said


@pytest.mark.parametrize(
    "pattern",
    [
        r"(?<!there )\bis no (mode|role|layer|shape|workload|section|table|setting|figure|time|part|stack)\b",
        r"exclude each other",
        r"has no meaning|has no place",
        r"\bhas not the\b|\bhad gone wrong\b",
        r"\bnone not\b",
        r"\b[KMG]iB\b",
    ],
)
def test_what_was_edited_out_does_not_come_back(pattern: str) -> None:
    assert [text for text in everything() if re.search(pattern, text)] == []
