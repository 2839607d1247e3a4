"""An answer that begins with given tokens: the state, the text and the figures are those of one that came to them."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest

from qwen_core import demo_model_path, load_session
from qwen_core.errors import SettingsError
from qwen_core.protocol.begun_answer import BegunAnswer
from qwen_core.protocol.events import (
    Delta,
    GenerationSettings,
    Load,
    Loaded,
    Send,
    StreamEvent,
    TurnDone,
    TurnStarted,
)
from qwen_core.protocol.probabilities import Probabilities, together
from qwen_core.protocol.timeline import of_tokens
from qwen_core.session.session import Session
from support.engines import running_engine

ASKED = GenerationSettings(temperature=0.0, effort="medium", max_new_tokens=24, logprobs=4)
QUESTION = "What is the capital of Germany?"


@pytest.fixture(scope="module")
def loaded() -> Iterator[Session]:
    with load_session(demo_model_path()) as session:
        yield session


@pytest.fixture
def session(loaded: Session) -> Session:
    """One turn was answered before."""
    session = Session(loaded.loaded, loaded.tokenizer, loaded.template)
    list(session.send_stream("What is the capital of France?", ASKED))
    return session


def ids_of(events: Sequence[StreamEvent]) -> tuple[int, ...]:
    return tuple(token for event in events for token in event.token_ids)


def told(events: Sequence[StreamEvent]) -> Probabilities:
    found = together([event.probabilities for event in events if event.probabilities is not None])
    assert found is not None
    return found


def begun(session: Session, events: Sequence[StreamEvent], count: int, *more: int) -> list[StreamEvent]:
    """Go back before the question that `events` answered, and begin its answer with its first tokens and `more`."""
    prompt, ids = events[0].prompt_ids, ids_of(events)
    rows = told(events)
    kept = Probabilities(rows.top, rows.data[: (count + len(more)) * rows.row_bytes])
    session.restore(session.messages[:-2])
    start = BegunAnswer(prompt, (*ids[:count], *more), kept)
    return list(session.begin_stream(QUESTION, start, ASKED))


@pytest.mark.parametrize("count", [1, 7, 20])
def test_going_on_from_the_same_tokens_says_the_same(session: Session, count: int) -> None:
    events = list(session.send_stream(QUESTION, ASKED))
    message, ids = session.messages[-1], ids_of(events)
    again = begun(session, events, count)
    assert ids_of(again) == ids
    assert session.messages[-1] == message
    assert session.ids == [*events[0].prompt_ids, *ids]
    assert told(again).logprobs() == pytest.approx(told(events).logprobs(), abs=1e-3)
    one, two = events[-1].stats, again[-1].stats
    assert one is not None
    assert two is not None
    assert (two.prompt_tokens, two.generated_tokens) == (one.prompt_tokens, one.generated_tokens)
    assert two.reasoning_tokens == one.reasoning_tokens
    # The state behind the question was kept: only what is given is read again.
    assert two.cached_tokens == one.prompt_tokens > one.cached_tokens > 0
    assert two.reread_tokens == count


def test_another_token_leads_elsewhere_and_its_text_comes_first(session: Session) -> None:
    events = list(session.send_stream(QUESTION, ASKED))
    other = told(events)[3].top[1][0]
    again = begun(session, events, 3, other)
    assert ids_of(again)[:4] == (*ids_of(events)[:3], other)
    given = next(event for event in again if event.token_ids)
    said = session.tokenizer.decode([*ids_of(events)[:3], other]).strip("\n")
    assert "".join(text for _, text in given.pieces) == said
    assert session.messages[-1].reasoning.startswith(said)


def test_a_part_of_a_character_is_completed(session: Session) -> None:
    events = list(session.send_stream(QUESTION, replace(ASKED, effort="none")))
    first, *rest = session.tokenizer.encode("東")
    assert rest, "the demo's tokenizer writes it in several tokens"
    again = begun(session, events, 0, first)
    assert next(event for event in again if event.token_ids).pieces == ()
    whole = b"".join(session.tokenizer.token_bytes(token) for token in ids_of(again)[:-1])
    assert session.messages[-1].content == whole.decode("utf-8", "replace").lstrip("\n")


def test_an_end_that_was_chosen_ends_it(session: Session) -> None:
    events = list(session.send_stream(QUESTION, ASKED))
    end = session.tokenizer.token_to_id("<|im_end|>")
    assert end is not None
    again = begun(session, events, 5, end)
    assert again[-1].finish_reason == "stop"
    assert ids_of(again) == (*ids_of(events)[:5], end)
    assert "im_end" not in session.messages[-1].reasoning


def test_what_cannot_begin_an_answer_is_refused_before_anything_is_read(session: Session) -> None:
    before = list(session.ids)
    for wrong in (BegunAnswer((), (1,)), BegunAnswer((1,), ()), BegunAnswer((1,), (10**6,))):
        with pytest.raises(SettingsError):
            list(session.begin_stream("x", wrong))
    assert session.ids == before


def test_the_length_limit_counts_what_is_given(session: Session) -> None:
    events = list(session.send_stream(QUESTION, ASKED))
    prompt, ids = events[0].prompt_ids, ids_of(events)
    session.restore(session.messages[:-2])
    again = list(session.begin_stream(QUESTION, BegunAnswer(prompt, ids[:10]), replace(ASKED, max_new_tokens=12)))
    assert len(ids_of(again)) == 12
    assert again[-1].finish_reason == "length"


def test_through_the_engine_it_comes_with_its_first_tokens_and_from_the_nearest_snapshot() -> None:
    with running_engine() as (engine, log):
        engine.send(Load(str(demo_model_path())))
        log.wait_for(Loaded)
        engine.send(Send(1, "What is the capital of France?", ASKED))
        log.wait_for(TurnDone)
        engine.send(Send(2, QUESTION, ASKED))
        prompt, second = log.wait_for(TurnStarted).prompt_ids, log.wait_for(TurnDone)
        ids = second.ids[len(prompt) :]
        engine.send(Send(3, QUESTION, ASKED, BegunAnswer(prompt, ids[:4])))
        started = log.wait_for(TurnStarted)
        assert started.prompt_ids == prompt
        # The state behind the second question was kept; the first answer's was as that began.
        assert started.cached_tokens == len(prompt)
        third = log.wait_for(TurnDone)
        assert third.ids == second.ids
        came = [delta for delta in log.of(Delta) if delta.turn == 3]
        assert came[0].ids == ids[:4]
        assert tuple(token for delta in came for token in delta.ids) == ids
        moments = [moment for delta in came for moment in delta.timeline.moments()]
        spent = [moment.seconds for moment in of_tokens(moments)]
        assert len(spent) == len(ids)
        assert spent[:4] == [0.0] * 4 and min(spent[4:]) > 0, "what is given takes no pass"
        assert [moment.tokens for moment in moments if moment.kind == "snapshot"] == [len(prompt)]
