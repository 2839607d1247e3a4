"""The meters: a frozen snapshot of the conversation, the lines it becomes, and the panel that shows them."""

import re
from dataclasses import replace
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwen_core.protocol.events import EngineDied, Loaded, PrefillProgress, TurnStarted
from qwen_core.protocol.stats import DraftOff, DraftStats, TurnStats, remaining_s
from qwen_tui.chat.meters import MeterSnapshot, take_snapshot
from qwen_tui.chat.panel_lines import MEANINGS, bandwidth_bar, digits, panel_lines
from qwen_tui.conversation.branch import Branch
from qwen_tui.conversation.conversation import Conversation
from qwen_tui.conversation.rate_history import MOST_RATES, RateHistory
from qwen_tui.conversation.recorder import KeptConversation
from qwen_tui.conversation.turns import Turn
from qwen_tui.store import Draft
from qwen_tui.text.safe import cells
from support.app_stage import stage
from support.fake_engine import MODEL, SHARED, answered, delta, done, loads_only, shared_stats, stats

WIDTH = 38
COUNTS = st.integers(0, 10**12)
RATES = st.none() | st.floats(0.001, 1e6)
DRAFTS = st.builds(
    DraftStats,
    kind=st.sampled_from(["mtp", "lookup", "mtp+lookup"]),
    num_draft_tokens=st.just(5),
    passes=st.integers(1, 10**6),
    drafted=st.integers(0, 10**7),
    accepted=st.integers(0, 10**7),
    accepted_by_depth=st.tuples(*[st.integers(0, 10**6)] * 5),
)
FIGURES = st.builds(
    TurnStats,
    prompt_tokens=st.integers(0, 10**7),
    cached_tokens=st.integers(0, 10**7),
    generated_tokens=st.integers(0, 10**7),
    reasoning_tokens=st.integers(0, 10**7),
    context_tokens=st.integers(0, 10**7),
    ttft_s=RATES,
    prefill_tok_s=RATES,
    decode_tok_s=RATES,
    weight_bytes_per_token=COUNTS,
    bytes_per_token=COUNTS,
    bandwidth_gb_s=RATES,
    peak_bandwidth_gb_s=st.none() | st.floats(1, 1e4),
    peak_memory_bytes=COUNTS,
    active_memory_bytes=COUNTS,
    live_tok_s=RATES,
    kv_bytes=COUNTS,
    recurrent_bytes=COUNTS,
    snapshot_bytes=COUNTS,
    stop_s=RATES,
    draft=st.none() | DRAFTS,
    draft_off=st.sampled_from([None, *get_args(DraftOff)]),
)
SNAPSHOTS = st.builds(
    MeterSnapshot,
    phase=st.sampled_from(["ready", "prefill", "decoding", "engine down"]),
    model=st.sampled_from([None, MODEL, SHARED]),
    stats=st.none() | FIGURES,
    rates=st.lists(st.floats(0.01, 1e5), max_size=MOST_RATES).map(tuple),
    running=st.booleans(),
    prefilled=st.integers(0, 10**6),
    to_prefill=st.integers(0, 10**6),
    prefill_left_s=RATES,
    context_tokens=st.integers(0, 10**7),
)


def text(snapshot: MeterSnapshot, width: int = WIDTH) -> str:
    return "\n".join(line.plain.rstrip() for line in panel_lines(snapshot, width))


def test_states_of_earlier_turns_are_shown_within_their_budget() -> None:
    snapshot = MeterSnapshot("decoding", MODEL, snapshot_budget=1 << 30, held=stats())
    assert "earlier turns   308.28 MB of 1.07 GB\n" in text(snapshot)


