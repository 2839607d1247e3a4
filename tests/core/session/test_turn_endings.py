"""Turns that go elsewhere: back to an earlier one, on from a cut answer, out of a long thought, out of a loop."""

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from qwen_core import demo_model_path, load_session
from qwen_core.errors import SettingsError
from qwen_core.protocol.counting import PromptCount
from qwen_core.protocol.events import (
    Continue,
    Delta,
    GenerationSettings,
    Load,
    Loaded,
    Send,
    StreamEvent,
    TurnDone,
    TurnFailed,
)
from qwen_core.protocol.pieces import text_of, with_late_reasoning
from qwen_core.protocol.stats import went_on
from qwen_core.session.reasoning_budget import BudgetWatch
from qwen_core.session.repetition_guard import RepetitionGuard
from qwen_core.session.sampling import Sampler
from qwen_core.session.session import Session
from qwen_core.text.chat_encoding import encode_chat
from support.engines import running_engine

LONG = "Explain NVFP4 vs MXFP4 quantization."
PARAGRAPH = "What is MXFP4?"
QUESTIONS = ("What is the capital of France?", "What about Germany?", "And Japan?")
GREEDY: dict[str, Any] = {"temperature": 0.0, "reasoning_effort": "none"}
THINKING: dict[str, Any] = {"temperature": 0.0, "reasoning_effort": "medium"}
# As in test_session.py: two kernels sum in another order.
TOLERANCE = 1e-3


@pytest.fixture(scope="module")
def loaded() -> Iterator[Session]:
    with load_session(demo_model_path()) as session:
        yield session


@pytest.fixture
def session(loaded: Session) -> Session:
    return Session(loaded.loaded, loaded.tokenizer, loaded.template)


def ids_of(events: Sequence[StreamEvent]) -> list[int]:
    return [token for event in events for token in event.token_ids]


def assert_the_state_is_what_the_ids_say(session: Session) -> None:
    probe = mx.array([[7]])
    before = session.state.snapshot()
    ours = np.array(session.model.last_logits(probe, session.state))
    session.state.restore(before)
    whole = np.array(session.model.last_logits(mx.array([[*session.ids, 7]]), session.model.new_state()))
    assert np.abs(ours - whole).max() < TOLERANCE


def test_an_edit_of_an_earlier_turn_prefills_only_what_changed(session: Session) -> None:
    ends = []
    for question in QUESTIONS:
        list(session.send_stream(question, **GREEDY))
        ends.append(list(session.conversation_ids))
    session.restore(session.messages[:2], ends[0])
    events = list(session.send_stream("What about Italy?", **GREEDY))
    assert "Rome" in session.messages[-1].content
    assert events[-1].stats is not None
    assert events[-1].stats.cached_tokens == len(ends[0])
    assert session.ids[: len(ends[0])] == ends[0]
    assert_the_state_is_what_the_ids_say(session)
    session.restore(session.messages[:2], ends[0])
    again = list(session.send_stream(QUESTIONS[1], **GREEDY))
    assert again[-1].cached_tokens == len(ends[0])
    assert session.ids == ends[1], "the same question as before has the same answer"


def test_what_stands_before_a_deleted_turn_is_kept_and_the_turn_comes_back_for_nothing(session: Session) -> None:
    ends = []
    for question in QUESTIONS:
        list(session.send_stream(question, **GREEDY))
        ends.append(list(session.conversation_ids))
    everything = list(session.messages)
    session.restore([*everything[:2], *everything[4:]], ends[0], known=2)
    session.restore(everything, ends[1], known=4)
    events = list(session.send_stream("And Spain?", **GREEDY))
    assert events[-1].cached_tokens == len(ends[2]), "deleted and brought back: nothing is read again"
    session.restore([*everything[:2], *everything[4:]], ends[0], known=2)
    events = list(session.send_stream("And Italy?", **GREEDY))
    assert events[-1].cached_tokens == len(ends[0])
    text = session.tokenizer.decode(session.ids)
    assert QUESTIONS[1] not in text
    assert text.index(QUESTIONS[0]) < text.index(QUESTIONS[2]) < text.index("And Italy?")
    chat = [*session._chat()[:-2], {"role": "user", "content": "And Italy?"}]
    rendered = encode_chat(session.template, session.tokenizer, chat, enable_thinking=False, preserve_thinking=True)
    assert session.tokenizer.decode(session.ids).startswith(session.tokenizer.decode(rendered))
    assert_the_state_is_what_the_ids_say(session)


