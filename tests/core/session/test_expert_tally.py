"""Which experts an answer used: counted from what passes compute beside their tokens, the same with drafts."""

import shutil
from collections.abc import Callable
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest

from qwen_core import demo_model_path, load_session, open_checkpoint
from qwen_core.model.model import Model, load_model
from qwen_core.session.drafting import Drafting
from qwen_core.session.expert_tally import ExpertTally
from qwen_core.session.generate import decode, prefill
from qwen_core.session.sampling import Sampler, SamplingParameters
from support.checkpoints import write_checkpoint
from support.published_plan import SMALL_MIXTURE
from support.scripted_drafter import ScriptedDrafter

PROMPT, LIMIT = [3, 1, 4, 1, 5], 20


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    path = tmp_path_factory.mktemp("mixture")
    write_checkpoint(path, text={**SMALL_MIXTURE, "num_hidden_layers": 2, "full_attention_interval": 2})
    return load_model(path, "float32")


def answer(
    model: Model, stop: int, drafting: Drafting | None = None, watch: Callable[[int], bool] = lambda _: True
) -> tuple[list[int], ExpertTally]:
    assert model.config.mixture is not None
    state, tally = model.new_state(), ExpertTally(model, model.config.mixture)
    sampler = Sampler(SamplingParameters(temperature=0.0), 512, 512)
    *_, last = prefill(model, state, PROMPT, drafting=drafting)
    assert last.logits is not None
    model.watch_experts(watch(0))
    tokens: list[int] = []
    stream = decode(model, state, last.logits, sampler, limit=LIMIT, drafting=drafting, tally=tally)
    for token in stream:
        tokens.append(token)
        model.watch_experts(watch(len(tokens)))
        if len(tokens) == stop:
            break
    stream.close()
    tally.flush()
    model.watch_experts(False)
    return tokens, tally


def expected(model: Model, tokens: list[int]) -> list[list[int]]:
    """How often each expert is chosen by layer, fed one by one."""
    state = model.new_state()
    model.feed(mx.array([PROMPT]), state)
    model.watch_experts(True)
    counts = np.zeros((2, 8), int)
    for token in tokens:
        model.last_logits(mx.array([[token]]), state)
        for layer, experts in enumerate(model.used_experts()):
            counts[layer, np.array(experts)[0, 0]] += 1
    model.watch_experts(False)
    return counts.tolist()


@pytest.mark.parametrize("stop", [1, 7, LIMIT])
@pytest.mark.parametrize("right", [None, 0.5, 1.0])
def test_every_token_is_counted_once(model: Model, right: float | None, stop: int) -> None:
    plain, _ = answer(model, LIMIT)
    drafting = None
    if right is not None:
        drafting = Drafting("scripted", ScriptedDrafter([*PROMPT, *plain], right, 512, hidden=False), lambda _: 3)
    tokens, tally = answer(model, stop, drafting)
    assert tokens == plain[:stop]
    use = tally.use()
    assert use is not None
    assert (use.tokens, use.experts, use.used) == (stop, 8, 2)
    assert [list(use.of_layer(layer)[0]) for layer in range(2)] == expected(model, tokens)
    for layer in range(2):
        counts, last = use.of_layer(layer)
        assert sum(counts) == 2 * stop
        assert len(set(last)) == 2
        assert all(counts[expert] for expert in last)


def test_nothing_is_kept_while_nobody_looks(model: Model) -> None:
    tokens, tally = answer(model, LIMIT, watch=lambda _: False)
    assert tally.use() is None
    assert not model.used_experts()
    watched, tally = answer(model, LIMIT, watch=lambda count: 5 <= count < 9)
    use = tally.use()
    assert use is not None
    assert use.tokens == 4
    assert watched == tokens


def test_a_dense_model_has_nothing_to_watch(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, text={"num_hidden_layers": 2, "full_attention_interval": 2})
    dense = load_model(tmp_path, "float32")
    dense.watch_experts(True)
    dense.last_logits(mx.array([[1]]), dense.new_state())
    assert not dense.used_experts()


def test_a_sessions_events_say_it_while_somebody_looks(tmp_path: Path) -> None:
    demo = demo_model_path()
    vocabulary = open_checkpoint(demo).config.vocab_size
    sizes = {**SMALL_MIXTURE, "num_hidden_layers": 2, "full_attention_interval": 2, "vocab_size": vocabulary}
    write_checkpoint(tmp_path, text=sizes)
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        if (demo / name).exists():
            shutil.copyfile(demo / name, tmp_path / name)
    with load_session(tmp_path, dtype="float32") as session:
        assert session.summary().prefill_step_bytes > session.summary().weight_bytes_per_token
        for watched in (False, True, False):
            session.watch_experts(watched)
            *events, last = session.send_stream("Which?", temperature=0.0, max_new_tokens=7, reasoning_effort="none")
            assert last.stats is not None
            uses = [event.experts for event in events if event.token_ids]
            if watched:
                # Each event is a token behind, the last one of all is not.
                assert [use.tokens if use else 0 for use in uses] == list(range(len(uses)))
                assert last.experts is not None
                assert last.experts.tokens == last.stats.generated_tokens == len(uses)
            else:
                assert {*uses, last.experts} == {None}