def test_a_running_answer_as_text() -> None:
    snapshot = MeterSnapshot("decoding", MODEL, stats(), (8.0, 12.0, 16.0), True, context_tokens=1650, held=stats())
    assert digits(snapshot) == "17.3"
    assert text(snapshot) == (
        "▁▄█\n"
        "351 GB/s estimated of 400\n"
        "████████████████████████████▏···│ 88 %\n"
        "ceiling         19.7 tok/s est.\n"
        "peak            400 GB/s published\n"
        "\n"
        "first token     0.41 s\n"
        "prefill         92.0 tok/s\n"
        "prompt          38 new · 1,204 kept\n"
        "answer          412 · reasoning 96\n"
        "context         1,650 / 262K · 1 %\n"
        "\n"
        "weights         21.90 GB\n"
        "keys and values 83.89 MB\n"
        "recurrent state 154.14 MB\n"
        "earlier turns   308.28 MB\n"
        "free memory     28.99 GB est.\n"
        "\n"
        "bytes a token   20.30 GB\n"
        "feed-forward 51 %\n"
        "gated delta net 31 % · attention 10 %\n"
        "output head 7 % · recurrent state 2 %"
    )


def test_drafts_are_shown_with_what_came_of_them_or_why_there_are_none() -> None:
    draft = DraftStats("mtp", 3, passes=200, drafted=600, accepted=308, accepted_by_depth=(170, 98, 40))
    shown = MeterSnapshot("ready", MODEL, replace(stats(), draft=draft, draft_bytes=200 * 10**9))
    lines = text(shown).split("\n")
    begin = lines.index("drafts          mtp, 3 a pass")
    assert lines[begin + 1] == "accepted        85, 49, 20 %"
    peakless = replace(stats(), draft=draft, peak_bandwidth_gb_s=None)
    assert "tokens a pass   2.54" in text(replace(shown, stats=peakless))
    ceiling = next(number for number, line in enumerate(lines) if line.startswith("ceiling"))
    assert lines[ceiling : ceiling + 2] == ["ceiling         47.7 tok/s est.", "                at 2.54 a pass"]
    for kind, passes, why in (("mtp", 0, "none yet"), ("mtp", 9, "none drafted"), ("lookup", 9, "none drafted")):
        nothing = DraftStats(kind, 0, passes, drafted=0, accepted=0, accepted_by_depth=())
        assert f"drafts          {kind} · {why}" in text(replace(shown, stats=replace(stats(), draft=nothing)))
    assert "drafts          off · CPU" in text(replace(shown, stats=replace(stats(), draft_off="cpu")))
    assert "drafts          off · as set" in text(replace(shown, stats=replace(stats(), draft_off="setting")))


def test_of_several_ranks_each_has_its_memory_and_a_token_its_waiting() -> None:
    """What a token reads, and what that could be at best, are those of one rank."""
    lines = text(MeterSnapshot("decoding", SHARED, shared_stats(), held=shared_stats())).split("\n")
    ceiling = lines.index("ceiling         38.8 tok/s est.")
    assert lines[ceiling + 1] == "waiting         6.87 ms a token est."
    weights = lines.index("weights         11.09 GB a rank")
    assert lines[weights + 4 : weights + 7] == [
        "rank 0 studio   11.50 GB",
        "rank 1 mini-in… 11.36 GB est.",
        "free memory     14.41 GB est.",
    ]
    assert "bytes a token   10.32 GB a rank" in lines
    here = replace(SHARED, hosts=tuple(replace(host, host="127.0.0.1") for host in SHARED.hosts * 3))
    shown = text(MeterSnapshot("ready", here))
    assert "rank 0          11.09 GB\nrank 1          10.95 GB\n" in shown
    assert "                and 2 more\n" in shown
    assert "waiting" not in shown


def test_a_mixture_reads_more_for_a_prompt_than_for_a_token() -> None:
    """Said while the prompt is read; of a dense model, whose steps read what a token reads, nothing."""
    mixture = replace(MODEL, prefill_step_bytes=21_400_000_000)
    reading = MeterSnapshot("prefill", mixture, None, (), True, 4096, 8192)
    assert "reads a step    up to 21.40 GB\n" in text(reading)
    assert "reads" not in text(replace(reading, model=replace(MODEL, prefill_step_bytes=MODEL.weight_bytes_per_token)))
    assert "reads" not in text(replace(reading, stats=stats()))
    assert "reads" not in text(MeterSnapshot("decoding", mixture, stats(), (), True))


