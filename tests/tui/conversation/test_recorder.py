"""What is said is on disk in time, in order, and once; a store that fails never stops the chat."""

import struct
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwen_core.protocol.events import Delta, EngineDied, Event, GenerationSettings, Loaded, TurnDone, TurnFailed
from qwen_core.protocol.pieces import Part
from qwen_core.protocol.probabilities import Probabilities
from qwen_core.protocol.timeline import Moment, packed
from qwen_tui.conversation.conversation import Conversation
from qwen_tui.conversation.recorder import FLUSH_S, Beginning, Begun, KeptConversation, Recorder
from qwen_tui.conversation.turns import stored_turns
from qwen_tui.store import Store, StoredMessage, StoreError, open_store
from qwen_tui.store.records import turn_stats
from qwen_tui.store.thread import StoreThread
from support.fake_engine import MODEL, delta, done, stats


class Timer:
    """`later` with a clock that the test turns."""

    def __init__(self) -> None:
        self.now = 0.0
        self.due: list[tuple[float, Callable[[], None]]] = []

    def later(self, seconds: float, action: Callable[[], None]) -> None:
        self.due.append((self.now + seconds, action))

    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        ready = [action for moment, action in self.due if moment <= self.now]
        self.due = [entry for entry in self.due if entry[0] > self.now]
        for action in ready:
            action()


class Scene:
    """A recorder over a real store in `folder`, and what it complained of."""

    def __init__(self, folder: Path) -> None:
        self.timer = Timer()
        self.troubles: list[str] = []
        self.thread = StoreThread(lambda: open_store(folder / "conversations.db"))
        self.recorder = Recorder(self.thread, self.troubles.append, self.timer.later)
        self.kept = KeptConversation()

    def begin(self, turn: int, text: str = "Q", question_id: int | None = None, edits: int | None = None) -> Begun:
        beginning = Beginning(turn, self.kept, text, "", GenerationSettings(), "be kind", question_id, edits)
        begun = self.recorder.begin(beginning).result()
        assert begun is not None
        return begun

    def path(self) -> list[StoredMessage]:
        return self.thread.submit(lambda store: store.tree.path(self.kept.id or 0)).result()

    def parts(self) -> str:
        """What of running answers is on disk."""
        rows = self.thread.submit(lambda store: store.database.read("SELECT content FROM parts ORDER BY id")).result()
        return "".join(row["content"] for row in rows)


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    made = Scene(tmp_path)
    made.recorder.record(Loaded(MODEL))
    return made


def test_a_turn_from_question_to_figures(scene: Scene) -> None:
    begun = scene.begin(1, "Why?")
    assert [(message.role, message.status) for message in scene.path()] == [
        ("user", "complete"),
        ("assistant", "running"),
    ]
    scene.recorder.record(delta(1, ("reasoning", "Hm."), ("answer", "Be"), ids=(7, 8)))
    scene.recorder.record(done(1, "Because.", "Hm."))
    question, answer = scene.path()
    assert (question.id, answer.id) == (begun.question_id, begun.answer_id)
    assert (question.content, answer.content, answer.reasoning) == ("Why?", "Because.", "Hm.")
    assert (answer.status, answer.finish_reason) == ("complete", "stop")
    assert answer.stats["decode_tok_s"] == 17.3
    assert answer.model is not None and answer.model.name == "Qwen3.6-27B"
    assert scene.thread.submit(lambda store: store.tree.ids(answer.id)).result() == tuple(range(10))
    assert scene.parts() == ""
    summary = scene.thread.submit(lambda store: store.conversations.get(scene.kept.id or 0)).result()
    assert (summary.title, summary.system) == ("Why?", "be kind")
    assert scene.troubles == []


@given(st.lists(st.one_of(st.text("ab", min_size=1, max_size=3), st.floats(0.0, 0.3)), max_size=25))
def test_no_text_waits_longer_than_half_a_second(steps: list[str | float]) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        scene = Scene(Path(folder))
        scene.begin(1)
        said: list[tuple[float, str]] = []
        for step in steps:
            if isinstance(step, str):
                said.append((scene.timer.now, step))
                scene.recorder.record(delta(1, ("answer", step), ids=(1,)))
            else:
                scene.timer.pass_time(step)
            old = "".join(text for moment, text in said if moment + FLUSH_S <= scene.timer.now)
            everything = "".join(text for _, text in said)
            on_disk = scene.parts()
            assert on_disk.startswith(old)
            assert everything.startswith(on_disk)
        scene.thread.close()


