"""A conversation whose reasoning effort changes: the text before it too, where the template has it so."""

from collections.abc import Iterator
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest

from qwen_core.errors import SettingsError
from qwen_core.protocol.events import Effort
from qwen_core.session.opening import load_session
from qwen_core.session.session import Session
from qwen_core.text.chat_encoding import encode_chat
from qwen_core.text.template import ChatTemplate
from support.checkpoints import write_checkpoint
from support.text import EFFORT_TEMPLATE, TEMPLATE, write_text_files

SHAPE = {"vocab_size": 384, "hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 4}


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    path = tmp_path_factory.mktemp("model")
    write_checkpoint(path, "bf16", text=SHAPE)
    write_text_files(path)
    with load_session(path) as session:
        yield session


@pytest.fixture
def session(loaded: Session) -> Session:
    return Session(loaded.loaded, loaded.tokenizer, ChatTemplate(EFFORT_TEMPLATE), system="Be brief.")


def ask(session: Session, effort: str | None, drop: bool = False) -> int:
    """One turn; how many tokens of its prompt needed no reading."""
    *_, last = session.send_stream(
        "Why?", max_new_tokens=4, temperature=0.0, reasoning_effort=effort, drop_reasoning=drop
    )
    assert last.stats is not None
    return last.stats.cached_tokens


def kept(session: Session, effort: Effort, drop: bool = False) -> dict[str, int]:
    """By level how many tokens are said to need no reading after a turn with `effort`."""
    ways = dict(session.ways_back(effort, drop_reasoning=drop))
    return {level: ways[group] for level, group in session.efforts.groups.items() if group in ways}


def test_a_level_without_a_text_of_its_own_does_not_go_on_behind_anothers(loaded: Session) -> None:
    """Without a system prompt nothing stands before the first question then, and all of it begins with one token."""
    session = Session(loaded.loaded, loaded.tokenizer, ChatTemplate(EFFORT_TEMPLATE))
    ask(session, "low")
    low = len(session.ids)
    assert "Think at" in session.tokenizer.decode(session.ids)
    assert kept(session, "low") == {"low": low}
    assert ask(session, "medium") == 0
    assert "Think at" not in session.tokenizer.decode(session.ids)
    assert kept(session, "medium")["low"] == low
    medium = len(session.ids)
    assert ask(session, "low") == low
    assert ask(session, "medium") == medium


def test_the_way_back_without_reasoning_is_what_is_said_of_it(session: Session) -> None:
    """The last answer is read again there, without its reasoning: so fewer tokens are kept than were read."""
    ask(session, "low", drop=True)
    ask(session, "low", drop=True)
    low = len(session.ids)
    ask(session, "medium", drop=True)
    said = kept(session, "medium", drop=True)
    assert set(said) == {"low", "none", "medium"}
    assert 0 < said["low"] < low
    assert ask(session, "low", drop=True) == said["low"]


def test_a_level_that_changes_the_text_before_reads_all_anew(session: Session) -> None:
    ask(session, "low")
    assert ask(session, "low") > 0
    rendered = encode_chat(
        *(session.template, session.tokenizer, [*session._chat(), {"role": "user", "content": "Why?"}]),
        **session.efforts.given("medium"),
        preserve_thinking=True,
    )
    assert ask(session, "medium") == 0
    assert session.ids[: len(rendered)] == rendered
    assert ask(session, "medium") > len(rendered)


def test_going_back_to_a_level_goes_on_from_what_was_read_with_it(session: Session) -> None:
    """Both ways; and the state is what feeding all of the conversation gives."""
    ask(session, "low")
    ask(session, "low")
    low = len(session.ids)
    assert kept(session, "low") == {"low": low}, "nothing of other levels was read"
    assert ask(session, "medium") == 0
    medium = len(session.ids)
    assert kept(session, "medium") == {"low": low, "none": medium, "medium": medium}
    assert ask(session, "low") == low
    assert kept(session, "low") == {"low": len(session.ids), "none": medium, "medium": medium}
    assert ask(session, "medium") == medium
    text = session.tokenizer.decode(session.ids)
    assert "Think at" not in text, "medium has no text of its own"
    assert text.count("Why?") == 5
    states = [np.array(layer.recurrent) for layer in session.state.linear.values()]
    fed = session.model.new_state()
    session.model.feed(mx.array([session.ids]), fed)
    for one, layer in zip(states, fed.linear.values(), strict=True):
        np.testing.assert_allclose(one, np.array(layer.recurrent), atol=1e-4)


def test_a_way_back_counts_with_its_keys_and_values_and_goes_first(session: Session) -> None:
    ask(session, "low")
    kept, buffers = session._snapshots, session.state.nbytes - session.state.recurrent_nbytes
    ask(session, "medium")
    assert session.state.logits is not None
    one = session.state.recurrent_nbytes + session.state.logits.nbytes
    assert kept.nbytes == 2 * one + buffers, "and that behind the last prompt"
    kept.budget_bytes = kept.nbytes - 1
    ask(session, "medium")
    assert len(session.ways_back("medium")) == 1, "what is gone is not said"
    assert kept.nbytes == 2 * one, "of the present run alone"
    assert ask(session, "low") == 0
    session.restore([])
    ask(session, "low")
    assert kept.nbytes == one, "another conversation keeps no way back to this one"


def test_levels_of_one_text_go_on_where_they_are(session: Session) -> None:
    ask(session, "medium")
    for effort in ("none", "medium"):
        held = len(session.ids)
        assert ask(session, effort) == held
    assert ask(session, None) == 0, "unasked is xhigh, which has a text of its own"


def test_a_system_prompt_that_changes_is_seen_in_the_text_too(session: Session) -> None:
    ask(session, "medium")
    session.set_system("Be long.")
    ask(session, "medium")
    text = session.tokenizer.decode(session.ids)
    assert "Be long." in text
    assert "Be brief." not in text


def test_a_level_that_is_not_there_is_refused_before_anything_is_fed(session: Session) -> None:
    ask(session, "medium")
    held = list(session.ids)
    with pytest.raises(SettingsError, match="is not one of"):
        ask(session, "huge")
    assert session.ids == held
    assert ask(session, "high") == 0, "xhigh, which stands for it"


@pytest.mark.parametrize("drop", [False, True])
@pytest.mark.parametrize("name", ["qwen3.6", "qwen3.8"])
def test_each_turn_goes_on_from_the_tokens_of_the_one_before_with_the_official_templates(
    name: str, drop: bool, fixtures_dir: Path, tmp_path: Path
) -> None:
    """Dropping reasoning, from where the last answer began; keeping it, from where it ended."""
    write_checkpoint(tmp_path, "bf16", text={**SHAPE, "vocab_size": 248320})
    write_text_files(tmp_path)
    real = fixtures_dir / "qwen3.6" / "tokenizer.hybrid.json"
    (tmp_path / "tokenizer.json").write_bytes(real.read_bytes())
    (tmp_path / "chat_template.jinja").write_bytes((fixtures_dir / name / "chat_template.jinja").read_bytes())
    with load_session(tmp_path) as session:
        level = session.efforts.default
        ask(session, level, drop)
        for _ in range(3):
            whole, answered = len(session.ids), session.messages
            cached = ask(session, level, drop)
            if drop:
                chat = session._chat()[: len(answered) - 1]
                asked = encode_chat(
                    *(session.template, session.tokenizer, chat),
                    **session.efforts.given(level),
                    preserve_thinking=False,
                    add_generation_prompt=False,
                )
                assert len(asked) <= cached < whole
            else:
                assert cached == whole


@pytest.mark.parametrize("source", [TEMPLATE, EFFORT_TEMPLATE])
def test_whether_an_answer_begins_with_reasoning_is_told_before_it_is_asked(loaded: Session, source: str) -> None:
    """By the summary, for each level, as the session finds it in the tokens."""
    session = Session(loaded.loaded, loaded.tokenizer, ChatTemplate(source))
    summary = session.summary()
    assert 0 < len(summary.thinking_levels) < len(summary.levels)
    for level in (None, *summary.levels):
        chat = [{"role": "user", "content": "Why?"}]
        ids = encode_chat(session.template, session.tokenizer, chat, **session.efforts.given(level))
        expected = summary.thinks if level is None else level in summary.thinking_levels
        assert session._prompts.opens_reasoning(ids) is expected, level
