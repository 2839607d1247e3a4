"""A conversation as one page: it reads as it did, and nothing in it runs or loads."""

from html.parser import HTMLParser
from pathlib import Path

import pytest

from qwen_core.protocol.events import GenerationSettings, Message
from qwen_tui.settings.themes import colours_of
from qwen_tui.store.export import exported
from support.stores import MODEL, opened

HOSTILE = """<script>alert(1)</script> <img src=x onerror=alert(2)>
![picture](http://e.org/track.png) [link](javascript:alert(3)) [good](https://e.org/"onclick="x)

</article></body>

```html"onload="x
<iframe src="http://e.org"></iframe>
```
"""


class Page(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.links: list[str] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self.links += [value or "" for name, value in attrs if name in ("href", "src")]

    def handle_data(self, data: str) -> None:
        self.words += data.split()


def page(tmp_path: Path, question: str, answer: str, reasoning: str = "") -> str:
    with opened(tmp_path) as store:
        conversation = store.conversations.begin()
        question_id = store.answers.ask(conversation, question)
        answer_id = store.answers.begin(question_id, GenerationSettings(), MODEL)
        store.answers.finish(answer_id, Message("assistant", answer, reasoning), "stop", ())
        return exported(store, [conversation], "html", colours_of("midnight"))


def test_nothing_in_it_runs_or_loads(tmp_path: Path) -> None:
    found = Page(page(tmp_path, f"</title>{HOSTILE}", HOSTILE, HOSTILE))
    assert not found.tags & {"script", "img", "iframe", "object", "link", "base", "form"}
    assert not {name for name in found.attributes if name.startswith("on")}
    assert {link.partition(":")[0] for link in found.links} <= {"http", "https"}
    for word in ("alert(1)</script>", "picture", "<iframe", "</article></body>"):
        assert sum(word in said for said in found.words) >= 2, word


def test_an_answer_is_markdown_a_question_is_not_and_reasoning_is_folded(tmp_path: Path) -> None:
    text = page(tmp_path, "is **this** <b>?\n  two", "**yes**\n\n| a |\n|---|\n| 1 |\n", "think <of> it")
    assert "is **this** &lt;b&gt;?\n  two</div>" in text
    assert "<strong>yes</strong>" in text and "<td>1</td>" in text
    _, _, folded = text.partition("<details><summary>Reasoning</summary>")
    assert "think &lt;of&gt; it" in folded.partition("</details>")[0]


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param("- " * 60 + "WORD", id="nested deeper than is parsed"),
        pytest.param("| a |\n|---|\n| 1 | WORD |\n", id="a cell without a column"),
        pytest.param("```python WORD\nx\n```\n", id="behind the language of code"),
        pytest.param("[Note]: WORD", id="what might define a link"),
        pytest.param("".join(f"{n}. x\n" for n in range(20_000)) + "WORD", id="long"),
    ],
)
def test_no_word_is_left_out(answer: str, tmp_path: Path) -> None:
    assert "WORD" in Page(page(tmp_path, "q", answer)).words
