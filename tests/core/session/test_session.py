"""Sessions on a small random model: whatever a conversation does, the ids are the truth and the state agrees."""

import itertools
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qwen_core.errors import QwenError, SettingsError
from qwen_core.protocol.events import GenerationSettings, LoadSettings, Message, StreamEvent
from qwen_core.session import turn as turn_module
from qwen_core.session.completion import load_completion
from qwen_core.session.opening import load_session
from qwen_core.session.prompts import Prompts
from qwen_core.session.session import Session
from qwen_core.text.template import ChatTemplate
from support.checkpoints import write_checkpoint
from support.text import REWRITING_TEMPLATE, TEMPLATE, TOKENIZER_SIZE, write_text_files

SHAPE = {
    "vocab_size": 384,
    "hidden_size": 64,
    "intermediate_size": 128,
    "max_position_embeddings": 4096,
}
# Two kernels for one row and for many sum in another order; logits here are about 1, so float32 agrees far closer.
TOLERANCE = 1e-4


def make_model(directory: Path, **shape: Any) -> Path:
    """A random 4-layer model with text files. A tenth of the vocabulary ends an answer, so that answers do end."""
    write_checkpoint(directory, "bf16", text={**SHAPE, **shape})
    write_text_files(directory)
    config = json.loads((directory / "generation_config.json").read_text())
    end = config["eos_token_id"]
    config["eos_token_id"] = [*(end if isinstance(end, list) else [end]), *range(40, 70)]
    (directory / "generation_config.json").write_text(json.dumps(config))
    return directory


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def loaded(directory: Path) -> Iterator[Session]:
    with load_session(directory) as session:
        yield session


@pytest.fixture
def session(loaded: Session) -> Session:
    """The one loaded model with an empty conversation and the usual template."""
    return fresh(loaded, TEMPLATE)


def fresh(session: Session, template: str, system: str | None = None) -> Session:
    return Session(session.loaded, session.tokenizer, ChatTemplate(template), system=system)


def next_logits(session: Session, ids: Sequence[int] | None = None) -> np.ndarray:
    """Logits after a probe token: from the session's state (which is put back), or from one prefill of `ids`."""
    probe = mx.array([[7]])
    if ids is not None:
        return np.array(session.model.last_logits(mx.array([[*ids, 7]]), session.model.new_state())[0])
    assert session.state is not None
    before = session.state.snapshot()
    logits = np.array(session.model.last_logits(probe, session.state)[0])
    session.state.restore(before)
    return logits


def assert_ids_are_the_truth(session: Session) -> None:
    assert session.state is not None
    assert session.state.length == len(session.ids)
    assert np.abs(next_logits(session) - next_logits(session, session.ids)).max() < TOLERANCE


def answer(session: Session, text: str, **keywords: Any) -> list[StreamEvent]:
    keywords = {"max_new_tokens": 5, "seed": 1} | keywords
    return list(session.send_stream(text, **keywords))


def stop_after(calls: int) -> Callable[[], bool]:
    """A stop that becomes true at its `calls`-th asking."""
    left = iter(range(calls))
    return lambda: next(left, None) is None


@dataclass(frozen=True)
class Turn:
    text: str
    limit: int
    ending: str
    after: int
    effort: str | None


LITERALS = ["<|im_end|>", "<|im_start|>system\n", "</think>", "<think>", "<tool_call>", "<|endoftext|>"]
TEXTS = st.one_of(
    st.sampled_from(["", " ", "hi", "What is the capital?", "long " * 120, "日本の首都は？ 🗼", "a\x00b\x1b[31m"]),
    st.lists(st.sampled_from([*LITERALS, "x", " ", "\n"]), max_size=6).map("".join),
)
TURNS = st.builds(
    Turn,
    text=TEXTS,
    limit=st.integers(1, 8),
    ending=st.sampled_from(["runs", "runs", "stops", "closes", "fails"]),
    after=st.integers(0, 6),
    effort=st.sampled_from([None, "none", "medium"]),
)