def test_a_prompt_being_read_as_text() -> None:
    snapshot = MeterSnapshot("prefill", MODEL, None, (), True, 4096, 8192, 12.5, 100, cached=42, held=stats())
    assert digits(snapshot) == "-"
    assert text(snapshot).splitlines()[:4] == [
        "prefill         4,096 / 8,192",
        "███████████████████···················",
        "time left       12 s est.",
        "prompt          8,192 new · 42 kept",
    ]
    # What is in memory does not vanish because another turn begins.
    assert "keys and values 83.89 MB\nrecurrent state 154.14 MB\n" in text(snapshot)


def test_what_is_not_known_is_not_shown() -> None:
    assert text(MeterSnapshot("starting")) == ""
    unknown = replace(stats(), peak_bandwidth_gb_s=None)
    shown = text(MeterSnapshot("ready", MODEL, unknown))
    assert "351 GB/s estimated · peak unknown" in shown
    assert "ceiling" not in shown
    measured = replace(MODEL, peak_source="measured")
    assert "peak            400 GB/s measured" in text(MeterSnapshot("ready", measured, stats()))


@given(SNAPSHOTS, st.integers(10, 60))
def test_no_figure_makes_a_line_too_wide(snapshot: MeterSnapshot, width: int) -> None:
    for line in panel_lines(snapshot, width):
        assert cells(line.plain) <= width
        assert line.plain.isprintable()
    assert digits(snapshot)


