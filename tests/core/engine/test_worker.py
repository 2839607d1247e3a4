"""The worker's jobs, run here in one thread: what each error becomes, what is unloaded when, whom a Stop reaches."""

import threading
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwen_core.engine.command_queue import Inbox, Job
from qwen_core.engine.worker import Worker
from qwen_core.protocol.counting import Count, Counted, PromptCount
from qwen_core.protocol.events import (
    Command,
    Delta,
    Event,
    GenerationSettings,
    Load,
    Loaded,
    LoadFailed,
    LoadProgress,
    LoadSettings,
    MachineMeasured,
    Notice,
    PrefillProgress,
    Restore,
    Send,
    Shutdown,
    Stop,
    TurnDone,
    TurnFailed,
    TurnStarted,
    Watch,
)
from qwen_core.protocol.scoring import Score, Scored, ScoreFailed, ScoreProgress, Spell, Spelled, Spelling
from support.fake_session import FACTORY, FakeSession, fail, prefill, progress, say, script, show, until_stop

LOAD = Load(script())


class Jobs(Inbox):
    """An inbox that ends when it is empty instead of waiting."""

    def next(self) -> Job | None:
        if not self._waiting:
            self.put(Shutdown())
        return super().next()


def work(*commands: Command, factory: str = FACTORY) -> list[Event]:
    """Every event of those commands, at a clock that stands still."""
    inbox = Jobs()
    events: list[Event] = []
    for command in commands:
        inbox.put(command)
    Worker(inbox, events.append, factory, lambda: 0.0).run()
    return events


def test_a_machine_is_measured_once_nothing_is_left_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qwen_core.engine.worker.IDLE_S", 0.0)
    monkeypatch.setattr(FakeSession, "peak_gb_s", None)
    measured = [event.model for event in work(LOAD) if isinstance(event, MachineMeasured)]
    assert [model.peak_bandwidth_gb_s for model in measured] == [42.0]
    busy = kinds(work(LOAD, Send(1, script(say("a")), GenerationSettings())))
    assert MachineMeasured not in busy[: busy.index(TurnDone)]
    assert busy[-1] is MachineMeasured, "afterwards there was time"


def kinds(events: list[Event]) -> list[type]:
    return [type(event) for event in events]