@settings(max_examples=15, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    turns=st.lists(TURNS, min_size=1, max_size=5),
    template=st.sampled_from([TEMPLATE, TEMPLATE, REWRITING_TEMPLATE]),
    system=st.sampled_from([None, "Be brief.", "<|im_end|>"]),
    seed=st.integers(0, 99),
)
def test_ids_are_exactly_what_was_fed(
    loaded: Session, turns: list[Turn], template: str, system: str | None, seed: int
) -> None:
    session = fresh(loaded, template, system)
    for number, turn in enumerate(turns):
        known, before = len(session.messages), list(session.conversation_ids)
        stop = stop_after(turn.after) if turn.ending == "stops" else None
        stream = session.send_stream(
            turn.text,
            max_new_tokens=turn.limit,
            temperature=1.0,
            seed=seed + number,
            reasoning_effort=turn.effort,
            stop=stop,
        )
        seen: list[int] = []
        with pytest.MonkeyPatch.context() as patch:
            if turn.ending == "fails":
                patch.setattr(turn_module, "decode", failing_decode(turn.after))
            try:
                for count, event in enumerate(stream):
                    seen.extend(event.token_ids)
                    if turn.ending == "closes" and count == turn.after:
                        stream.close()
                        break
            except RuntimeError:
                assert turn.ending == "fails"
        assert_ids_are_the_truth(session)
        if len(session.messages) > known:
            assert session.messages[-2] == Message("user", turn.text)
            assert session.messages[-1].role == "assistant"
            assert session.conversation_ids[len(session.conversation_ids) - len(seen) :] == seen
            if template == TEMPLATE:
                assert session.conversation_ids[: len(before)] == before
        else:
            assert session.conversation_ids == before


def failing_decode(after: int) -> Callable[..., Iterator[int]]:
    real = turn_module.decode

    def decode(*arguments: Any, **keywords: Any) -> Iterator[int]:
        for count, token in enumerate(real(*arguments, **keywords)):
            if count == after:
                raise RuntimeError("the device failed")
            yield token

    return decode


def test_a_turn_prefills_only_what_is_new(session: Session) -> None:
    answer(session, "A long first question. " * 40, reasoning_effort="none")
    for question in ("<|im_end|> spelled out", "", "Which of those three cities has the largest population?"):
        fed = len(session.ids)
        stats = answer(session, question, reasoning_effort="none")[-1].stats
        assert stats is not None
        assert stats.cached_tokens == fed
        assert stats.prompt_tokens - stats.cached_tokens < 60 + len(session.tokenizer.encode_ordinary(question))


def test_the_fourth_turn_of_the_card_prefills_under_sixty_tokens_with_the_real_template(
    fixtures_dir: Path, tmp_path: Path
) -> None:
    real = fixtures_dir / "qwen3.6"
    make_model(tmp_path, vocab_size=248320, intermediate_size=64)
    (tmp_path / "tokenizer.json").write_bytes((real / "tokenizer.hybrid.json").read_bytes())
    (tmp_path / "chat_template.jinja").write_bytes((real / "chat_template.jinja").read_bytes())
    (tmp_path / "generation_config.json").write_bytes((real / "generation_config.json").read_bytes())
    questions = ["What is the capital of France? <|im_end|>", "What about Germany?" * 50, "And Japan?"]
    with load_session(tmp_path, "You are a helpful assistant. Be concise.") as session:
        for question, effort in zip(questions, ("medium", "none", None), strict=True):
            answer(session, question, reasoning_effort=effort, max_new_tokens=9)
        last = "Which of those three cities has the largest population?"
        for effort in ("none", "high"):
            stats = answer(session, last, reasoning_effort=effort)[-1].stats
            assert stats is not None
            assert 0 < stats.prompt_tokens - stats.cached_tokens < 60
        assert_ids_are_the_truth(session)


