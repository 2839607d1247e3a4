"""Conversations out and in: nothing is lost on the way, and nothing that is not one comes in."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as limits
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from qwen_core.errors import SettingsError
from qwen_core.protocol.events import GenerationSettings, Message
from qwen_tui.conversation.branch import read_branch
from qwen_tui.store import Store, StoreError
from qwen_tui.store.export_json import FORMAT, export_json
from qwen_tui.store.export_markdown import conversation_markdown
from qwen_tui.store.import_json import import_json
from support.fake_engine import stats
from support.stores import MODEL, OTHER, TEXT, opened, shown, turn

STEPS = st.lists(
    st.tuples(st.sampled_from(["turn", "edit", "again", "walk", "interrupt", "fail"]), TEXT, TEXT), max_size=8
)


def lived(store: Store, steps: list[tuple[str, str, str]]) -> int:
    """A conversation in which all that may happen has happened."""
    conversation = store.conversations.begin("be brief", MODEL)
    ids: tuple[int, ...] = ()
    for kind, question, answer in steps:
        path = store.tree.path(conversation)
        if kind == "walk" and path:
            store.tree.show(path[-1].siblings[max(0, path[-1].place[0] - 2)])
            continue
        questions = [message for message in path if message.role == "user"]
        if kind == "edit" and questions:
            question_id = store.answers.edit(questions[0].id, question)
        elif kind == "again" and questions:
            question_id = questions[-1].id
        else:
            question_id = store.answers.ask(conversation, question)
        answer_id = store.answers.begin(question_id, GenerationSettings(seed=7), OTHER if kind == "again" else MODEL)
        store.answers.append(answer_id, [("answer", answer), ("reasoning", question)])
        ids += tuple(range(len(answer)))
        if kind == "interrupt":
            store.answers.interrupt(answer_id)
        elif kind == "fail":
            store.answers.fail(answer_id, question)
        else:
            store.answers.finish(answer_id, Message("assistant", answer, question, answer), "length", ids, stats())
    return conversation


@limits(max_examples=30)
@given(STEPS, STEPS)
def test_what_goes_out_comes_in(
    tmp_path_factory: pytest.TempPathFactory, first: list[tuple[str, str, str]], second: list[tuple[str, str, str]]
) -> None:
    with opened(tmp_path_factory.mktemp("from")) as source, opened(tmp_path_factory.mktemp("to")) as target:
        chosen = [lived(source, steps) for steps in (first, second)]
        source.conversations.pin(chosen[0])
        text = export_json(source, chosen)
        turn(target, target.conversations.begin(), "already", "there")
        added = import_json(target, [text])
        assert export_json(target, added) == text
        for here, there in zip(chosen, added, strict=True):
            assert shown(target, there) == shown(source, here)
            brought, original = read_branch(target, there, 1), read_branch(source, here, 1)
            assert (brought.system, brought.ids) == (original.system, original.ids)
            assert [m.stats for m in target.tree.path(there)] == [m.stats for m in source.tree.path(here)]
            for message in source.tree.path(here):
                if word := next((w for w in message.content.split() if w.isalnum()), ""):
                    assert there in {hit.conversation_id for hit in target.search.find(word, limit=1000)}


def test_what_someone_has_edited_goes_out_as_it_comes_in(tmp_path: Path) -> None:
    """A time without end, and a word that says nothing of how an answer ended."""
    for name in "ab":
        (tmp_path / name).mkdir()
    with opened(tmp_path / "a") as source, opened(tmp_path / "b") as target:
        conversation = source.conversations.begin()
        turn(source, conversation, "Q", "A")
        source.database.read("UPDATE messages SET created_at = 9e999, finish_reason = 'tired'")
        text = export_json(source, [conversation])
        assert shown(target, import_json(target, [text])[0]) == ["Q", "A"]


def test_an_answer_that_is_being_written_goes_out_as_far_as_it_is(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        conversation = store.conversations.begin()
        answer = store.answers.begin(store.answers.ask(conversation, "Q"))
        store.answers.append(answer, [("answer", "ha"), ("answer", "lf")])
        store.answers.append(answer, [("answer", " of it")])
        (exported,) = json.loads(export_json(store, [conversation]))["conversations"]
        assert exported["messages"][1]["content"] == "half of it"
        assert exported["messages"][1]["status"] == "interrupted"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@limits(max_examples=60)
@given(STEPS.filter(len), JSON, st.data())
def test_a_field_that_is_anything_is_refused_in_one_line_or_taken_as_it_is(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, str, str]], value: Any, data: st.DataObject
) -> None:
    """Any place of a good file replaced by anything: either all of it comes in and goes out again, or nothing does."""
    with opened(tmp_path_factory.mktemp("store")) as store:
        document = json.loads(export_json(store, [lived(store, steps)]))
        before = len(store.conversations.listed())
        holder, key = document, data.draw(st.sampled_from(list(document)))
        while isinstance(holder[key], dict | list) and holder[key] and data.draw(st.booleans()):
            holder = holder[key]
            key = data.draw(st.sampled_from(list(holder) if isinstance(holder, dict) else list(range(len(holder)))))
        holder[key] = value
        try:
            added = import_json(store, [json.dumps(document)])
        except StoreError as error:
            assert str(error).isprintable()
            assert len(store.conversations.listed()) == before
            return
        again = export_json(store, added)
        assert export_json(store, import_json(store, [again])) == again
        assert store.database.read("PRAGMA foreign_key_check") == []


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ('{"a": NaN}', "not JSON"),
        ("{" + ",".join(f'"{n}": [{n}]' for n in range(200)) + "}", "at most 100 members"),
        ("[]", "expected an object"),
        ('{"format": "other"}', "not a file of qwen-tui conversations"),
        ('{"format": "qwen-tui conversations", "version": 2}', "version 1"),
    ],
)
def test_what_is_no_export_is_told(tmp_path: Path, text: str, words: str) -> None:
    with opened(tmp_path) as store, pytest.raises(StoreError, match=words):
        import_json(store, [text])


BAD_FIELDS: list[tuple[str, object, str]] = [
    ("title", "\ud800", "title: expected text"),
    ("title", "x" * 1001, "title: expected text"),
    ("system", 3, "system: expected text"),
    ("created_at", -1, "created_at: -1 is not a time"),
    ("updated_at", 1e12, "is not a time"),
    ("created_at", True, "is not a time"),
    ("created_at", 10**400, "created_at: 10"),
    ("updated_at", -(10**400), "updated_at: -10"),
    ("model", [], "model: expected an object"),
    ("model", {"weight_bytes": -1}, "weight_bytes: -1"),
    ("messages", {}, "messages: expected a list"),
    ("shown", [2], "message 2 does not follow nothing"),
    ("shown", [1, 1], "message 1 does not follow 1"),
    ("shown", [True], "message True does not follow"),
    ("shown", [1, 2, 3, 4, 5], "message 5 does not follow 4"),
    ("messages.1", None, "message 2: expected an object"),
    ("messages.1.role", "user", "a question follows an answer"),
    ("messages.0.role", "assistant", "a question follows an answer or nothing"),
    ("messages.0.role", "system", "the role must be"),
    ("messages.1.parent", 2, "the parent must be an earlier message"),
    ("messages.1.parent", 3, "the parent must be an earlier message"),
    ("messages.1.parent", 0, "the parent must be an earlier message"),
    ("messages.2.parent", True, "the parent must be an earlier message"),
    ("messages.1.content", "\udfff", "content: expected text"),
    ("messages.1.reasoning", None, "reasoning: expected text"),
    ("messages.1.status", "running", "is not how a message can end"),
    ("messages.1.finish_reason", "other", "is not how a message can end"),
    ("messages.1.ids", [-1], "token ids are whole numbers"),
    ("messages.1.ids", [1 << 32], "token ids are whole numbers"),
    ("messages.1.ids", [True], "token ids are whole numbers"),
    ("messages.1.ids_check", None, "token ids are whole numbers"),
    ("messages.1.ids_kept", -1, "token ids are whole numbers"),
    ("messages.1.stats", {"prompt_tokens": 10**40}, "is not a number"),
    ("messages.1.stats", {"x": [1]}, "is not a number"),
    ("messages.1.settings", {"x" * 101: 1}, "is not a number"),
    ("messages.1.settings", {"effort": "\ud800"}, "expected text"),
    ("messages.1.settings", {f"x{number}": 1 for number in range(101)}, "is not a number"),
]


@pytest.mark.parametrize(("place", "value", "words"), BAD_FIELDS, ids=[f"{p}-{w}" for p, _, w in BAD_FIELDS])
def test_a_bad_field_is_named(tmp_path: Path, place: str, value: object, words: str) -> None:
    with opened(tmp_path) as store:
        conversation = store.conversations.begin("be brief", MODEL)
        turn(store, conversation, "Q1", "A1", (1, 2))
        turn(store, conversation, "Q2", "A2", (1, 2, 3))
        document = json.loads(export_json(store, [conversation]))
        holder: Any = document["conversations"][0]
        *steps, last = [int(step) if step.isdigit() else step for step in place.split(".")]
        for step in steps:
            holder = holder[step]
        holder[last] = value
        with pytest.raises(StoreError, match=f"conversation 1.*{words}"):
            import_json(store, [json.dumps(document)])
        assert len(store.conversations.listed()) == 1


def test_a_conversation_that_does_not_exist_cannot_go_out(tmp_path: Path) -> None:
    with opened(tmp_path) as store, pytest.raises(StoreError, match="no conversation 7"):
        export_json(store, [7])


def test_markdown_reads_like_the_conversation(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        conversation = store.conversations.begin("be brief", MODEL)
        question = store.answers.ask(conversation, "What is **this**?")
        answer = store.answers.begin(question, None, MODEL)
        said = Message(
            "assistant", "A fence:\n```python\nx\n```", "thinking of\n```\nfences\n</details>", "<tool_call>"
        )
        store.answers.finish(answer, said, "length", (1,), stats())
        failing = store.answers.begin(store.answers.ask(conversation, "Next"), None, OTHER)
        store.answers.fail(failing, "memory\nran out")
        thinking = store.answers.begin(store.answers.ask(conversation, "And?"), None, OTHER)
        store.answers.finish(thinking, Message("assistant", "", "Let me think"), "stop")
        text = conversation_markdown(store.conversations.get(conversation), store.tree.path(conversation))
    assert text.startswith("# What is **this**?\n\n*20")
    assert "· Qwen3.5-0.8B Q4*" in text
    headings = [line for line in text.splitlines() if line.startswith("## ")]
    assert headings == ["## System", "## You", "## Qwen3.6-27B", *["## You", "## Qwen3.5-0.8B"] * 2]
    assert said.content in text
    assert "17.3 tok/s" in text
    assert "reached the length limit" in text
    assert "*failed: memory ran out*" in text
    assert "*stopped while still reasoning, no answer*" in text
    tokens = MarkdownIt("commonmark").parse(text)
    fences = [token.content for token in tokens if token.type == "fence"]
    assert fences == [said.reasoning + "\n", "x\n", "<tool_call>\n", "Let me think\n"]


@given(TEXT, TEXT, TEXT)
def test_markdown_of_anything_keeps_the_texts(question: str, answer: str, reasoning: str) -> None:
    from qwen_tui.store import ConversationSummary, StoredMessage

    messages = [
        StoredMessage(1, 1, None, "user", question),
        StoredMessage(2, 1, 1, "assistant", answer, reasoning=reasoning),
    ]
    text = conversation_markdown(ConversationSummary(1, "T", 0.0, 0.0), messages)
    for part in (question, answer, reasoning):
        assert part.strip("\n") in text
    assert text.endswith("\n")


def test_a_title_from_elsewhere_is_one_line_without_control_characters(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        turn(store, conversation := store.conversations.begin(), "\x1b]0;Q\x07 \x9bask", "A")
        assert store.conversations.get(conversation).title == "]0;Q ask"
        document = json.loads(export_json(store, [conversation]))
        document["conversations"][0]["title"] = "one\n# two \x1b[31m" + "x" * 186 + " y"
        document["conversations"][0]["messages"][1]["model"]["name"] = "m\x1b[1m"
        (added,) = import_json(store, [json.dumps(document)])
        assert store.conversations.get(added).title == "one # two [31m" + "x" * 186
        text = conversation_markdown(store.conversations.get(added), store.tree.path(added))
        assert text.startswith("# one # two [31mxxx")
        assert "## m[1m\n" in text


def everything(store: Store) -> list[list[tuple[object, ...]]]:
    tables = ("SELECT id FROM conversations", "SELECT id, content FROM messages", "SELECT rowid FROM search")
    return [[tuple(row) for row in store.database.read(table)] for table in tables]


def large(folder: Path) -> str:
    """Two conversations as JSON, of which the first alone is many portions of 3000."""
    (folder / "from").mkdir()
    with opened(folder / "from") as store:
        chosen = [store.conversations.begin(), store.conversations.begin()]
        for number in range(8):
            turn(store, chosen[0], f"Q{number}", f"A{number}")
        turn(store, chosen[1], "Q", "A")
        return export_json(store, chosen)


def test_another_program_writes_between_the_portions_of_an_import(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(tmp_path) as store, opened(tmp_path) as other:
        text = large(tmp_path)
        theirs: list[int] = []

        def between(seconds: float) -> None:
            theirs.append(other.conversations.begin())
            turn(other, theirs[-1], "theirs", "too")
            assert sorted(summary.id for summary in other.conversations.listed()) == theirs
            assert {hit.conversation_id for hit in other.search.find("Q")} == set()
            assert other.conversations.purge() == 0

        monkeypatch.setattr("qwen_tui.store.import_json.time.sleep", between)
        added = import_json(store, [text], portion=3000)
        assert len(theirs) > 4
        assert export_json(store, added) == text
        assert len(other.conversations.listed()) == len(theirs) + 2


@pytest.mark.parametrize("how", ["an error", "Ctrl+C", "a purge"])
def test_an_import_that_fails_in_the_middle_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """Neither messages nor traces in the index; what another program wrote meanwhile stays."""
    with opened(tmp_path) as store, opened(tmp_path) as other:
        text = large(tmp_path)
        kept = other.conversations.begin()
        pauses: list[float] = []

        def between(seconds: float) -> None:
            pauses.append(seconds)
            if len(pauses) != 2:
                return
            turn(other, kept, "theirs", "too")
            if how == "an error":
                with other.database.write() as connection:
                    connection.execute(
                        "CREATE TRIGGER full BEFORE INSERT ON messages WHEN NEW.content = 'A6' "
                        "BEGIN SELECT raise(ABORT, 'enough'); END"
                    )
            elif how == "Ctrl+C":
                raise KeyboardInterrupt
            else:
                assert other.conversations.purge(older_than_days=-10_000) == 1

        monkeypatch.setattr("qwen_tui.store.import_json.time.sleep", between)
        with pytest.raises(KeyboardInterrupt if how == "Ctrl+C" else StoreError):
            import_json(store, [text], portion=3000)
        assert len(pauses) >= 2
        own = [message.id for message in other.tree.path(kept)]
        assert len(own) == 2
        assert everything(store) == [[(kept,)], [(own[0], "theirs"), (own[1], "too")], [(own[0],), (own[1],)]]
        assert store.database.read("PRAGMA foreign_key_check") == []


def test_what_is_wrong_in_the_last_conversation_takes_away_what_came_before(tmp_path: Path) -> None:
    text = large(tmp_path)
    endings = (text[:-10], text[:-3] + ", 7]}", text.replace('"version": 1, ', "")[:-2] + ', "version": 2}')
    with opened(tmp_path) as store:
        for ending in (*endings, text.replace(f'"{FORMAT}"', "1")):
            with pytest.raises(StoreError):
                import_json(store, [ending[:5000], ending[5000:]], portion=3000)
            assert everything(store) == [[], [], []]
        assert len(import_json(store, [text], portion=3000)) == 2
        moved = text.replace(f'"format": "{FORMAT}", ', "")[:-2] + f', "format": "{FORMAT}"}}'
        assert len(import_json(store, [moved])) == 2


def test_what_the_reading_of_a_file_raises_takes_away_what_came_before(tmp_path: Path) -> None:
    text = large(tmp_path)

    def pieces() -> Iterator[str]:
        yield text[:-5]
        raise SettingsError("the rest cannot be read")

    with opened(tmp_path) as store:
        with pytest.raises(SettingsError, match="the rest"):
            import_json(store, pieces(), portion=3000)
        assert everything(store) == [[], [], []]
