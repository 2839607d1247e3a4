"""The figures that ride along with a running turn: from `Turn` over the batcher to what the app receives."""

from dataclasses import replace

import pytest

from qwen_core import demo_model_path, load_session
from qwen_core.engine.event_batches import TurnBatcher
from qwen_core.protocol.events import Delta, Load, Loaded, Send, TurnDone
from qwen_core.protocol.stats import TurnStats, ceiling_tok_s, decode_rate
from qwen_core.session import turn as turn_module
from qwen_core.session.drafting import Drafting
from qwen_core.session.reasoning_budget import BudgetWatch
from qwen_core.session.session import Session
from support.engines import running_engine
from support.fake_engine import stats
from support.fake_session import FACTORY, said, script, until_stop
from support.scripted_drafter import ScriptedDrafter

GREEDY = {"temperature": 0.0, "reasoning_effort": "none"}


class Ticks:
    """A clock that moves by `step` seconds a reading."""

    def __init__(self, step: float) -> None:
        self.now, self.step = 0.0, step

    def __call__(self) -> float:
        self.now += self.step
        return self.now


def figures(
    session: Session, step: float, monkeypatch: pytest.MonkeyPatch, **settings: object
) -> tuple[list[TurnStats], list[int]]:
    """The figures of one answer with a clock of `step`, and how many tokens each event of the answer had."""
    plan = turn_module.TurnPlan
    monkeypatch.setattr("qwen_core.session.session.TurnPlan", lambda **fields: plan(**fields, clock=Ticks(step)))
    session.restore(())
    events = list(session.send_stream("What is the capital of France?", **{**GREEDY, **settings}))
    return [event.stats for event in events if event.stats], [len(event.token_ids) for event in events]


@pytest.fixture(scope="module")
def session() -> Session:
    return load_session(demo_model_path())


def test_the_summary_has_the_name_that_people_know(session: Session) -> None:
    assert session.summary().name == "demo model"


def test_every_token_has_its_figures_and_they_agree_with_the_last(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    every, tokens = figures(session, 0.1, monkeypatch)
    generated = sum(tokens)
    assert [figure.generated_tokens for figure in every] == [*range(1, generated + 1), generated]
    for figure in every[1:-1]:
        assert figure.live_tok_s == pytest.approx(10)
        assert figure.decode_tok_s == pytest.approx(10)
    kept = [figure.kv_bytes for figure in every]
    assert kept == sorted(kept)
    assert kept[0] < kept[-1]
    for figure in every:
        moved = figure.weight_bytes_per_token + 2 * figure.recurrent_bytes + figure.kv_bytes
        assert figure.bytes_per_token == moved
        assert figure.context_tokens == figure.prompt_tokens + figure.generated_tokens
    assert replace(every[-1], peak_memory_bytes=0, active_memory_bytes=0) == replace(
        every[-2], peak_memory_bytes=0, active_memory_bytes=0
    )


def test_what_comes_with_the_first_token_has_no_part_in_the_rate(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pass whose drafts were accepted gives its tokens at one moment: those of the first are in the time to it."""
    session.restore(())
    *_, plain = session.send_stream("What is the capital of France?", **GREEDY)
    truth, vocab = list(session.ids), session.model.config.vocab_size

    def scripted(*_: object) -> Drafting:
        drafter = ScriptedDrafter(truth, 1.0, vocab)
        drafter.begin(())
        return Drafting("scripted", drafter, lambda _: 3)

    monkeypatch.setattr(session.loaded.drafters, "drafting", scripted)
    session.release()  # else the prompt is not read, and the script not told of it
    every, tokens = figures(session, 1.0, monkeypatch)
    assert plain.stats is not None
    assert sum(tokens) == plain.stats.generated_tokens > 4
    assert [figure.decode_tok_s for figure in every[:4]] == [None] * 4
    assert every[-1].decode_tok_s == (sum(tokens) - 4) / (sum(tokens) - 1)


def test_the_time_of_reasoning_ends_with_its_last_token(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that moves a second a reading: one reading a token, and one before the first."""
    thinking, _ = figures(session, 1.0, monkeypatch, reasoning_effort="medium")
    last = thinking[-1]
    assert 0 < last.reasoning_tokens < last.generated_tokens
    assert last.reasoning_s == last.reasoning_tokens - 1
    assert [figure.reasoning_s for figure in thinking[: last.reasoning_tokens]] == list(range(last.reasoning_tokens))
    plain, _ = figures(session, 1.0, monkeypatch)
    assert {figure.reasoning_s for figure in plain} == {None}


def test_what_a_budget_feeds_takes_its_time_too(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three tokens, then the limit inside the words that close the reasoning: fed in one step, a second later."""
    watch = "qwen_core.session.session.BudgetWatch"
    monkeypatch.setattr(watch, lambda _, encode: BudgetWatch(3, encode, 0))
    thinking, _ = figures(session, 1.0, monkeypatch, reasoning_effort="medium", reasoning_budget=3, max_new_tokens=7)
    last = thinking[-1]
    assert last.generated_tokens == 7
    assert last.decode_tok_s == (7 - 1) / 3
    assert last.reasoning_s == 3


def test_a_batch_carries_the_latest_figures() -> None:
    clock = Ticks(0.0)
    batcher = TurnBatcher(1, clock)
    first, second = (replace(stats(), generated_tokens=n) for n in (1, 2))
    sent = batcher.push(replace(said("a", 1), stats=first))
    sent += batcher.push(replace(said("b", 2), stats=second))
    sent += batcher.push(said("c", 3))
    sent += batcher.flush()
    assert [event.stats for event in sent if isinstance(event, Delta)] == [first, second]


def test_derived_figures_follow_from_the_stored_ones() -> None:
    known = stats()
    assert known.share_of_peak == pytest.approx(351 / 400)
    assert known.ceiling_tok_s == ceiling_tok_s(known.bytes_per_token, 400.0) == pytest.approx(400e9 / 20.3e9)
    unknown = replace(known, peak_bandwidth_gb_s=None)
    assert (unknown.share_of_peak, unknown.ceiling_tok_s) == (None, None)
    assert replace(known, bandwidth_gb_s=None).share_of_peak is None
    assert decode_rate(2, 1.0, 1.5) == 2.0


def test_a_stopped_turn_says_how_long_the_stop_took() -> None:
    with running_engine(FACTORY) as (engine, log):
        engine.send(Load(script()))
        log.wait_for(Loaded)
        engine.send(Send(1, script(until_stop())))
        log.wait_for(Delta)
        engine.stop()
        stopped = log.wait_for(TurnDone).stats.stop_s
        assert stopped is not None
        assert stopped >= 0
        engine.send(Send(2, script()))
        assert log.wait_for(TurnDone).stats.stop_s is None


def test_the_engine_sends_running_figures() -> None:
    with running_engine() as (engine, log):
        engine.send(Load(str(demo_model_path())))
        log.wait_for(Loaded)
        engine.send(Send(1, "Explain NVFP4 vs MXFP4 quantization."))
        done = log.wait_for(TurnDone)
    running = [delta.stats for delta in log.of(Delta) if delta.stats]
    assert running
    assert running[-1].prompt_tokens == done.stats.prompt_tokens
    assert running[-1].generated_tokens <= done.stats.generated_tokens