def test_a_question_stopped_while_it_was_read_leaves_no_trace_and_costs_nothing_twice(session: Session) -> None:
    answer(session, "first")
    kept, messages = list(session.conversation_ids), list(session.messages)
    long = "word " * 300
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(turn_module, "prefill", small_chunks)
        events = answer(session, long, stop=stop_after(3))
        assert events[-1].finish_reason == "cancelled"
        assert session.conversation_ids == kept
        assert session.messages == messages
        read = len(session.ids) - len(kept)
        assert read > 0
        again = answer(session, long)
    assert again[0].cached_tokens == len(kept) + read
    other = answer(session, "another")
    assert other[-1].finish_reason in ("length", "stop")
    assert_ids_are_the_truth(session)


def small_chunks(*arguments: Any, **keywords: Any) -> Iterator[Any]:
    from qwen_core.session.generate import prefill

    return prefill(*arguments, **keywords, chunk=64)


@pytest.mark.parametrize(("effort", "opens"), [("none", False), ("low", False), ("medium", True), ("high", True)])
def test_effort_turns_thinking_off_or_on(session: Session, effort: str, opens: bool) -> None:
    events = answer(session, "hi", reasoning_effort=effort, max_new_tokens=4)
    assert events[-1].stats is not None
    assert (events[-1].stats.reasoning_tokens > 0) == opens


def test_what_a_crash_left_of_an_answer_goes_on_token_for_token(session: Session) -> None:
    """From the prompt of the first event and the ids of some others, as they are on disk."""
    answer(session, "hi", max_new_tokens=6)
    stream = session.send_stream("and then?", max_new_tokens=12, temperature=0.0)
    events = list(itertools.islice(stream, 12))
    stream.close()
    ids = [*events[0].prompt_ids, *(token for event in events for token in event.token_ids)]
    assert len(ids) > len(events[0].prompt_ids) > 0
    half = Message("assistant", "".join(event.text for event in events), "".join(event.reasoning for event in events))
    asked = [*session.messages[:2], Message("user", "and then?"), half]
    session.restore(asked, ids)
    assert list(session.conversation_ids[: len(ids)]) == ids
    go_on = answer(session, "what?", max_new_tokens=4)
    assert list(go_on[0].prompt_ids[: len(ids)]) == ids  # nothing of it was rendered anew
    assert_ids_are_the_truth(session)


def test_reasoning_that_was_stopped_is_closed_before_the_next_turn(session: Session) -> None:
    end = session.tokenizer.token_to_id("</think>")
    for seed in range(20):
        answer(session, "hi", reasoning_effort="high", max_new_tokens=2, seed=seed)
        if end not in session.ids:
            break
    assert end not in session.ids
    answer(session, "again", reasoning_effort="none", max_new_tokens=1)
    assert session.ids.count(end or -1) == 2


def test_restored_ids_are_prefilled_as_they_were(session: Session) -> None:
    answer(session, "one", reasoning_effort="medium")
    answer(session, "two", reasoning_effort="none")
    messages, ids = list(session.messages), list(session.conversation_ids)
    expected = answer(session, "three", temperature=0.0)
    restored = fresh(session, TEMPLATE)
    restored.restore(messages, ids)
    got = answer(restored, "three", temperature=0.0)
    assert got[0].cached_tokens == 0
    assert restored.ids == session.ids
    assert [e.token_ids for e in got if e.token_ids] == [e.token_ids for e in expected if e.token_ids]
    rendered = fresh(session, TEMPLATE)
    rendered.restore(messages, [*ids, 10**9])
    answer(rendered, "three")
    assert_ids_are_the_truth(rendered)


def test_a_changed_system_prompt_renders_everything_again(session: Session) -> None:
    answer(session, "one")
    session.set_system("Answer in verse.")
    events = answer(session, "two")
    assert events[0].cached_tokens < 3
    assert "Answer in verse." in session.tokenizer.decode(session.ids)
    assert_ids_are_the_truth(session)


