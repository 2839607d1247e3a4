"""A scripted stand-in for the engine: the same public face, no process, no model.

A script maps each command to the events it answers with, each after its delay in seconds. Events are delivered from a
thread, as the real engine does. `feed` injects events at any time.
"""

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from qwen_core.protocol.counting import Count
from qwen_core.protocol.events import (
    Command,
    Delta,
    EngineDied,
    Event,
    FinishReason,
    Load,
    Loaded,
    Message,
    ModelSummary,
    Send,
    TurnDone,
    TurnStarted,
)
from qwen_core.protocol.pieces import Piece
from qwen_core.protocol.ranks import RankSummary
from qwen_core.protocol.stats import TurnStats
from qwen_core.protocol.weight_tiers import WeightTiers

Step = tuple[float, Event]
Script = Callable[[Command], Iterable[Step]]

MODEL = ModelSummary(
    name="Qwen3.6-27B",
    path="/models/Qwen3.6-27B-UD-NVFP4_K_XL-mlx",
    variant="UD-NVFP4_K_XL",
    weight_bytes=21_900_000_000,
    weight_bytes_per_token=19_990_000_000,
    device="Metal",
    dtype="bfloat16",
    context_limit=262_144,
    load_s=3.2,
    tiers=WeightTiers(mapped=21_900_000_000),
    peak_bandwidth_gb_s=400.0,
    peak_source="published",
    memory_bytes=64 << 30,
    recommended_bytes=48 << 30,
    token_parts=(
        ("ffn", 10_340_000_000),
        ("gdn", 6_340_000_000),
        ("attn", 1_960_000_000),
        ("head", 1_348_700_000),
        ("other", 1_300_000),
    ),
)


SHARED = replace(
    MODEL,
    weight_bytes_per_token=10_130_000_000,
    tiers=WeightTiers(copied=11_090_000_000),
    token_parts=tuple((part, nbytes // 2) for part, nbytes in MODEL.token_parts),
    hosts=(
        RankSummary(0, "studio.local", 48 << 30, 11_090_000_000),
        RankSummary(1, "mini-in-the-cellar.local", 24 << 30, 10_950_000_000),
    ),
    alone_token_s=0.0262,
)
"""The same model on two ranks; the first has the MTP layer too."""


def shared_stats() -> TurnStats:
    """What `stats()` says, of a rank of `SHARED`."""
    return replace(
        stats(),
        decode_tok_s=29.8,
        live_tok_s=29.8,
        weight_bytes_per_token=SHARED.weight_bytes_per_token,
        bytes_per_token=10_320_000_000,
        bandwidth_gb_s=307.5,
        active_memory_bytes=11_500_000_000,
        kv_bytes=40 << 20,
        recurrent_bytes=73 << 20,
        snapshot_bytes=147 << 20,
    )


def stats(generated: int = 412, reasoning: int = 96, prompt: int = 1242, cached: int = 1204) -> TurnStats:
    return TurnStats(
        prompt_tokens=prompt,
        cached_tokens=cached,
        generated_tokens=generated + reasoning,
        reasoning_tokens=reasoning,
        context_tokens=prompt + generated + reasoning,
        ttft_s=0.41,
        prefill_tok_s=92.0,
        decode_tok_s=17.3,
        weight_bytes_per_token=MODEL.weight_bytes_per_token,
        bytes_per_token=20_300_000_000,
        bandwidth_gb_s=351.0,
        peak_bandwidth_gb_s=400.0,
        peak_memory_bytes=22 << 30,
        active_memory_bytes=21 << 30,
        live_tok_s=17.3,
        kv_bytes=80 << 20,
        recurrent_bytes=147 << 20,
        snapshot_bytes=294 << 20,
    )


def delta(
    turn: int,
    *pieces: Piece,
    ids: Sequence[int] = (),
    count: int = 1,
    reasoning: int = 0,
    reasoning_s: float | None = None,
) -> Delta:
    figures = replace(stats(generated=count - reasoning, reasoning=reasoning), reasoning_s=reasoning_s)
    return Delta(turn, pieces, tuple(ids), figures)


def done(turn: int, answer: str, reasoning: str = "", tools: str = "", reason: FinishReason = "stop") -> TurnDone:
    message = Message("assistant", answer, reasoning=reasoning, tool_calls=tools)
    figures = stats(reasoning=96 if reasoning else 0)
    return TurnDone(turn, reason, message, tuple(range(10 * turn)), figures)


def answered(turn: int, answer: str, reasoning: str = "", tools: str = "") -> list[Event]:
    """A whole turn in a handful of events."""
    pieces: list[Piece] = []
    if reasoning:
        pieces.append(("reasoning", reasoning))
    if answer:
        pieces.append(("answer", answer))
    if tools:
        pieces.append(("tool_call", tools))
    return [TurnStarted(turn, 1242, 1204), delta(turn, *pieces, count=508), done(turn, answer, reasoning, tools)]


class FakeEngine:
    """Behaves as `script` says. By default a `Load` loads at once and a `Send` is echoed."""

    def __init__(self, on_event: Callable[[Event], None], script: Script | None = None) -> None:
        self._on_event = on_event
        self._script = script or default_script
        self.commands: list[Command] = []
        self.counts: list[Count] = []  # asked for while the person types: no part of what a test has sent
        self.started = self.stopped = self.restarted = self.closed = 0
        self.alive = False
        self.pid = 4242
        self.log_path = "/var/log/fake-engine.log"

    def start(self) -> None:
        self.started += 1
        self.alive = True

    def send(self, command: Command) -> None:
        if isinstance(command, Count):
            self.counts.append(command)
        else:
            self.commands.append(command)
        steps = list(self._script(command))
        if all(delay == 0 for delay, _ in steps):
            self.feed(*(event for _, event in steps))
        else:
            threading.Thread(target=self._play, args=(steps,), daemon=True).start()

    def _play(self, steps: list[Step]) -> None:
        for delay, event in steps:
            time.sleep(delay)
            self._on_event(event)

    def feed(self, *events: Event) -> None:
        for event in events:
            self._on_event(event)

    def die(self, reason: str, exit_code: int | None = -9) -> None:
        self.alive = False
        self._on_event(EngineDied(reason, exit_code, self.log_path))

    def stop(self) -> None:
        self.stopped += 1

    def restart(self) -> None:
        self.restarted += 1
        self.alive = True

    def close(self, timeout: float = 5.0) -> int | None:
        self.closed += 1
        self.alive = False
        return 0

    def sent(self) -> list[Send]:
        return [command for command in self.commands if isinstance(command, Send)]


def default_script(command: Command) -> Iterable[Step]:
    match command:
        case Load():
            return [(0.0, Loaded(MODEL))]
        case Send(turn, text):
            return [(0.0, event) for event in answered(turn, f"You said: {text}")]
        case _:
            return []


def loads_only(command: Command) -> Iterable[Step]:
    """Loads, then leaves every turn to `feed`."""
    return [(0.0, Loaded(MODEL))] if isinstance(command, Load) else []


def loads_shared(command: Command) -> Iterable[Step]:
    """The same on two ranks."""
    return [(0.0, Loaded(SHARED))] if isinstance(command, Load) else []