@given(st.floats(0, 5), st.integers(2, 60))
def test_the_bar_ends_at_the_ceiling(share: float, width: int) -> None:
    bar = bandwidth_bar(share, width)
    assert cells(bar) == width
    assert bar[-1] == "│"
    assert bar.count("█") == int(round(min(share, 1.0) * (width - 1) * 8) // 8)


@given(st.lists(st.floats(1, 1000), max_size=5000))
def test_a_history_is_bounded_and_keeps_its_mean(rates: list[float]) -> None:
    history = RateHistory()
    for rate in rates:
        history.add(rate)
    assert len(history.rates) <= MOST_RATES + 1
    if rates:
        assert min(rates) - 1e-6 <= min(history.rates) <= max(history.rates) <= max(rates) + 1e-6
    if len(rates) <= MOST_RATES:
        assert history.rates == rates


@pytest.mark.parametrize(
    ("done", "total", "spent", "left"),
    [(0, 10, 1.0, None), (5, 10, None, None), (4, 10, 2.0, 3.0), (10, 10, 1.0, None)],
)
def test_the_time_left_is_the_pace_so_far(done: int, total: int, spent: float | None, left: float | None) -> None:
    assert remaining_s(done, total, spent) == left


def test_a_snapshot_follows_the_turn() -> None:
    moments = iter([0.0, 2.0, 5.0, 6.0, 7.0])
    conversation = Conversation(now=lambda: next(moments))
    conversation.apply(Loaded(MODEL))
    assert take_snapshot(conversation) == MeterSnapshot("ready", MODEL)
    conversation.ask("A question")
    conversation.apply(TurnStarted(1, 1000, 200))
    conversation.apply(PrefillProgress(1, 400, 800, 200))
    reading = take_snapshot(conversation)
    assert (reading.prefilled, reading.to_prefill, reading.prefill_left_s) == (400, 800, 2.0)
    conversation.apply(delta(1, ("answer", "a"), count=5))
    running = take_snapshot(conversation)
    assert (running.running, running.rates, running.stats) == (True, (17.3,), stats(generated=5, reasoning=0))
    conversation.apply(done(1, "a"))
    over = take_snapshot(conversation)
    assert (over.running, over.stats) == (False, stats(reasoning=0))
    assert over.rates == (17.3,), "the graph of the last turn stays"
    conversation.ask("Another question")
    assert take_snapshot(conversation).held == over.stats


def test_what_a_prompt_will_take_is_not_free_while_it_is_read() -> None:
    model = replace(MODEL, recommended_bytes=32 << 30)
    conversation = Conversation()
    conversation.apply(Loaded(model))
    conversation.ask("A question")
    conversation.apply(TurnStarted(1, 1000, 0, foreseen_bytes=30 << 30))
    assert "free memory     2.15 GB est." in text(take_snapshot(conversation))
    conversation.apply(delta(1, ("answer", "a"), count=5))
    assert take_snapshot(conversation).foreseen == 0


def test_an_answer_that_goes_on_reads_its_prompt_first() -> None:
    """What it had been before it was cut off is not shown as what goes on now; what is in memory stays."""
    conversation = Conversation()
    conversation.apply(Loaded(MODEL))
    cut = conversation.ask("A question")
    conversation.apply(done(1, "a", reason="cancelled"))
    before = take_snapshot(conversation).stats
    conversation.go_on(cut)
    conversation.apply(TurnStarted(2, 1000, 200))
    conversation.apply(PrefillProgress(2, 400, 800, 200))
    reading = take_snapshot(conversation)
    assert (reading.stats, reading.held, reading.rates) == (None, before, ())
    assert "prefill         400 / 800" in text(reading)
    conversation.apply(delta(2, ("answer", "b"), count=1))
    assert take_snapshot(conversation).stats is not None


def from_disk(turns: list[Turn]) -> Branch:
    return Branch(1, None, turns, (1, 2, 3), "", Draft(""), 2 * len(turns))


def test_what_an_engine_does_not_hold_is_not_said_to_be_in_memory() -> None:
    """A conversation that comes back from the disk, and one whose engine has died, still have their figures."""
    conversation = Conversation()
    conversation.apply(Loaded(MODEL))
    conversation.ask("A question")
    conversation.apply(done(1, "a"))
    assert "keys and values 83.89 MB" in text(take_snapshot(conversation))
    turns = conversation.turns
    for again in (
        lambda: conversation.load(KeptConversation(1), from_disk(turns)),
        lambda: conversation.apply(EngineDied("gone", 1)),
        conversation.restarting,
        lambda: conversation.apply(Loaded(MODEL)),
    ):
        conversation.held = stats()
        again()
        snapshot = take_snapshot(conversation)
        assert (snapshot.stats, snapshot.held) == (stats(reasoning=0), None)
        assert "keys and values 83.89 MB" not in text(snapshot)
        assert "free" not in text(snapshot)


def test_the_context_of_a_conversation_from_the_disk_is_what_was_fed_for_it() -> None:
    conversation = Conversation()
    conversation.load(KeptConversation(1), from_disk([Turn(1, "Q", state="interrupted", pieces=(("answer", "half"),))]))
    assert take_snapshot(conversation).context_tokens == 3


def test_figures_of_another_model_are_not_shown_as_this_ones_and_the_peak_is_todays() -> None:
    conversation = Conversation()
    conversation.apply(Loaded(replace(MODEL, peak_bandwidth_gb_s=351.0, peak_source="configured")))
    conversation.ask("A question")
    conversation.apply(delta(1, ("answer", "a"), count=5))
    conversation.apply(done(1, "a"))
    assert take_snapshot(conversation).rates == (17.3,)
    (shown,) = [take_snapshot(conversation).stats]
    assert shown is not None
    assert (shown.peak_bandwidth_gb_s, shown.share_of_peak) == (351.0, pytest.approx(1.0))
    conversation.apply(Loaded(replace(MODEL, weight_bytes_per_token=MODEL.weight_bytes_per_token // 2)))
    anew = take_snapshot(conversation)
    assert (anew.stats, anew.held, anew.rates) == (None, None, ())
    conversation.go_on(conversation.turns[0])
    anew = take_snapshot(conversation)
    assert (anew.stats, anew.held) == (None, None), "nor where its answer goes on with this one"


@pytest.mark.parametrize(("columns", "shown"), [(60, False), (119, False), (120, True), (160, True)])
async def test_the_panel_is_there_from_a_hundred_and_twenty_columns(columns: int, shown: bool) -> None:
    async with stage(loads_only, (columns, 30)) as here:
        await here.ask("Explain NVFP4 vs MXFP4.")
        await here.feed(*answered(1, "NVFP4 stores."))
        await here.settle()
        assert here.app.chat.panel.display == shown
        assert ("ceiling         19.7 tok/s" in here.text()) == shown


@pytest.mark.parametrize("key", ["f4", "ctrl+o"])
async def test_a_key_shows_and_hides_it(key: str) -> None:
    async with stage(loads_only, (80, 30)) as here:
        await here.ask("Explain NVFP4 vs MXFP4.")
        await here.feed(*answered(1, "NVFP4 stores."))
        await here.settle()
        await here.press(key)
        assert "ceiling         19.7 tok/s" in here.text()
        await here.press(key)
        assert "ceiling" not in here.text()
        await here.pilot.press(key)
        await here.pilot.resize_terminal(60, 30)
        await here.settle()
        assert "ceiling" not in here.text(), "no room beside the conversation"
        await here.press(key)
        assert "need 76 columns" in here.text()
        await here.pilot.resize_terminal(90, 30)
        await here.settle()
        assert "ceiling         19.7 tok/s" in here.text(), "what the person chose holds again"
        assert "need 76 columns" not in here.text()


async def test_the_figures_of_a_running_turn_are_not_under_its_answer_yet() -> None:
    async with stage(loads_only, (60, 20)) as here:
        await here.ask("Explain NVFP4 vs MXFP4.")
        await here.feed(TurnStarted(1, 1242, 1204), delta(1, ("answer", "NVFP4"), count=40))
        await here.settle()
        assert "↳" not in here.text()
        await here.feed(done(1, "NVFP4"))
        await here.settle()
        assert "↳ 17.3 tok/s" in here.text()


@given(SNAPSHOTS, st.integers(1, 40))
def test_where_there_is_little_room_whole_groups_are_left_out(snapshot: MeterSnapshot, height: int) -> None:
    every, shown = panel_lines(snapshot, WIDTH), panel_lines(snapshot, WIDTH, height)
    assert len(shown) <= height
    groups = "\n".join(line.plain for line in every).split("\n\n")
    assert all(part in groups for part in "\n".join(line.plain for line in shown).split("\n\n") if shown)


def test_every_figure_of_the_panel_is_explained() -> None:
    """The help has a line for each label that the panel can show."""
    draft = DraftStats("mtp", 3, passes=200, drafted=600, accepted=308, accepted_by_depth=(170, 98, 40))
    full = replace(stats(), draft=draft, stop_s=0.5)
    model = replace(MODEL, prefill_step_bytes=10**12)
    texts = [
        text(MeterSnapshot("decoding", model, full, (8.0, 9.0), True, held=full)),
        text(MeterSnapshot("decoding", model, replace(full, peak_bandwidth_gb_s=None), held=full)),
        text(MeterSnapshot("prefill", model, None, (), True, 4096, 8192, 12.5, 100)),
        text(MeterSnapshot("decoding", SHARED, full, held=full)),
    ]
    labels = {
        line[:16].strip() for shown in texts for line in shown.split("\n") if re.match(r"[a-z][a-z ]{15}\S", line)
    }
    assert labels - {"time left", "tokens a pass", "gated delta net"} <= {name for name, _ in MEANINGS}
    assert len(labels) > 15
