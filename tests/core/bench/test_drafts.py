"""Drafts in a benchmark: in turn with runs without, the same tokens or where they part; costs, and arithmetic."""

from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from qwen_core import demo_model_path
from qwen_core.bench.drafts import DecodePair, DecodeRun, PassCosts, costs_fields, draft_arithmetic, pairs_fields
from qwen_core.bench.measure import Bench, DraftChoice
from qwen_core.bench.measured import extrapolated_costs
from qwen_core.bench.synthetic import synthetic_checkpoint, synthetic_model, synthetic_mtp
from qwen_core.bench.workloads import CARD_TURNS, alternating, common_tokens, parse_workloads
from qwen_core.checkpoint.recipe import find_variant
from qwen_core.model.model import Model, load_model
from qwen_core.model.state import State
from qwen_core.protocol.events import DraftMode
from qwen_core.protocol.stats import DraftStats
from qwen_core.session.draft_count import MOST_DRAFTS
from qwen_core.session.drafters import Drafters
from qwen_core.session.drafting import Drafting
from qwen_core.session.opening import load_session
from support.checkpoints import write_checkpoint
from support.reference import CASES, write_case
from support.scripted_drafter import ScriptedDrafter

NVFP4 = find_variant("nvfp4")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Model]:
    path = tmp_path_factory.mktemp("bench") / "model"
    write_checkpoint(path)
    loaded = load_model(path, "float32")
    yield loaded
    loaded.close()


class Scripted(Drafters):
    """Drafts `truth` behind the context; remembers after how many tokens of the model each run began."""

    def __init__(self, model: Model, truth: Sequence[int], right: float) -> None:
        super().__init__(model)
        self.truth, self.right, self.vocab = truth, right, model.config.vocab_size
        self.runs: list[Drafting] = []

    def drafting(
        self, mode: DraftMode, count: int | None, ids: Sequence[int], state: State, vocab_limit: int
    ) -> Drafting:
        drafts = 3 if count is None else count
        drafter = ScriptedDrafter(self.truth, self.right, self.vocab)
        drafter.begin(ids)
        self.runs.append(Drafting("scripted", drafter, lambda _: drafts))
        return self.runs[-1]


def ticking() -> Any:
    moments = count()
    return lambda: float(next(moments))


def decoded(model: Model, right: float, *, repeat: int = 3, depth: int = 5, **options: Any) -> Any:
    """A decode of 11 + 1 tokens, without drafts and with scripted ones, and what drafted."""
    (plain,) = Bench(repeat=1, clock=ticking()).sizes(
        model, parse_workloads("tg11"), depth, DraftChoice(Scripted(model, (), 0.0), "mtp", 0)
    )
    answer = plain.pairs[0].without.tokens
    drafters = Scripted(model, (*[0] * (depth + 1), *answer), right)
    bench = Bench(repeat=repeat, clock=ticking(), **options)
    (measured,) = bench.sizes(model, parse_workloads("tg11"), depth, DraftChoice(drafters, "mtp", None))
    return measured, drafters


def test_every_other_round_is_backwards() -> None:
    assert list(alternating("ab", 3)) == ["a", "b", "b", "a", "a", "b"]
    assert list(alternating("a", 3)) == ["a", "a", "a"]


@pytest.mark.parametrize("right", [1.0, 0.5, 0.0])
def test_the_same_tokens_in_fewer_passes_where_drafts_are_right(model: Model, right: float) -> None:
    measured, _ = decoded(model, right)
    assert len(measured.pairs) == len(measured.seconds) == 3
    for pair in measured.pairs:
        assert pair.without.tokens == pair.drafted.tokens
        assert len(pair.drafted.tokens) == 12
        (stats,) = pair.drafted.drafts
        assert stats.passes + stats.accepted == 12
        assert stats.passes == 3 if right == 1 else stats.passes > 3
        # By a clock that ticks once a look: 11 tokens after the first in one tick, and 12 with it.
        assert (pair.without.tok_s, pair.drafted.tok_s, pair.ratio) == (
            11.0,
            pytest.approx(12.0),
            pytest.approx(12 / 11),
        )


