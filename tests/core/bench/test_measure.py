"""What a benchmark does with a model: which tokens it times, how often, at which depth, and what a stop leaves."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import count
from typing import Any

import pytest

from qwen_core import demo_model_path
from qwen_core.bench.measure import WARM_UP_PROMPT, WARM_UP_PROMPT_ON_CPU, Bench
from qwen_core.bench.measured import Measured, extrapolated
from qwen_core.bench.report import BenchSubject, bench_report, card_scores, roofline
from qwen_core.bench.workloads import CARD_TURNS, STEP_S, Workload, parse_workloads
from qwen_core.device.backend import is_gpu
from qwen_core.device.hardware import Hardware
from qwen_core.errors import CapacityError
from qwen_core.model.model import Model, load_model
from qwen_core.protocol.stats import TurnStats
from qwen_core.session.opening import load_session
from support.checkpoints import write_checkpoint

MACHINE = Hardware("M3 Max", 40, 64 << 30, None, 400.0, "published")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Model]:
    path = tmp_path_factory.mktemp("bench") / "model"
    write_checkpoint(path, text={"max_position_embeddings": 400})
    loaded = load_model(path, "float32")
    yield loaded
    loaded.close()


def ticking() -> Callable[[], float]:
    """A clock that is a second later every time it is looked at."""
    moments = count()
    return lambda: float(next(moments))


class Watched:
    """The model, counting the tokens that go into it."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.fed: list[int] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.model, name)

    def last_logits(self, ids: Any, state: Any) -> Any:
        self.fed.append(ids.shape[1])
        return self.model.last_logits(ids, state)

    def feed(self, ids: Any, state: Any) -> None:
        self.fed.append(ids.shape[1])
        self.model.feed(ids, state)


def measure(model: Any, workloads: str, depth: int = 0, **options: Any) -> list[Measured]:
    return Bench(clock=ticking(), **options).sizes(model, parse_workloads(workloads), depth)


def test_prefill_and_decode_are_timed_by_the_clock(model: Model) -> None:
    """The clock is read twice a repeat: around all tokens of a prefill, and around those after the first."""
    prefilled, decoded = measure(model, "pp70,tg6", repeat=2)
    assert (prefilled.seconds, prefilled.rates) == ((1.0, 1.0), (70.0, 70.0))
    assert (decoded.seconds, decoded.rates) == ((1.0, 1.0), (6.0, 6.0))
    assert prefilled.peak_memory_bytes > 0


def test_every_repeat_starts_from_the_same_depth(model: Model) -> None:
    watched = Watched(model)
    measured = measure(watched, "pp5,tg3", depth=9, repeat=2)
    warm_up = [WARM_UP_PROMPT if is_gpu() else WARM_UP_PROMPT_ON_CPU, 1, 1]
    # The context once, then 5 tokens twice; the context again, then one token and 3 + 1 drawn ones, twice.
    assert watched.fed == [*warm_up, 9, 5, 5, 9, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1]
    assert [m.context_tokens for m in measured] == [9 + 5, 9 + 2]


def test_bytes_at_a_depth_are_the_weights_the_state_twice_and_the_keys_so_far(model: Model) -> None:
    (near,), (far,) = measure(model, "tg2", repeat=1), measure(model, "tg2", depth=100, repeat=1)
    config = model.config
    each = 2 * config.num_key_value_heads * config.head_dim * 4  # float32, one full layer of four
    assert (near.context_tokens, far.context_tokens) == (1, 101)
    assert (near.kv_bytes, far.kv_bytes) == (each, 101 * each)
    assert near.recurrent_bytes == far.recurrent_bytes == model.new_state().recurrent_nbytes
    assert far.bytes_per_token(1000) == 1000 + 2 * far.recurrent_bytes + far.kv_bytes


def test_more_than_the_context_is_refused_before_anything_runs(model: Model) -> None:
    watched = Watched(model)
    with pytest.raises(CapacityError, match="tg200 behind 200 tokens is more than the model's context of 400 tokens"):
        measure(watched, "pp5,tg200", depth=200)
    assert watched.fed == []