@pytest.mark.parametrize(
    ("end", "status", "error"),
    [
        (EngineDied("killed by signal 9", -9), "interrupted", ""),
        (TurnFailed(1, "out of memory"), "failed", "out of memory"),
    ],
)
def test_an_answer_that_was_cut_off_keeps_what_it_had_said(
    scene: Scene, end: EngineDied | TurnFailed, status: str, error: str
) -> None:
    scene.begin(1)
    pieces: list[tuple[Part, str]] = [("answer", "half an ans")]
    scene.recorder.record(delta(1, *pieces, ids=(1, 2)))
    scene.recorder.record(end)
    answer = scene.path()[-1]
    assert (answer.content, answer.status, answer.error) == ("half an ans", status, error)
    # What comes of a turn that is over is nobody's.
    scene.recorder.record(delta(1, ("answer", "wer"), ids=(3,)))
    scene.timer.pass_time(1.0)
    assert scene.path()[-1].content == "half an ans"


def test_another_answer_and_another_wording_are_alternatives(scene: Scene) -> None:
    first = scene.begin(1)
    scene.recorder.record(done(1, "A"))
    again = scene.begin(2, question_id=first.question_id)
    scene.recorder.record(done(2, "B"))
    assert again.question_id == first.question_id
    assert (first.place, again.place) == ((1, 1), (2, 2))
    edited = scene.begin(3, "Q2", edits=first.question_id)
    assert edited.place == (3, 3)
    assert [message.content for message in scene.path()] == ["Q2", ""]


def test_an_answer_that_goes_on_is_one_answer(scene: Scene) -> None:
    begun = scene.begin(1)
    scene.recorder.record(delta(1, ("answer", "one "), ids=(1,)))
    scene.recorder.record(done(1, "one ", reason="cancelled"))
    scene.recorder.reopen(2, begun.answer_id).result()
    scene.recorder.record(delta(2, ("answer", "two"), ids=(2,)))
    scene.recorder.record(EngineDied("gone", 1))
    assert scene.path()[-1].content == "one two"


@pytest.mark.parametrize("end", [done(2, "ab", "why"), done(2, "ab", "why", reason="cancelled"), EngineDied("gone", 1)])
def test_figures_of_an_answer_that_goes_on_read_the_same_from_the_disk(scene: Scene, end: Event) -> None:
    """They add up, also where the last part was cut off."""
    conversation = Conversation()

    def tell(*events: Event) -> None:
        for event in events:
            scene.recorder.record(event)
            conversation.apply(event)

    tell(Loaded(MODEL))
    turn, begun = conversation.ask("Q"), scene.begin(1)
    tell(delta(1, ("reasoning", "why"), reasoning=40, count=40), done(1, "a", "why", reason="cancelled"))
    scene.recorder.reopen(2, begun.answer_id, turn.stats).result()
    assert turn_stats(scene.path()[-1].stats) == turn.stats
    conversation.go_on(turn)
    tell(delta(2, ("answer", "b"), ids=(2,), count=7, reasoning=5), end)
    (shown,) = conversation.turns
    (read,) = stored_turns(scene.path(), [(1, 1)], 1)
    assert read.stats == shown.stats is not None
    last = end.stats if isinstance(end, TurnDone) else stats(generated=2, reasoning=5)  # as the last delta has them
    assert read.generated_tokens == 508 + last.generated_tokens
    assert read.reasoning_tokens == shown.reasoning_tokens == 96 + last.reasoning_tokens


def test_figures_that_an_earlier_version_kept_of_an_answer_that_went_on_have_all_of_its_reasoning() -> None:
    kept = {**asdict(stats(generated=7, reasoning=5)), "reasoning_tokens_before": 96, "reasoning_s_before": 1.5}
    figures = turn_stats(kept)
    assert figures is not None
    assert (figures.generated_tokens, figures.reasoning_tokens, figures.reasoning_s) == (108, 101, 1.5)


