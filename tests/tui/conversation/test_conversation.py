"""The view-model: what each event and each act makes of the state, and what a restarted engine is given back."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from qwen_core.protocol.events import (
    Delta,
    EngineDied,
    Event,
    Loaded,
    LoadFailed,
    LoadProgress,
    Message,
    Notice,
    PrefillProgress,
    Restore,
    TurnDone,
    TurnFailed,
    TurnStarted,
)
from qwen_core.protocol.pieces import Part, Piece
from qwen_tui.conversation.conversation import Conversation
from qwen_tui.conversation.turns import Note
from support.clock import Clock
from support.fake_engine import MODEL, answered, delta, done, stats

DEATH = EngineDied("the engine process was ended by SIGKILL", -9, "/log")


def loaded(system: str | None = None, clock: Clock | None = None) -> Conversation:
    conversation = Conversation(system, clock or Clock())
    conversation.apply(Loaded(MODEL))
    return conversation


def after(conversation: Conversation, *events: Event) -> Conversation:
    for event in events:
        conversation.apply(event)
    return conversation


def test_phases_follow_the_events() -> None:
    conversation = Conversation()
    phases = [conversation.phase]
    for event in (LoadProgress("weights", 1, 2), Loaded(MODEL)):
        conversation.apply(event)
        phases.append(conversation.phase)
    turn = conversation.ask("hi")
    phases.append(conversation.phase)
    for event in (
        TurnStarted(1, 40, 10),
        PrefillProgress(1, 10, 30, 10),
        delta(1, ("reasoning", "hm")),
        delta(1, ("answer", "yes")),
        done(1, "yes", "hm", reason="cancelled"),
    ):
        conversation.apply(event)
        phases.append(conversation.phase)
    assert phases == [
        "starting", "loading", "ready", "waiting", "prefill", "prefill", "reasoning", "decoding", "stopped",
    ]  # fmt: skip
    assert (turn.prefilled, turn.to_prefill) == (10, 30)
    conversation.ask("again")
    assert conversation.phase == "waiting"
    assert after(conversation, DEATH).phase == "engine down"
    assert after(conversation, LoadFailed("no config.json")).phase == "no model"


def test_the_time_of_reasoning_and_the_rate_are_the_engines() -> None:
    conversation = loaded()
    turn = conversation.ask("hi")
    assert conversation.live_tok_s is None
    steps: tuple[tuple[Part, float], ...] = (("reasoning", 0.0), ("reasoning", 4.0), ("answer", 5.5))
    for number, (part, seconds) in enumerate(steps, 1):
        step = delta(1, (part, "a"), count=3 * number, reasoning=number, reasoning_s=seconds)
        after(conversation, step)
        assert step.stats is not None
        assert (turn.reasoning_tokens, turn.reasoning_s) == (number, seconds or None)
        assert (conversation.live_tok_s, conversation.context_tokens) == (17.3, step.stats.context_tokens)
    assert turn.stats is not None
    after(conversation, TurnDone(1, "stop", Message("assistant", "a", "aa"), (1,), turn.stats))
    assert (turn.reasoning_s, conversation.live_tok_s) == (5.5, None)


def test_an_answer_that_goes_on_keeps_the_tokens_and_the_time_of_its_reasoning() -> None:
    """Those of the engine count what it was asked for last."""
    conversation = loaded()
    stopped = conversation.ask("hi")
    figures = replace(stats(4, reasoning=13), reasoning_s=1.5)
    after(conversation, TurnDone(1, "cancelled", Message("assistant", "", "ab"), (1,), figures))
    again = conversation.go_on(stopped)
    assert conversation.live_tok_s is None, "the figures are still those of before"
    after(conversation, delta(2, ("reasoning", "c"), count=1, reasoning=1))
    after(conversation, delta(2, ("answer", "d"), count=4, reasoning=2, reasoning_s=2.0))
    assert (again.reasoning_tokens, again.reasoning_s) == (15, 3.5)
    after(conversation, TurnDone(2, "stop", Message("assistant", "d", "abc"), (1, 2), stats(2, reasoning=0)))
    assert (again.reasoning_tokens, again.reasoning_s) == (13, 1.5)
    assert (again.generated_tokens, again.stats and again.stats.prompt_tokens) == (19, 1242)


PIECES = st.lists(st.tuples(st.sampled_from(["reasoning", "answer", "tool_call"]), st.text(max_size=5)), max_size=12)


@given(PIECES, st.data())
def test_batches_do_not_matter(pieces: list[tuple[Part, str]], data: st.DataObject) -> None:
    conversation = loaded()
    turn = conversation.ask("hi")
    rest = list(pieces)
    while rest:
        size = data.draw(st.integers(1, len(rest)))
        after(conversation, Delta(1, tuple(rest[:size]), ()))
        rest = rest[size:]
    for part, text in (("reasoning", turn.reasoning), ("answer", turn.answer), ("tool_call", turn.tool_calls)):
        assert text == "".join(text for kind, text in pieces if kind == part)


def test_events_of_another_turn_change_nothing() -> None:
    conversation = loaded()
    turn = conversation.ask("one")
    after(conversation, *answered(1, "first"))
    second = conversation.ask("two")
    after(conversation, delta(1, ("answer", "late")), TurnFailed(1, "late"), delta(7, ("answer", "never")))
    assert (turn.answer, second.answer, second.state) == ("first", "", "waiting")


def test_a_crash_in_an_answer_keeps_its_text_and_the_template_renders_that_again_alone() -> None:
    conversation = loaded("be kind")
    conversation.ask("one")
    after(conversation, *answered(1, "first"))
    turn = conversation.ask("two")
    after(conversation, delta(2, ("answer", "half an ans")), DEATH)
    assert (turn.state, turn.answer, turn.unanswered) == ("interrupted", "half an ans", False)
    assert isinstance(conversation.items[-1], Note)
    assert conversation.items[-1].text == "the engine process was ended by SIGKILL · log: /log"
    conversation.restarting()
    assert conversation.phase == "starting"
    messages = (
        Message("user", "one"),
        Message("assistant", "first"),
        Message("user", "two"),
        Message("assistant", "half an ans"),
    )
    assert conversation.apply(Loaded(MODEL)) == Restore(messages, tuple(range(10)), "be kind", known=2)
    assert conversation.apply(Loaded(MODEL)) is None
    conversation.ask("three")
    after(conversation, *answered(3, "third"))
    assert conversation.restore().ids == tuple(range(30))


def test_a_crash_between_turns_or_before_any_text_gives_the_ids_back() -> None:
    for question in ("", "unanswered"):
        conversation = loaded()
        conversation.ask("one")
        after(conversation, *answered(1, "first"))
        turn = conversation.ask(question) if question else None
        after(conversation, DEATH)
        conversation.restarting()
        restore = conversation.apply(Loaded(MODEL))
        assert restore == Restore((Message("user", "one"), Message("assistant", "first")), tuple(range(10)), None)
        assert turn is None or turn.unanswered


def test_a_failed_turn_can_be_taken_out_and_asked_again() -> None:
    conversation = loaded()
    turn = conversation.ask("one")
    after(conversation, TurnFailed(1, "the template raised an error"))
    assert (turn.state, turn.error) == ("failed", "the template raised an error")
    assert turn.unanswered
    assert conversation.forget(turn) == Restore(())
    assert conversation.items == []


def test_a_restart_asked_for_in_an_answer_interrupts_it() -> None:
    conversation = loaded()
    turn = conversation.ask("one")
    after(conversation, delta(1, ("answer", "half")))
    conversation.restarting()
    assert turn.state == "interrupted"
    assert conversation.apply(Loaded(MODEL)) == Restore((Message("user", "one"), Message("assistant", "half")))


def test_a_new_conversation_is_empty_and_numbers_go_on() -> None:
    conversation = loaded("system")
    conversation.ask("one")
    after(conversation, *answered(1, "first"))
    assert conversation.clear() == Restore((), (), "system")
    assert conversation.items == []
    assert conversation.context_tokens == 0
    assert conversation.ask("two").number == 2


def test_the_stored_message_is_what_stands_at_the_end() -> None:
    conversation = loaded()
    turn = conversation.ask("one")
    after(conversation, delta(1, ("answer", "\n\nfirst")), done(1, "first"))
    assert turn.answer == "first"
    turn = conversation.ask("two")
    after(conversation, delta(2, ("answer", "text")), TurnDone(2, "cancelled", Message("assistant", ""), (), STATS))
    assert turn.answer == "text"


STATS = done(1, "").stats


def test_a_line_said_twice_in_a_row_is_shown_once() -> None:
    conversation = after(loaded(), Notice("hello"), Notice("hello"), Notice("other"))
    assert [item.text for item in conversation.items if isinstance(item, Note)] == ["hello", "other"]


def test_what_turns_out_to_be_reasoning_leaves_the_answer() -> None:
    """A stray `</think>` shows late what came before it; with a call behind it nothing of the answer is left."""
    conversation = after(loaded())
    for number, (answer, tools) in enumerate([("Paris.", ""), ("", "<tool_call>f</tool_call>")], 1):
        turn = conversation.ask("q")
        pieces = delta(number, ("answer", "I think.\n\n"), ("answer", answer), ("tool_call", tools))
        after(conversation, TurnStarted(number, 10, 0), replace(pieces, drafted=(True, True, False)))
        assert turn.answer.startswith("I think.")
        assert turn.drafted
        conversation.apply(done(number, answer, "I think.", tools))
        assert (turn.answer, turn.reasoning, turn.tool_calls) == (answer, "I think.", tools)
        assert not turn.drafted
        assert turn.messages()[1] == Message("assistant", answer, "I think.", tools)


def test_what_was_said_stays_in_its_order() -> None:
    said: tuple[Piece, ...] = (
        ("reasoning", "I"),
        ("answer", "a"),
        ("tool_call", "f"),
        ("answer", "b"),
        ("tool_call", "g"),
    )
    conversation = after(loaded())
    turn = conversation.ask("q")
    after(conversation, TurnStarted(1, 10, 0), *(delta(1, piece) for piece in said))
    assert turn.pieces == said
    conversation.apply(done(1, "ab", "I", "fg"))
    assert turn.pieces == said, "the kept message is the same"
    assert (turn.answer, turn.reasoning, turn.tool_calls) == ("ab", "I", "fg")