def test_it_rests_between_repeats_and_not_before_the_first(model: Model) -> None:
    rests: list[float] = []
    measure(model, "pp3,tg2", repeat=2, cooldown=1.5, pause=rests.append)
    assert sum(rests) == 3 * 1.5


def test_a_rest_ends_soon_after_a_stop(model: Model) -> None:
    """A flag set while resting is seen at the next short pause, and what was finished before the rest is kept."""
    rests: list[float] = []
    (measured,) = measure(model, "tg2", repeat=3, cooldown=60.0, pause=rests.append, stop=lambda: len(rests) >= 3)
    assert rests == [STEP_S] * 3
    assert measured.seconds == (1.0,)


def test_a_card_that_is_stopped_in_a_rest_keeps_its_conversations() -> None:
    rests: list[float] = []
    with load_session(demo_model_path()) as session:
        card = Bench(repeat=2, cooldown=60.0, pause=rests.append, stop=lambda: bool(rests)).card(session)
    assert [len(conversation) for conversation in card.conversations] == [4]
    assert rests == [STEP_S]


@pytest.mark.parametrize("allowed", range(14))
def test_a_stop_keeps_the_repeats_that_were_finished(model: Model, allowed: int) -> None:
    asked = count()
    measured = measure(model, "tg3", repeat=3, stop=lambda: next(asked) >= allowed)
    kept = len(measured[0].seconds) if measured else 0
    # Twice in the warm-up, before the workload, and then at each of the 3 timed tokens of each repeat.
    assert kept == max(0, min(3, (allowed - 3) // 3))
    assert all(seconds == 1.0 for m in measured for seconds in m.seconds)


def test_progress_is_told_in_tokens_of_all_repeats(model: Model) -> None:
    told: list[tuple[str, int, int]] = []
    measure(model, "tg10,pp3", depth=4, repeat=2, progress=lambda *step: told.append(step))
    assert told == [
        ("warm-up", 0, 1),
        ("tg10: context", 4, 4),
        *(("tg10", done, 20) for done in (0, 8, 10, 18, 20)),
        ("pp3: context", 4, 4),
        *(("pp3", done, 6) for done in (0, 3, 3, 6, 6)),
    ]


def test_the_card_is_one_conversation_a_repeat() -> None:
    with load_session(demo_model_path()) as session:
        card = Bench(repeat=2).card(session)
        asked = [message.content for message in session.messages if message.role == "user"]
        assert session.system == "You are a helpful assistant. Be concise."
    assert asked == list(CARD_TURNS)
    assert [len(conversation) for conversation in card.conversations] == [4, 4]
    for conversation in card.conversations:
        assert conversation[0].cached_tokens == 0
        assert all(turn.cached_tokens > 0 for turn in conversation[1:])
        assert all(turn.reasoning_tokens == 0 for turn in conversation)


def test_the_memory_of_sizes_is_their_own() -> None:
    """Neither what the card's conversation left nor what the size before it took."""
    with load_session(demo_model_path()) as session:
        alone, after_itself = Bench(repeat=1).sizes(session.model, parse_workloads("tg4,tg5"), depth=500)
        Bench(repeat=1).card(session)
        (after_card,) = Bench(repeat=1).sizes(session.model, parse_workloads("tg4"), depth=500)
    assert after_itself.peak_memory_bytes == pytest.approx(alone.peak_memory_bytes, rel=0.02)
    assert after_card.peak_memory_bytes == pytest.approx(alone.peak_memory_bytes, rel=0.02)


def test_the_bar_of_the_card_says_how_far_its_turn_is() -> None:
    with load_session(demo_model_path()) as session:
        told: list[tuple[str, int, int]] = []
        Bench(repeat=1, progress=lambda *step: told.append(step)).card(session)
    assert told[:2] == [("warm-up", 0, 1), ("card", 0, 4)]
    assert ("card 4 of 4: 8 tokens", 3, 4) in told
    assert told[-1] == ("card", 4, 4)


def test_a_card_that_is_stopped_keeps_its_whole_turns() -> None:
    with load_session(demo_model_path()) as session:
        told: list[int] = []
        bench = Bench(repeat=2, progress=lambda label, done, total: told.append(done) if label == "card" else None)
        bench.stop = lambda: 2 in told
        card = bench.card(session)
    assert [len(conversation) for conversation in card.conversations] == [2]


def measured(name: str, *seconds: float, recurrent: int = 10, kv: int = 5) -> Measured:
    (workload,) = parse_workloads(name)
    return Measured(workload, 0, seconds, 7, recurrent, kv, 1000)


def test_extrapolation_scales_the_layers_alone() -> None:
    with_layers, without = measured("tg4", 3.0, 5.0), measured("tg4", 1.0, 2.0, 1.0, recurrent=0, kv=0)
    whole = extrapolated(with_layers, without, 4, 64)
    assert whole.seconds == (1 + 2 * 16, 1 + 4 * 16)
    assert (whole.recurrent_bytes, whole.kv_bytes) == (160, 80)
    assert whole.rates == (4 / 33, 4 / 65)
    assert extrapolated(with_layers, measured("tg4"), 4, 64).seconds == ()
    assert extrapolated(measured("tg4", 2.0), measured("tg4", 0.5, 1.5), 4, 8).seconds == (3.0,)


SUBJECT = BenchSubject(
    "m", "UD-NVFP4_K_XL", False, 64, 64, 21_000_000_000, 19_990_000_000, "bfloat16", "Metal Apple M3 Max"
)


def test_a_report_has_the_roofline_of_a_decode_and_none_of_a_prefill() -> None:
    decode = replace(measured("tg10", 1.0, 0.5, 2.0), recurrent_bytes=150_000_000, kv_bytes=10_000_000)
    report = bench_report(SUBJECT, MACHINE, {"mlx": "1"}, [measured("pp8", 2.0), decode], repeat=3)
    prefill_row, row = report["sizes"]
    assert prefill_row["tok_s"] == {"median": 4.0, "min": 4.0, "max": 4.0}
    assert "bandwidth_gb_s" not in prefill_row
    assert row["tok_s"] == {"median": 10.0, "min": 5.0, "max": 20.0}
    assert row["bytes_per_token"] == 20_300_000_000
    assert row["bandwidth_gb_s"] == pytest.approx(203.0)
    assert row["ceiling_tok_s"] == pytest.approx(19.7044, abs=1e-3)
    assert row["share_of_peak"] == pytest.approx(203 / 400)
    assert row["share_of_ceiling"] == pytest.approx(203 / 400)
    assert (report["peak_source"], report["card"], report["interrupted"]) == ("published", None, False)


def test_what_is_not_known_is_null() -> None:
    unknown = replace(MACHINE, peak_bandwidth_gb_s=None, peak_source=None)
    report = bench_report(SUBJECT, unknown, {}, [measured("tg10")], repeat=3, interrupted=True)
    (row,) = report["sizes"]
    assert row["tok_s"] is None
    assert {row[name] for name in ("bandwidth_gb_s", "ceiling_tok_s", "share_of_peak", "share_of_ceiling")} == {None}
    assert roofline(1000, 2.0, None)["bandwidth_gb_s"] == 2e-6


def turn(rate: float | None) -> TurnStats:
    return TurnStats(9, 0, 5, 0, 14, 0.5, 18.0, rate, 100, 120, None, None, 1000, 900)


def test_the_card_scores_the_best_of_turns_2_to_4() -> None:
    """The first turn never counts, however fast; a turn of one token has no rate."""
    first = [turn(99.0), turn(10.0), turn(12.0), turn(None)]
    second = [turn(1.0), turn(20.0), turn(8.0), turn(9.0)]
    scores = card_scores([first, second])
    assert scores == {"best": 20.0, "median": 10.0, "score": {"median": 16.0, "min": 12.0, "max": 20.0}}
    assert card_scores([[turn(50.0)], []]) == {"best": None, "median": None, "score": None}


def test_a_workload_has_a_name_that_reads_back() -> None:
    for workload in (Workload("card"), Workload("prefill", 3), Workload("decode", 4)):
        assert parse_workloads(workload.name) == (workload,)


def test_the_demo_can_be_measured() -> None:
    loaded = load_model(demo_model_path())
    rows = Bench(repeat=1).sizes(loaded, parse_workloads("pp8,tg4"))
    loaded.close()
    assert all(rate > 0 for row in rows for rate in row.rates)
