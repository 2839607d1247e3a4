"""Thousands of turns through one `Session` or `Engine`: `measure_turns.py [--turns 10000] [--through session|engine]`.

Conversations of a few turns with the bundled model in float32: asked, stopped, continued, taken back, begun anew with
another system prompt. For each tenth of the turns it prints the CPU seconds of a turn and the resident memory of the
process with the model (and, through the engine, of this one). Flat means: in the last tenth a turn costs at most half
as much again as in the second (the first warms up), and memory is at most 10 % and 20 MB above the second tenth's.

    python tests/tools/measure_turns.py --through engine

A command, not a test: 10,000 turns take some minutes. Exit code 0 when time and memory are flat.
"""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from random import Random

from qwen_core import demo_model_path
from qwen_core.protocol.events import (
    Continue,
    GenerationSettings,
    Load,
    Loaded,
    Message,
    Restore,
    Send,
    TurnDone,
)

TENTHS = 10
MOST_COST, MOST_GROWTH, MOST_GROWTH_MB = 1.5, 1.1, 20.0
QUESTIONS = ("What is the capital of France?", "And Japan?", "Explain NVFP4 vs MXFP4 quantization.", "你好", "x" * 40)
SETTINGS = GenerationSettings(max_new_tokens=3, temperature=0.0, effort="none")
Turn = Callable[[Random], None]


def resident_mb(pid: int) -> float:
    return int(subprocess.check_output(["ps", "-o", "rss=", "-p", str(pid)])) / 1024


def cpu_seconds(pid: int) -> float:
    """Of another process; `ps` gives [days-]hours:minutes:seconds."""
    days, _, clock = (
        subprocess.check_output(["ps", "-o", "cputime=", "-p", str(pid)], text=True).strip().rpartition("-")
    )
    seconds = 0.0
    for part in clock.split(":"):
        seconds = seconds * 60 + float(part)
    return seconds + 86400 * int(days or 0)


def through_session(turns: int) -> bool:
    from qwen_core.session.opening import load_session

    with load_session(str(demo_model_path()), "float32") as session:

        def turn(random: Random) -> None:
            what = random.randrange(10)
            if what == 0:
                session.set_system(random.choice((None, "Answer briefly.")))
            if what in (1, 2):
                session.restore(session.messages[: 2 * random.randrange(2)])
            if len(session.messages) > 6:
                session.restore([])
            if what == 3 and session.messages:
                events = session.send_stream(random.choice(QUESTIONS), SETTINGS, stop=lambda: random.random() < 0.3)
            else:
                events = session.send_stream(random.choice(QUESTIONS), SETTINGS)
            *_, last = events
            if what == 4 and last.finish_reason == "length":
                list(session.continue_stream(SETTINGS))

        return measure(turns, turn, lambda: time.process_time(), {"session": os.getpid()})


def through_engine(turns: int) -> bool:
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    from support.engines import running_engine

    with running_engine() as (engine, log):
        engine.send(Load(str(demo_model_path()), "float32"))
        log.wait_for(Loaded)
        said: list[Message] = []
        number = 0
        assert engine.pid is not None
        pid = engine.pid

        def turn(random: Random) -> None:
            nonlocal number
            what = random.randrange(10)
            if what == 0 or len(said) > 6:
                said.clear()
                engine.send(Restore((), system=random.choice((None, "Answer briefly."))))
            number += 1
            question = random.choice(QUESTIONS)
            engine.send(Send(number, question, SETTINGS))
            if what == 1:
                engine.stop()
            done = log.wait_for(TurnDone)
            said.extend((Message("user", question), done.message))
            if what == 2 and done.finish_reason == "length":
                number += 1
                engine.send(Continue(number, SETTINGS))
                log.wait_for(TurnDone)
            log.events.clear()
            log._seen = 0

        return measure(turns, turn, lambda: cpu_seconds(pid), {"engine": pid, "app": os.getpid()})


def measure(turns: int, turn: Turn, cpu: Callable[[], float], processes: dict[str, int]) -> bool:
    """Take the turns; whether they were flat."""
    costs, memory = [], []
    print(f"{'turns':>8} {'CPU ms a turn':>14}" + "".join(f" {name + ' MB':>12}" for name in processes))
    for tenth in range(TENTHS):
        began, count = cpu(), max(1, turns // TENTHS)
        for number in range(count):
            turn(Random(f"{tenth}-{number}"))
        costs.append((cpu() - began) / count * 1e3)
        memory.append({name: resident_mb(pid) for name, pid in processes.items()})
        row = "".join(f" {memory[-1][name]:12.1f}" for name in processes)
        print(f"{(tenth + 1) * count:8,} {costs[-1]:14.2f}{row}", flush=True)
    flat = costs[-1] <= costs[1] * MOST_COST
    for name in processes:
        growth = memory[-1][name] - memory[1][name]
        flat = flat and growth <= max(MOST_GROWTH_MB, memory[1][name] * (MOST_GROWTH - 1))
    print("flat" if flat else "NOT flat")
    return flat


def main() -> int:
    parser = argparse.ArgumentParser(description="Thousands of turns through one session or engine.")
    parser.add_argument("--turns", type=int, default=10_000)
    parser.add_argument("--through", choices=("session", "engine"), default="session")
    given = parser.parse_args()
    return 0 if (through_session if given.through == "session" else through_engine)(given.turns) else 1


if __name__ == "__main__":
    sys.exit(main())
