"""`run --meter`: JSON lines for a plot, on stderr, four a second and one at the end."""

import io
import json
import signal
import sys
import threading
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwen_core.protocol.events import StreamEvent
from qwen_tui import cli
from qwen_tui.commands.run_meter import INTERVAL_S, RunMeter
from support.clock import Clock
from support.fake_engine import MODEL, SHARED, shared_stats, stats
from support.fake_session import said

MOMENTS = st.lists(st.floats(0, 0.5), min_size=1, max_size=60)


def lines(moments: list[float]) -> tuple[list[dict[str, object]], list[float]]:
    """What a meter writes for token events at these distances from each other, and when they happened."""
    times, now = [], 100.0
    for step in moments:
        now += step
        times.append(now)
    clock = iter([*times, now])
    out = io.StringIO()
    meter = RunMeter(out, lambda: next(clock))
    for generated, _ in enumerate(times, 1):
        meter.event(replace(said("x", 1), stats=replace(stats(), generated_tokens=generated)))
    meter.event(StreamEvent(done=True, finish_reason="stop", stats=stats()))
    return [json.loads(line) for line in out.getvalue().splitlines()], times


@given(MOMENTS)
def test_at_most_four_a_second_and_never_without_the_last(moments: list[float]) -> None:
    written, times = lines(moments)
    assert written[-1]["phase"] == "done"
    assert written[-1]["finish_reason"] == "stop"
    decode = [float(str(line["t"])) for line in written[:-1]]
    assert decode[0] == 0.0
    assert all(later - earlier >= INTERVAL_S / 2 - 1e-3 for earlier, later in pairwise(decode))
    assert len(decode) <= (times[-1] - times[0]) / INTERVAL_S + 1
    # And no rarer than the events allow: the first event that is due is written.
    assert len(decode) >= int((times[-1] - times[0]) / (INTERVAL_S + 0.5))


def test_a_line_has_the_figures_and_what_follows_from_them() -> None:
    (_, done) = lines([0.0])[0]
    known = stats()
    assert done["decode_tok_s"] == known.decode_tok_s
    assert done["share_of_peak"] == pytest.approx(351 / 400)
    assert done["ceiling_tok_s"] == pytest.approx(400e9 / 20_300_000_000)


def test_prefill_is_shown_in_tokens() -> None:
    out = io.StringIO()
    meter = RunMeter(out, lambda: 0.0)
    meter.event(StreamEvent(to_prefill=512, prefilled=128, cached_tokens=7))
    line = {"t": 0.0, "phase": "prefill", "prefilled": 128, "to_prefill": 512, "cached_tokens": 7}
    assert json.loads(out.getvalue()) == {**line, "prefill_left_s": None}


def test_the_time_left_of_a_prefill_is_its_pace_so_far() -> None:
    out, clock = io.StringIO(), Clock(0.0)
    meter = RunMeter(out, clock)
    meter.event(StreamEvent(to_prefill=512))
    clock.now = 2.0
    meter.event(StreamEvent(to_prefill=512, prefilled=128))
    clock.now = 3.0
    meter.tick()
    assert [json.loads(line)["prefill_left_s"] for line in out.getvalue().splitlines()] == [None, 6.0, 6.0]


def test_a_line_says_of_the_model_what_the_panel_says() -> None:
    out = io.StringIO()
    meter = RunMeter(out, lambda: 0.0)
    meter.loaded(replace(MODEL, recommended_bytes=50 << 30))
    meter.event(StreamEvent(to_prefill=512))
    meter.event(StreamEvent(done=True, finish_reason="stop", stats=stats()))
    prefill, done = (json.loads(line) for line in out.getvalue().splitlines())
    for line in (prefill, done):
        assert (line["peak_source"], line["context_limit"]) == (MODEL.peak_source, MODEL.context_limit)
        assert line["weights_in_memory_bytes"] == MODEL.tiers.total
        assert line["token_parts"] == dict(MODEL.token_parts)
    assert done["free_memory_bytes"] == (50 << 30) - (21 << 30)