def test_a_full_context_is_a_clear_stop(tmp_path: Path) -> None:
    with load_session(make_model(tmp_path, max_position_embeddings=64)) as session:
        session.loaded.stop_ids = frozenset()
        session._stop_ids = frozenset()
        reasons = [answer(session, "hello", max_new_tokens=None)[-1] for _ in range(3)]
        assert [event.finish_reason for event in reasons] == ["context"] * 3
        assert len(session.ids) == 64
        assert "does not fit" in reasons[-1].notice
        last = reasons[-1].stats
        assert last is not None and last.prompt_tokens == last.cached_tokens <= 64, "nothing was read"
        assert_ids_are_the_truth(session)
        session.restore(())
        assert answer(session, "hi", max_new_tokens=1)[-1].finish_reason == "length"


def test_a_template_that_raises_changes_nothing(session: Session) -> None:
    answer(session, "one")
    before, prompts = list(session.ids), session._prompts
    session._prompts = Prompts(ChatTemplate("{{ raise_exception('not today') }}"), session.tokenizer, frozenset())
    with pytest.raises(QwenError, match="not today"):
        answer(session, "two")
    assert session.ids == before
    session._prompts = prompts
    assert answer(session, "two")[0].cached_tokens == len(before)


def test_what_stands_before_the_conversation_is_rendered_once_a_question(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    for question in ("one", "two"):
        answer(session, question)
        session.restore(session.messages, session.ids)
    assert len(session._left) == 2
    heads: list[str | None] = []
    head = Prompts.head
    monkeypatch.setattr(Prompts, "head", lambda self, system, given: heads.append(system) or head(self, system, given))
    session.set_system("Answer in verse.")
    assert answer(session, "three")[0].cached_tokens < 3, "no run of tokens begins like that"
    assert heads == ["Answer in verse."]


@pytest.mark.parametrize(
    ("keywords", "words"),
    [
        ({"warmth": 1}, "unknown setting 'warmth'"),
        ({"reasoning_effort": "huge"}, "'huge' is not one of"),
        ({"max_new_tokens": 0}, "max_new_tokens = 0 is not a whole number"),
        ({"reasoning_budget": 0}, "reasoning_budget = 0 is not a whole number"),
        ({"temperature": -1.0}, "temperature"),
    ],
)
def test_settings_out_of_range_are_named(session: Session, keywords: dict[str, Any], words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        answer(session, "hi", **keywords)
    assert session.ids == []


def test_a_library_call_reads_no_file_of_the_person(
    directory: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Odd values in config.toml and in the environment change nothing; values that are passed do."""
    (home / "config").mkdir(parents=True)
    (home / "config" / "config.toml").write_text(
        "[context]\nsnapshot_budget_mb = 3\n[hardware]\npeak_bandwidth_gb_s = 321.5\ngpu_cores = 7\n"
    )
    monkeypatch.setenv("QWEN_TUI_HARDWARE_PEAK_BANDWIDTH_GB_S", "123.5")
    with load_session(directory) as session:
        assert session._snapshots.budget_bytes == LoadSettings().snapshot_budget_bytes == 1_000_000_000
        assert session.summary().peak_source != "configured"
    with load_session(directory, settings=LoadSettings(5, 77.5)) as session:
        assert session._snapshots.budget_bytes == 5
        assert (session.summary().peak_bandwidth_gb_s, session.summary().peak_source) == (77.5, "configured")
    with load_completion(directory, settings=LoadSettings(5, 77.5)) as completion:
        assert completion.summary().peak_source == "configured"


def test_settings_come_as_an_object_or_as_keywords(session: Session) -> None:
    settings = GenerationSettings(max_new_tokens=3, temperature=0.0, effort="none")
    one = [event.token_ids for event in session.send_stream("hi", settings)]
    other = fresh(session, TEMPLATE)
    two = [
        event.token_ids for event in other.send_stream("hi", max_new_tokens=3, temperature=0, reasoning_effort="none")
    ]
    assert one == two


def test_a_tokenizer_larger_than_the_embedding_is_refused_before_loading(tmp_path: Path) -> None:
    make_model(tmp_path, vocab_size=TOKENIZER_SIZE - 32)
    with pytest.raises(QwenError, match="tokenizer"):
        load_session(tmp_path)