def test_runs_without_and_with_drafts_alternate(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[bool] = []
    once = Bench._once

    def watched(*arguments: Any) -> Any:
        order.append(arguments[-1] is not None)
        return once(*arguments)

    monkeypatch.setattr(Bench, "_once", watched)
    _, drafters = decoded(model, 1.0)
    assert order[2:] == [False, True, True, False, False, True]  # after those that found the answer
    assert len(drafters.runs) == 1 + 3  # the first was told of the context


def test_the_plain_figures_are_those_without_drafts(model: Model) -> None:
    measured, _ = decoded(model, 1.0)
    (alone,) = Bench(repeat=3, clock=ticking()).sizes(model, parse_workloads("tg11"), 5)
    assert (measured.seconds, measured.kv_bytes, measured.context_tokens) == (
        alone.seconds,
        alone.kv_bytes,
        alone.context_tokens,
    )
    assert alone.pairs == ()


@pytest.mark.parametrize(("asks", "plain", "pairs"), [(12, 1, 0), (23, 1, 1), (34, 1, 1), (46, 2, 2)])
def test_a_stop_keeps_whole_pairs_and_the_runs_without(model: Model, asks: int, plain: int, pairs: int) -> None:
    """`stop` is asked 3 times before the first run and once at each of the 11 timed tokens of a run."""
    asked = count()
    measured, _ = decoded(model, 1.0, stop=lambda: next(asked) > asks + 2)
    assert (len(measured.seconds), len(measured.pairs)) == (plain, pairs)


def test_a_prefill_has_no_drafts(model: Model) -> None:
    (measured,) = Bench(repeat=1).sizes(
        model, parse_workloads("pp5"), 0, DraftChoice(Scripted(model, (), 1.0), "mtp", None)
    )
    assert measured.pairs == ()


@pytest.mark.parametrize(("mode", "depth"), [("mtp", 0), ("mtp", 7), ("lookup", 7)])
def test_the_real_drafters_draw_the_same_tokens(mode: DraftMode, depth: int, tmp_path: Path) -> None:
    write_case(CASES[1], tmp_path, mtp="inside")
    model = load_model(tmp_path, "float32")
    choice = DraftChoice(Drafters(model), mode, 2)
    (measured,) = Bench(repeat=2).sizes(model, parse_workloads("tg20"), depth, choice)
    fields = pairs_fields(measured.pairs)
    assert fields is not None
    assert (fields["kind"], fields["pairs"]) == (mode, 2)
    assert (fields["same_tokens"], fields["of_tokens"]) == (21, 21)
    assert fields["drafted"] > 0 or mode == "lookup"


def test_the_card_is_held_without_and_with_drafts_from_the_same_seeds() -> None:
    with load_session(demo_model_path()) as session:
        choice = DraftChoice(session.loaded.drafters, "lookup", 2)
        told: list[tuple[str, int, int]] = []
        card = Bench(repeat=2, progress=lambda *step: told.append(step)).card(session, choice)
    assert [len(conversation) for conversation in card.conversations] == [4, 4]
    assert told[-1] == ("card", 4 * len(CARD_TURNS), 4 * len(CARD_TURNS))
    assert len(card.pairs) == 2
    for (without, drafted), plain in zip(card.pairs, card.conversations, strict=True):
        assert without.turns == plain
        assert drafted.tokens == without.tokens
        assert all(stats.draft is None for stats in without.turns)
        assert all(stats.draft is not None for stats in drafted.turns)


def run(rate: float | None, *tokens: int, drafts: tuple[DraftStats, ...] = ()) -> DecodeRun:
    return DecodeRun(rate, tokens, drafts)


def stats(passes: int, *accepted: int) -> DraftStats:
    return DraftStats("mtp", len(accepted), passes, 3 * passes, sum(accepted), accepted)


def test_pairs_are_summed_up_with_range_and_counts() -> None:
    pairs = [
        DecodePair(run(10.0, 1, 2, 3, 4), run(15.0, 1, 2, 3, 4, drafts=(stats(2, 1, 1),))),
        DecodePair(run(20.0, 1, 2, 3, 4), run(10.0, 1, 2, 3, 4, drafts=(stats(2, 1), stats(0)))),
        DecodePair(run(10.0, 1, 2, 3, 4), run(20.0, 1, 2, 3, 4, drafts=(stats(1, 1, 1, 1),))),
    ]
    fields = pairs_fields(pairs)
    assert fields == {
        "kind": "mtp",
        "num_draft_tokens": 3,
        "pairs": 3,
        "without_tok_s": {"median": 10.0, "min": 10.0, "max": 20.0},
        "with_tok_s": {"median": 15.0, "min": 10.0, "max": 20.0},
        "ratio": {"median": 1.5, "min": 0.5, "max": 2.0},
        "passes": 5,
        "drafted": 15,
        "accepted": 6,
        "accepted_by_depth": [3, 2, 1],
        "acceptance_by_depth": [0.6, 0.4, 0.2],
        "tokens_a_pass": 12 / 5,
        "same_tokens": 4,
        "of_tokens": 4,
    }
    assert pairs_fields([]) is None


@pytest.mark.parametrize(
    ("drafted", "same", "whole"),
    [((1, 2, 9, 4), 2, 4), ((1, 2, 3), 3, 4), ((1, 2, 3, 4, 5), 4, 5), ((9,), 0, 4), ((1, 2, 3, 4), 4, 4)],
)
def test_where_tokens_part_is_said_of_the_pair_that_parts_first(
    drafted: tuple[int, ...], same: int, whole: int
) -> None:
    alike = DecodePair(run(None, 7, 7), run(None, 7, 7))
    fields = pairs_fields([alike, DecodePair(run(1.0, 1, 2, 3, 4), run(1.0, *drafted))])
    assert fields is not None
    found = (2, 2) if same == whole else (same, whole)
    assert (fields["same_tokens"], fields["of_tokens"]) == found
    assert common_tokens((1, 2, 3, 4), drafted) == same


# By hand: a pass of 1, 2, 3 rows takes 10, 11, 15 seconds, a draft 1.
COSTS = PassCosts(((10.0, 10.0, 20.0), (11.0, 11.0, 30.0), (15.0, 12.0, 15.0)), (1.0, 1.0, 2.0))


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        # 1.5 / 12 is more than 1.75 / 17, 1.7 / 12 than 2.19 / 17; 1.9 / 12 = 0.1583 is less than 2.71 / 17 = 0.1594.
        (None, [(1, 1.5, 0.125), (1, 1.7, 1.7 / 12), (2, 2.71, 2.71 / 17)]),
        (2, [(2, 1.75, 1.75 / 17), (2, 2.19, 2.19 / 17), (2, 2.71, 2.71 / 17)]),
        (0, [(0, 1.0, 0.1)] * 3),
        (5, [(2, 1.75, 1.75 / 17), (2, 2.19, 2.19 / 17), (2, 2.71, 2.71 / 17)]),
    ],
)
def test_arithmetic_on_a_table_by_hand(number: int | None, expected: list[tuple[int, float, float]]) -> None:
    rows = draft_arithmetic(COSTS, number)
    assert [row["acceptance"] for row in rows] == [0.5, 0.7, 0.9]
    found = [(row["num_draft_tokens"], row["tokens_a_pass"], row["tok_s"]) for row in rows]
    assert found == [pytest.approx(row) for row in expected]
    assert [row["ratio"] for row in rows] == [pytest.approx(10 * row["tok_s"]) for row in rows]