def test_a_count_is_what_sending_takes_and_changes_nothing(session: Session) -> None:
    for question in QUESTIONS:
        held = list(session.ids)
        count = session.count(question, GenerationSettings(effort="none"))
        assert (session.ids, session.state.length) == (held, len(held))
        first = next(iter(session.send_stream(question, **GREEDY)))
        assert count == PromptCount(
            len(first.prompt_ids), first.cached_tokens, len(session.tokenizer.encode_ordinary(question))
        )


def test_a_huge_text_is_counted_no_further_than_the_context_and_can_be_stopped(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit, huge = session.loaded.summary.context_limit, "never mind " * 10_000_000
    encoded: list[int] = []
    encode = session.tokenizer.encode_ordinary
    monkeypatch.setattr(session.tokenizer, "encode_ordinary", lambda text: (encoded.append(len(text)), encode(text))[1])
    count = session.count(huge)
    assert count is not None and count.at_least and count.text_tokens > limit
    assert sum(encoded) < len(huge) / 100
    assert session.count(huge, stop=lambda: True) is None


def test_ids_that_are_said_to_stand_for_no_message_or_for_too_many_are_no_harm(session: Session) -> None:
    list(session.send_stream(QUESTIONS[0], **GREEDY))
    messages, ids = list(session.messages), list(session.ids)
    for known in (-1, 0, 1, 9):
        session.restore(messages, ids, known=known)
        list(session.send_stream(QUESTIONS[1], **GREEDY))
        assert QUESTIONS[0] in session.tokenizer.decode(session.ids)
        assert_the_state_is_what_the_ids_say(session)


@pytest.mark.parametrize("length", [1, 13])
def test_a_cut_answer_goes_on_as_if_it_had_not_been_cut(length: int, session: Session) -> None:
    list(session.send_stream(QUESTIONS[0], **GREEDY))
    whole = ids_of(list(session.send_stream(PARAGRAPH, **GREEDY)))
    text = session.messages[-1].content
    session.restore((), ())
    list(session.send_stream(QUESTIONS[0], **GREEDY))
    first = list(session.send_stream(PARAGRAPH, max_new_tokens=length, **GREEDY))
    assert first[-1].finish_reason == "length"
    rest = list(session.continue_stream(**GREEDY))
    assert ids_of(first) + ids_of(rest) == whole
    assert first[-1].stats is not None and rest[-1].stats is not None
    assert rest[-1].stats.cached_tokens == rest[-1].stats.prompt_tokens == first[-1].stats.context_tokens
    figures = went_on(first[-1].stats, rest[-1].stats)
    assert (figures.generated_tokens, figures.reread_tokens) == (len(whole), 0)
    assert (figures.prompt_tokens, figures.cached_tokens) == (
        first[-1].stats.prompt_tokens,
        first[-1].stats.cached_tokens,
    )
    assert session.messages[-1].content == text
    assert len(session.messages) == 4
    assert rest[-1].finish_reason == "stop"
    assert_the_state_is_what_the_ids_say(session)
    with pytest.raises(SettingsError, match="complete"):
        list(session.continue_stream())


@pytest.mark.parametrize("draft", ["off", "mtp", "lookup"])
def test_an_answer_goes_on_from_wherever_it_was_stopped_and_nothing_is_read_again(draft: str, session: Session) -> None:
    """Also in the middle of a pass with drafts, and after another question: the snapshot has the logits."""
    settings: dict[str, Any] = {**GREEDY, "draft": draft, "num_draft_tokens": 3}
    whole = ids_of(list(session.send_stream(PARAGRAPH, **GREEDY)))
    for length in (1, 2, 3, 4, 7):
        session.restore(())
        stream = session.send_stream(PARAGRAPH, **settings)
        said: list[int] = []
        while len(said) < length:
            said += next(stream).token_ids
        stream.close()
        messages, ids = list(session.messages), list(session.conversation_ids)
        list(session.send_stream("And then?", max_new_tokens=3, **settings))
        session.restore(messages, ids)
        events = list(session.continue_stream(**settings))
        assert said + ids_of(events) == whole
        assert events[-1].stats is not None
        assert events[-1].stats.prompt_tokens == events[-1].stats.cached_tokens == len(ids)
        assert_the_state_is_what_the_ids_say(session)


def test_an_answer_goes_on_from_a_saved_state_without_reading(session: Session, tmp_path: Path) -> None:
    whole = ids_of(list(session.send_stream(PARAGRAPH, **GREEDY)))
    session.restore(())
    first = list(session.send_stream(PARAGRAPH, max_new_tokens=5, **GREEDY))
    session.save_state(tmp_path / "state")
    later = Session(session.loaded, session.tokenizer, session.template)
    later.restore(session.messages, session.conversation_ids)
    later.load_state(tmp_path / "state")
    rest = list(later.continue_stream(**GREEDY))
    assert rest[-1].stats is not None
    assert rest[-1].stats.prompt_tokens == rest[-1].stats.cached_tokens
    assert ids_of(first) + ids_of(rest) == whole
    # Without the file all of it is read, and the figures say so.
    bare = Session(session.loaded, session.tokenizer, session.template)
    bare.restore(session.messages, session.conversation_ids)
    again = list(bare.continue_stream(**GREEDY))
    assert ids_of(again) == ids_of(rest)
    assert first[-1].stats is not None and again[-1].stats is not None
    assert went_on(first[-1].stats, again[-1].stats).reread_tokens == len(session.conversation_ids)


def test_there_must_be_an_answer_to_go_on_with(session: Session) -> None:
    with pytest.raises(SettingsError, match="no answer"):
        list(session.continue_stream())
    list(session.send_stream(LONG, max_new_tokens=5, **GREEDY))
    session.restore(session.messages, ())
    with pytest.raises(SettingsError, match="not known"):
        list(session.continue_stream())


@pytest.mark.parametrize("budget", [1, 3, 6])
def test_a_long_thought_is_closed_and_the_answer_follows(budget: int, session: Session) -> None:
    free = list(session.send_stream(QUESTIONS[0], **THINKING))
    assert free[-1].stats is not None
    assert free[-1].stats.reasoning_tokens > budget + 1
    session.restore((), ())
    # No line end is waited for in a thought of one line: a grace of 64 tokens would outlast it.
    events = list(session.send_stream(QUESTIONS[0], reasoning_budget=budget, max_new_tokens=200, **THINKING))
    reasoning = "".join(event.reasoning for event in events)
    assert events[-1].finish_reason == "stop"
    assert session.ids.count(session.tokenizer.token_to_id("</think>") or -1) == 1
    assert reasoning
    assert "Paris" in session.messages[-1].content
    assert_the_state_is_what_the_ids_say(session)


def test_the_closing_words_are_fed_and_counted(session: Session) -> None:
    """With no grace the block closes at the first token past the budget; what closes it belongs to the ids."""
    budget = BudgetWatch(1, session.tokenizer.encode)
    closing = budget.push(True, "a") or budget.push(True, "b\n")
    events = list(session.send_stream(QUESTIONS[0], reasoning_budget=2, max_new_tokens=100, **THINKING))
    generated = ids_of(events)
    tag = session.tokenizer.token_to_id("</think>")
    assert tag in closing
    assert tag in generated
    assert events[-1].stats is not None
    assert events[-1].stats.generated_tokens == len(generated)
    assert len(session.ids) == events[-1].stats.context_tokens == session.state.length


def test_a_turn_left_at_any_event_holds_what_was_yielded(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where a budget has its closing words fed in one step, and where a stop comes just before them."""
    monkeypatch.setattr("qwen_core.session.session.BudgetWatch", lambda *given: BudgetWatch(*given, grace=0))
    settings: dict[str, Any] = {**THINKING, "reasoning_budget": 3, "max_new_tokens": 60}
    whole = list(session.send_stream(QUESTIONS[0], **settings))
    prompt = list(whole[0].prompt_ids)
    sizes = [len(event.token_ids) for event in whole if event.token_ids]
    assert sizes[:3] == [1, 1, 1]
    assert sizes[3] > 10
    first = next(number for number, event in enumerate(whole) if event.token_ids)
    for seen in range(first + 1, first + 6):
        session.restore(())
        stream = session.send_stream(QUESTIONS[0], **settings)
        events = list(itertools.islice(stream, seen))
        stream.close()
        assert session.ids == session.conversation_ids == [*prompt, *ids_of(events)]
        assert session.state.length == len(session.ids)
        assert session.messages[-1].reasoning.startswith("".join(event.reasoning for event in events))
    session.restore(())
    stopped = list(session.send_stream(QUESTIONS[0], stop=lambda: len(session.ids) == len(prompt) + 3, **settings))
    assert stopped[-1].finish_reason == "cancelled"
    assert ids_of(stopped) == ids_of(whole)[:3]
    assert session.ids == [*prompt, *ids_of(stopped)]


def test_the_guard_ends_an_answer_that_repeats_itself(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    """The demo model does not loop by itself: its head is bent until it says one token for ever."""
    monkeypatch.setattr("qwen_core.session.session.RepetitionGuard", lambda: RepetitionGuard(8, 4, 12))
    head = session.model._head
    loop = 300

    def bent(hidden: mx.array) -> mx.array:
        return head(hidden) + 1e4 * (mx.arange(session.model.config.vocab_size) == loop)

    monkeypatch.setattr(session.model, "_head", bent)
    off = list(session.send_stream(LONG, max_new_tokens=40, **GREEDY))
    assert off[-1].finish_reason == "length"
    session.restore((), ())
    on = list(session.send_stream(LONG, max_new_tokens=40, repetition_guard=True, **GREEDY))
    assert on[-1].finish_reason == "repetition"
    assert "repeats itself" in on[-1].notice
    assert ids_of(on) == [loop] * 12


def test_dropped_reasoning_leaves_the_state_and_costs_the_answer_alone(session: Session) -> None:
    first = list(session.send_stream(QUESTIONS[0], drop_reasoning=True, **THINKING))
    assert session.messages[-1].reasoning
    thought = len(ids_of(first))
    chat = session._chat()
    second = list(session.send_stream(QUESTIONS[1], drop_reasoning=True, **THINKING))
    target = encode_chat(
        session.template, session.tokenizer, [*chat, {"role": "user", "content": QUESTIONS[1]}], enable_thinking=True
    )
    assert session.ids[: len(target)] == target, "history is what the template makes of it"
    assert session.messages[1].reasoning not in session.tokenizer.decode(target)
    assert second[-1].stats is not None
    cached = second[-1].stats.cached_tokens
    assert cached > 0, "the snapshot before the answer was found"
    # What is prefilled again is the first answer without its thoughts, and the new question.
    fed = len(target) - cached
    assert fed < thought + len(session.tokenizer.encode(QUESTIONS[1])) + 16
    assert_the_state_is_what_the_ids_say(session)


def test_the_engine_continues_a_stopped_answer() -> None:
    settings = GenerationSettings(temperature=0.0, effort="none", max_new_tokens=8)
    with running_engine() as (engine, log):
        engine.send(Load(str(demo_model_path())))
        log.wait_for(Loaded)
        engine.send(Continue(1, settings))
        assert "no answer" in log.wait_for(TurnFailed).message
        engine.send(Send(2, LONG, settings))
        first = log.wait_for(TurnDone)
        engine.send(Continue(3, settings))
        second = log.wait_for(TurnDone)
        assert (second.turn, second.finish_reason) == (3, "length")
        assert second.message.content.startswith(first.message.content)
        assert len(second.message.content) > len(first.message.content)
        assert second.ids[: len(first.ids)] == first.ids
        said = "".join(text for delta in log.of(Delta) if delta.turn == 3 for _, text in delta.pieces)
        assert first.message.content + said == second.message.content


def says(session: Session, monkeypatch: pytest.MonkeyPatch, text: str) -> int:
    """Whatever the model would say, the next turn says `text`, in which control tokens are spelled; how many tokens."""
    ids = session.tokenizer.encode(text)
    end = session.tokenizer.token_to_id("<|im_end|>")
    script = itertools.chain(ids, itertools.repeat(end))
    monkeypatch.setattr(Sampler, "__call__", lambda self, logits: mx.array([next(script)], mx.uint32))
    return len(ids)


@pytest.mark.parametrize(
    ("said", "text", "content", "reasoning"),
    [
        ("I think.</think>The answer.", "I think.\n\nThe answer.", "The answer.", "I think."),
        ("I think.\n</think>\n\nThe answer.", "I think.\n\n\nThe answer.", "The answer.", "I think."),
        ("The answer.</think>", "The answer.", "The answer.", ""),
        ("A <think> and a </think> are tags.",) * 2 + ("A <think> and a </think> are tags.", ""),
    ],
)
def test_what_a_stray_end_of_reasoning_follows_is_reasoning(
    session: Session, monkeypatch: pytest.MonkeyPatch, said: str, text: str, content: str, reasoning: str
) -> None:
    says(session, monkeypatch, said)
    events = list(session.send_stream("q", **GREEDY))
    assert "".join(event.text for event in events) == text
    message = session.messages[-1]
    assert (message.content, message.reasoning) == (content, reasoning)
    late = with_late_reasoning([piece for event in events for piece in event.pieces], events[-1].late_reasoning)
    assert (text_of(late, "answer"), text_of(late, "reasoning")) == (content, reasoning)
    assert_the_state_is_what_the_ids_say(session)


def test_a_stray_end_of_reasoning_may_come_when_an_answer_goes_on(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = says(session, monkeypatch, "I thi")
    list(session.send_stream("q", max_new_tokens=count, **GREEDY))
    says(session, monkeypatch, "nk.</think>The answer.")
    list(session.continue_stream(**GREEDY))
    message = session.messages[-1]
    assert (message.content, message.reasoning) == ("The answer.", "I think.")


@pytest.mark.parametrize("ended", [True, False])
def test_reasoning_is_closed_before_the_next_turn_unless_the_model_ended_the_turn_in_it(
    session: Session, monkeypatch: pytest.MonkeyPatch, ended: bool
) -> None:
    count = says(session, monkeypatch, "I think")
    list(session.send_stream("q", max_new_tokens=None if ended else count, temperature=0.0, reasoning_effort="high"))
    assert (session.messages[-1].content, session.messages[-1].reasoning) == ("", "I think")
    first = next(iter(session.send_stream("next", **GREEDY)))
    _, _, after = session.tokenizer.decode(first.prompt_ids).partition("I think")
    between = after.partition("<|im_start|>")[0]
    assert between == ("<|im_end|>\n" if ended else "\n</think>\n\n<|im_end|>\n")