def test_of_several_ranks_a_line_says_who_they_are_and_what_a_token_waits() -> None:
    out = io.StringIO()
    meter = RunMeter(out, lambda: 0.0)
    meter.loaded(SHARED)
    meter.event(StreamEvent(done=True, finish_reason="stop", stats=shared_stats()))
    line = json.loads(out.getvalue())
    assert [host["host"] for host in line["hosts"]] == ["studio.local", "mini-in-the-cellar.local"]
    assert line["waiting_s"] == pytest.approx(1 / 29.8 - 0.0262 * 10.32 / 10.13)
    assert line["free_memory_bytes"] == (24 << 30) - 11_500_000_000 + 11_090_000_000 - 10_950_000_000
    assert "hosts" not in lines([0.0])[0][0]


def test_the_time_lost_to_a_stop_is_in_the_last_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    event = RunMeter.event

    def interrupted(meter: RunMeter, step: StreamEvent) -> None:
        if step.text:
            monkeypatch.setattr(RunMeter, "event", event)
            signal.raise_signal(signal.SIGINT)
        event(meter, step)

    monkeypatch.setattr(RunMeter, "event", interrupted)
    assert cli.main(["run", "--meter", "--effort", "none", "-p", "What is the capital of France?"]) == 130
    last = json.loads(capsys.readouterr().err.splitlines()[-1])
    assert last["finish_reason"] == "cancelled"
    assert last["stop_s"] >= 0


def test_a_step_that_takes_long_leaves_no_hole() -> None:
    out, clock = io.StringIO(), Clock(0.0)
    meter = RunMeter(out, clock)
    meter.tick()
    assert out.getvalue() == "", "nothing is known yet"
    meter.event(StreamEvent(to_prefill=512))
    for clock.now in (0.1, 0.2, 0.3, 0.4, 0.55):
        meter.tick()
    meter.event(StreamEvent(to_prefill=512, prefilled=512))
    clock.now = 0.8
    meter.tick()
    meter.event(replace(said("x", 1), stats=stats()))
    clock.now = 1.05
    meter.tick()
    meter.event(StreamEvent(done=True, finish_reason="stop", stats=stats()))
    clock.now = 9.0
    meter.tick()
    written = [json.loads(line) for line in out.getvalue().splitlines()]
    seen = [(line["t"], line["phase"], line.get("prefilled")) for line in written]
    assert seen == [
        (0.0, "prefill", 0),
        (0.3, "prefill", 0),
        (0.55, "prefill", 0),
        (0.8, "prefill", 512),
        (1.05, "decode", None),
        (1.05, "done", None),
    ]


def test_its_thread_writes_while_the_answer_takes_a_step_and_ends_with_it() -> None:
    written = threading.Event()

    class Out(io.StringIO):
        def flush(self) -> None:
            if self.getvalue().count("\n") == 2:
                written.set()

    with RunMeter(Out()) as meter:
        meter.event(StreamEvent(to_prefill=512))
        assert written.wait(30.0)
    assert all(thread.name != "meter" for thread in threading.enumerate())


class Gone(io.StringIO):
    """A pipe whose reader has left."""

    def write(self, text: str) -> int:
        raise BrokenPipeError(text)


def test_an_answer_goes_on_when_nobody_reads_its_figures(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stderr", Gone())
    for options in (["--meter"], []):
        assert cli.main(["run", *options, "--effort", "medium", "-p", "What is the capital of France?"]) == 0
        assert "Paris" in capsys.readouterr().out


def test_a_stream_that_was_closed_is_none(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    assert cli.main(["run", "--effort", "none", "-p", "What is the capital of France?"]) == 0
    assert "Paris" in capsys.readouterr().out


def test_stderr_holds_nothing_but_json_lines(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the bundled model, which also reasons and has statistics to tell: none of that is on stderr."""
    question = "What is the capital of France?"
    monkeypatch.setenv("QWEN_TUI_GENERATION_TEMPERATURE", "hot")  # which is told elsewhere
    assert cli.main(["run", "--meter", "--temperature", "0", "--effort", "medium", "-p", question]) == 0
    out, err = capfd.readouterr()
    assert "Paris" in out
    written = [json.loads(line) for line in err.splitlines()]
    assert written[0]["phase"] == "prefill"
    assert written[-1]["phase"] == "done"
    assert written[-1]["reasoning_tokens"] > 0