def test_drafts_that_cost_nothing_and_drafts_that_do_not_pay() -> None:
    free = draft_arithmetic(PassCosts(((10.0,), (11.0,), (15.0,))), None)
    assert [row["num_draft_tokens"] for row in free] == [1, 1, 2]
    by_rows = draft_arithmetic(PassCosts(((1.0,), (2.0,), (3.0,)), (0.1,)), None)
    assert [(row["num_draft_tokens"], row["tok_s"], row["ratio"]) for row in by_rows] == [(0, 1.0, 1.0)] * 3


def test_the_table_compares_with_one_row_of_the_same_repeat() -> None:
    fields = costs_fields(COSTS, 32)
    assert (fields["context_tokens"], fields["repeat"]) == (32, 3)
    one, two, three = fields["passes"]
    assert [row["rows"] for row in (one, two, three)] == [1, 2, 3]
    assert one["ratio"] == {"median": 1.0, "min": 1.0, "max": 1.0}
    assert two == {
        "rows": 2,
        "seconds": {"median": 11.0, "min": 11.0, "max": 30.0},
        "ratio": {"median": 1.1, "min": 1.1, "max": 1.5},
    }
    assert fields["draft"]["ratio"] == {"median": 0.1, "min": 0.1, "max": 0.1}
    assert costs_fields(PassCosts(COSTS.passes), 32)["draft"] is None


def test_fewer_layers_are_scaled_as_a_decode_is_and_the_drafts_layer_is_not() -> None:
    base = PassCosts(((2.0, 4.0, 2.0), (3.0, 3.0, 3.0), (20.0, 20.0, 20.0)))
    scaled = extrapolated_costs(COSTS, base, 4, 8)
    assert scaled.passes == ((18.0, 18.0, 38.0), (19.0, 19.0, 57.0), (20.0, 20.0, 20.0))
    assert scaled.draft == COSTS.draft


@pytest.mark.parametrize("with_layer", [True, False])
def test_costs_are_measured_as_often_as_asked(with_layer: bool) -> None:
    model = synthetic_model(synthetic_checkpoint("tiny", NVFP4, 4, mtp=with_layer), "float32")
    layer = synthetic_mtp(model)
    assert (layer is not None) == with_layer
    told: list[tuple[str, int, int]] = []
    costs = Bench(repeat=2, clock=ticking(), progress=lambda *step: told.append(step)).costs(model, layer)
    assert costs is not None
    assert [len(seconds) for seconds in costs.passes] == [2] * (MOST_DRAFTS + 1)
    assert set(costs.draft) == ({1.0} if with_layer else set())
    assert told == [("cost of passes", done, 2) for done in range(3)]


@pytest.mark.parametrize(("allowed", "repeats"), [(0, 0), (6, 0), (7, 1), (13, 1), (14, 2)])
def test_a_stop_keeps_whole_repeats_of_costs(allowed: int, repeats: int) -> None:
    """`stop` is asked before a repeat, and then before each number of rows."""
    model = synthetic_model(synthetic_checkpoint("tiny", NVFP4, 4), "float32")
    asked = count()
    costs = Bench(repeat=2, stop=lambda: next(asked) >= allowed).costs(model, None)
    assert (len(costs.passes[0]) if costs is not None else 0) == repeats