def test_leaving_marks_what_runs_as_interrupted(scene: Scene, tmp_path: Path) -> None:
    scene.begin(1)
    scene.recorder.record(delta(1, ("answer", "half"), ids=(1,)))
    scene.recorder.flush()
    scene.thread.close()
    store = open_store(tmp_path / "conversations.db")
    assert store.tree.path(scene.kept.id or 0)[-1].status == "interrupted"
    assert store.tree.path(scene.kept.id or 0)[-1].content == "half"
    store.close()
    # Afterwards nothing is taken, and nothing raises.
    assert scene.recorder.begin(Beginning(9, scene.kept, "late", "", GenerationSettings(), None)).result() is None
    scene.recorder.record(done(1, "late"))


def test_a_store_that_cannot_be_opened_is_told_once_and_stops_nothing() -> None:
    def fail() -> Store:
        raise StoreError("the disk is full")

    troubles: list[str] = []
    recorder = Recorder(StoreThread(fail), troubles.append)
    recorder.record(Loaded(MODEL))
    assert recorder.begin(Beginning(1, KeptConversation(), "Q", "", GenerationSettings(), None)).result() is None
    recorder.record(Delta(1, (("answer", "A"),), (1,)))
    recorder.record(done(1, "A"))
    assert troubles == ["This conversation is not being saved: the disk is full"]


ROW = struct.pack("<3fIIf", -0.5, -0.25, 1.5, 2, 77, -0.375)


def told(turn: int, tokens: int, rows: int) -> Delta:
    """A batch of so many tokens, the last of which have probabilities."""
    probabilities = Probabilities(1, ROW * rows) if rows else None
    return replace(delta(turn, ("answer", "x"), ids=range(tokens)), probabilities=probabilities)


def ended(turn: int, tokens: int) -> TurnDone:
    return replace(done(turn, "x", reason="length"), stats=stats(generated=tokens, reasoning=0))


@pytest.mark.parametrize(
    ("batches", "kept"), [([(2, 2), (1, 1)], 3), ([(2, 0), (1, 1)], None), ([(2, 2), (1, 0)], None), ([(3, 0)], None)]
)
def test_probabilities_are_kept_of_a_whole_answer_or_not_at_all(
    scene: Scene, batches: list[tuple[int, int]], kept: int | None
) -> None:
    begun = scene.begin(1)
    for tokens, rows in batches:
        scene.recorder.record(told(1, tokens, rows))
    scene.recorder.record(ended(1, 3))
    found = scene.thread.submit(lambda store: store.probabilities.of(begun.answer_id)).result()
    assert (None if found is None else len(found.probabilities)) == kept
    assert found is None or found.model == scene.recorder.model


@pytest.mark.parametrize("rows", [2, 0], ids=["all", "the first part alone"])
def test_probabilities_of_an_answer_that_goes_on_are_of_both_parts(scene: Scene, rows: int) -> None:
    begun = scene.begin(1)
    for event in (told(1, 3, 3), ended(1, 3)):
        scene.recorder.record(event)
    scene.recorder.reopen(2, begun.answer_id, ended(1, 3).stats).result()
    for event in (told(2, 2, rows), ended(2, 2)):
        scene.recorder.record(event)
    found = scene.thread.submit(lambda store: store.probabilities.of(begun.answer_id)).result()
    assert (found is None) == (rows == 0)
    assert found is None or len(found.probabilities) == 5


def test_when_tokens_came_is_kept_of_both_parts_of_an_answer(scene: Scene) -> None:
    begun = scene.begin(1)
    first, second = packed([Moment("prefill", 0.5, 9), Moment("token", 0.25)]), packed([Moment("draft", 0.0)])
    for event in (replace(told(1, 1, 0), timeline=first), ended(1, 1)):
        scene.recorder.record(event)
    scene.recorder.reopen(2, begun.answer_id, ended(1, 1).stats).result()
    for event in (replace(told(2, 1, 0), timeline=second), ended(2, 1)):
        scene.recorder.record(event)
    assert scene.thread.submit(lambda store: store.timelines.of(begun.answer_id)).result() == first + second


def test_probabilities_of_a_begun_answer_are_of_what_is_given_too(scene: Scene) -> None:
    begun = scene.begin(1)
    for event in (told(1, 2, 2), told(1, 3, 3), ended(1, 5)):
        scene.recorder.record(event)
    found = scene.thread.submit(lambda store: store.probabilities.of(begun.answer_id)).result()
    assert found is not None
    assert len(found.probabilities) == 5