@pytest.fixture(autouse=True)
def stderr_is_a_file(capfd: pytest.CaptureFixture[str]) -> None:
    """In its process the worker has a real stderr; here pytest must leave it one."""


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("qwen", "shard 3 is cut short"),
        ("memory", "memory ran out while loading the model; close other programs or take a smaller model"),
        ("bug", "internal error while loading the model: RuntimeError: shard 3 is cut short; see "),
    ],
)
def test_a_failed_load_is_one_line_and_another_may_follow(
    kind: str, said: str, home: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    events = work(Load(script(progress(1, 2), fail(kind, "shard 3 is cut short"))), Send(1, script()), LOAD)
    assert kinds(events) == [LoadProgress, LoadProgress, LoadFailed, TurnFailed, Loaded]
    failure = events[2]
    assert isinstance(failure, LoadFailed)
    expected = said + str(home / "state" / "engine.log") if kind == "bug" else said
    assert failure.message == expected
    assert ("Traceback" in capfd.readouterr().err) == (kind != "qwen"), "the log has what the line leaves out"


@pytest.mark.parametrize("kind", ["qwen", "memory", "bug"])
def test_a_failed_turn_is_one_line_after_what_was_said(kind: str) -> None:
    events = work(LOAD, Send(4, script(say("a", "b", "c"), fail(kind, "the \x07 bell"))), Send(5, script(say("d"))))
    assert kinds(events) == [Loaded, TurnStarted, Delta, Delta, TurnFailed, TurnStarted, Delta, TurnDone]
    failure = events[4]
    assert isinstance(failure, TurnFailed)
    assert failure.turn == 4
    assert failure.message.isprintable()
    assert "".join(text for e in events[:5] if isinstance(e, Delta) for _, text in e.pieces) == "abc"


def test_a_new_load_closes_what_was_there_first(capfd: pytest.CaptureFixture[str]) -> None:
    work(Load(script(), dtype="one"), Load(script(fail("qwen", "no"))), Load(script(), dtype="two"))
    assert capfd.readouterr().err.splitlines() == ["closed one"]


def test_load_progress_keeps_its_last_report() -> None:
    events = work(Load(script(progress(*range(1, 1000)))))
    assert [e.done_bytes for e in events if isinstance(e, LoadProgress)] == [1, 999]


def test_a_stopped_load_says_so_and_one_stopped_before_it_began_never_begins() -> None:
    running = work(Load(script(progress(5))), Stop())
    assert running == [LoadFailed("loading was stopped")]


def test_a_conversation_that_cannot_be_restored_is_told() -> None:
    events = work(LOAD, Restore((), (), "refuse"))
    assert events[1:] == [Notice("this conversation cannot be put back")]
    assert work(Restore((), (), None)) == []


def test_a_turn_stopped_before_it_began_is_cancelled_in_its_first_chunk() -> None:
    events = work(LOAD, Send(1, script(prefill(9, 9), say("a"))), Stop(), Send(2, script(say("b"))))
    done = [event for event in events if isinstance(event, TurnDone)]
    # The Stop came before the load ran, too: it was all sent before.
    assert events[0] == LoadFailed("loading was stopped")
    assert done == []
    inbox, out = Jobs(), list[Event]()
    worker = Worker(inbox, out.append, FACTORY, lambda: 0.0)
    inbox.put(LOAD)
    worker.run()
    inbox._leaving = False
    for command in (Send(1, script(prefill(9, 9), say("a"))), Stop(), Send(2, script(say("b")))):
        inbox.put(command)
    worker.run()
    done = [event for event in out if isinstance(event, TurnDone)]
    assert [(d.turn, d.finish_reason, d.ids) for d in done] == [(1, "cancelled", ()), (2, "stop", (0,))]


def test_a_turn_whose_prompt_was_not_read_to_its_end_leaves_the_conversation_as_it_was() -> None:
    inbox, events = Jobs(), list[Event]()

    def send(event: Event) -> None:
        events.append(event)
        if isinstance(event, TurnDone) and event.turn == 1:
            inbox.put(Send(2, script(prefill(4, 4), say("b"))))
        elif isinstance(event, PrefillProgress) and event.turn == 2:
            inbox.put(Stop())

    for command in (LOAD, Send(1, script(prefill(3), say("a")))):
        inbox.put(command)
    worker = Worker(inbox, send, FACTORY, lambda: 0.0)
    worker.run()
    first, second = (event for event in events if isinstance(event, TurnDone))
    assert (first.message.content, first.ids) == ("a", (0, 1, 2, 3))
    assert (second.finish_reason, second.message.content, second.ids) == ("cancelled", "", first.ids)


def test_a_count_is_always_answered_and_of_those_that_wait_the_last_alone(tmp_path: Path) -> None:
    asked = GenerationSettings()
    events = work(LOAD, Count(1, "a", asked), Count(2, "ab", asked), Send(1, script(say("x"))), Count(3, "abc", asked))
    assert [event for event in events if isinstance(event, Counted)] == [Counted(3, PromptCount(4, 1, 3))]
    assert work(Count(4, "a", asked)) == [Counted(4, None)]
    assert work(LOAD, Count(5, "refuse", asked))[-1] == Counted(5, None)


def test_settings_arrive() -> None:
    settings = GenerationSettings(temperature=0.5, effort="low")
    assert Notice(str(settings)) in work(LOAD, Send(1, script(show("settings")), settings))
    loading = LoadSettings(5 << 20, 321.5, 30)
    assert Notice(str(loading)) in work(Load(script(), settings=loading), Send(1, script(show("load"))))


commands = st.lists(st.sampled_from(["send", "stop", "next"]), max_size=40)


@given(commands)
def test_a_stop_reaches_exactly_what_came_before_it(order: list[str]) -> None:
    """Against the rule itself: a job not finished when a Stop arrives is stopped, and no other."""
    inbox = Inbox()
    sent = 0
    taken: list[Job] = []
    unfinished: list[int] = []
    stopped: set[int] = set()
    for step in order:
        if step == "send":
            inbox.put(Send(sent, ""))
            unfinished.append(sent)
            sent += 1
        elif step == "stop":
            inbox.put(Stop())
            stopped |= set(unfinished)
        elif len(unfinished) > bool(taken):
            if taken:
                unfinished.pop(0)
            job = inbox.next()
            assert job is not None
            taken.append(job)
    for job in taken:
        assert isinstance(job.command, Send)
        assert job.stop.is_set() == (job.command.turn in stopped)


def test_shutdown_wakes_and_stops_everything() -> None:
    inbox = Inbox()
    inbox.put(LOAD)
    job = inbox.next()
    waiting = threading.Thread(target=lambda: inbox.put(Shutdown()))
    waiting.start()
    assert inbox.next() is None
    waiting.join()
    assert job is not None
    assert job.stop.is_set()


def test_a_running_turn_stops_at_its_next_token() -> None:
    inbox, events = Jobs(), list[Event]()

    def send(event: Event) -> None:
        events.append(event)
        if isinstance(event, Delta):
            inbox.put(Stop())

    for command in (LOAD, Send(1, script(until_stop()))):
        inbox.put(command)
    Worker(inbox, send, FACTORY, lambda: 0.0).run()
    last = events[-1]
    assert isinstance(last, TurnDone)
    assert (last.finish_reason, last.ids) == ("cancelled", (0,))


def test_a_kernel_that_did_not_prove_right_stands_in_the_log(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    fault = "the kernel add_norm is not used: RuntimeError: no"
    summary = FakeSession.summary
    monkeypatch.setattr(FakeSession, "summary", lambda self: replace(summary(self), kernel_faults=(fault,)))
    loaded = next(event for event in work(LOAD) if isinstance(event, Loaded))
    assert loaded.model.kernel_faults == (fault,)
    assert capfd.readouterr().err == f"note: {fault}\n"


def test_a_layer_that_cannot_draft_is_named_once_and_answers_come_without_it() -> None:
    mtp = GenerationSettings(draft="mtp")
    seen = work(LOAD, Send(1, script(show("settings")), mtp), Send(2, script(show("settings")), mtp))
    notices = [event.text for event in seen if isinstance(event, Notice)]
    auto = str(GenerationSettings(draft="auto"))
    assert notices == ["no MTP layer. Answers come without it.", auto, auto]
    loaded = work(Load(script(), settings=LoadSettings(draft="mtp")))
    assert Notice("no MTP layer. Answers come without it.") in loaded


@pytest.mark.parametrize(("commands", "told"), [([], []), ([Watch(True)], [True]), ([Watch(True), Watch(False)], [])])
def test_a_session_is_told_whether_somebody_looks_at_its_experts(commands: list[Command], told: list[bool]) -> None:
    events = work(LOAD, *commands, Send(1, script(say("a", "b"), show("watched"))))
    assert Notice(str(told)) in events


def test_looking_begins_and_ends_within_a_turn() -> None:
    """Never queued behind the turn that it is about."""
    inbox = Jobs()
    events: list[Event] = []

    def send(event: Event) -> None:
        events.append(event)
        if isinstance(event, Delta):
            inbox.put(Watch(not inbox.watching))

    inbox.put(LOAD)
    inbox.put(Send(1, script(say("a"), show("watched"), say("b"), show("watched"), say("c"))))
    inbox.put(Send(2, script(show("watched"))))
    ticks = iter(range(1000))
    Worker(inbox, send, FACTORY, lambda: float(next(ticks))).run()
    told = [event.text for event in events if isinstance(event, Notice)]
    assert told == ["[True]", "[True, False]", "[True, False, True]"]


def test_what_tokens_write_is_said_within_a_turn_and_never_by_the_model_that_comes_next() -> None:
    inbox = Jobs()
    events: list[Event] = []
    later: list[Command] = [Count(1, "x", GenerationSettings()), Spell(2, (5,)), LOAD, Spell(3, (6,))]

    def send(event: Event) -> None:
        events.append(event)
        if isinstance(event, Delta):
            while later:
                inbox.put(later.pop(0))

    inbox.put(LOAD)
    inbox.put(Send(1, script(say("a"), say("b")), GenerationSettings()))
    Worker(inbox, send, FACTORY, lambda: 0.0).run()
    assert kinds(events) == [Loaded, TurnStarted, Delta, Spelled, Delta, TurnDone, Counted, Loaded, Spelled]
    assert [event.number for event in events if isinstance(event, Spelled)] == [2, 3]


def test_a_score_answers_with_its_number_or_says_why_not() -> None:
    events = work(LOAD, Score(7, (1, 2)), Score(8, text="refuse"), Spell(9, (0, 5)))[1:]
    assert [type(event) for event in events] == [ScoreProgress, Scored, ScoreFailed, Spelled]
    scored = next(event for event in events if isinstance(event, Scored))
    assert (scored.number, scored.score.ids, scored.score.probabilities.logprobs()) == (7, (1, 2), [-1.0, -2.0])
    assert ScoreFailed(8, "this cannot be read") in events
    assert Spelled(9, (Spelling(0, b"0", True), Spelling(5, b"5"))) in events


def test_without_a_model_nothing_is_scored_or_spelled() -> None:
    assert work(Score(1, (1, 2)), Spell(2, (3,))) == [
        ScoreFailed(1, "no model is loaded; load one first"),
        Spelled(2, ()),
    ]


def test_a_stop_ends_a_score() -> None:
    inbox, events = Jobs(), list[Event]()

    def send(event: Event) -> None:
        events.append(event)
        if isinstance(event, ScoreProgress):
            inbox.put(Stop())

    for command in (LOAD, Score(3, text="wait")):
        inbox.put(command)
    Worker(inbox, send, FACTORY, lambda: 0.0).run()
    assert events[-1] == ScoreFailed(3, "it was stopped before all tokens were read")
