"""Starts the engine with the bundled model, talks, leaves, and counts how the process ended: `exit_hundred.py [N]`.

Every second run is left in mid-answer, every fourth while the model loads. The figure that counts is N of N with exit
code 0: a process that aborts while MLX is torn down is what this looks for. A command, not a test; test_engine_demo.py
runs the same cycle a few times.
"""

import sys
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from qwen_core.demo import demo_model_path
from qwen_core.engine.engine import Engine
from qwen_core.protocol.events import Delta, GenerationSettings, Load, Loaded, LoadProgress, Send, TurnDone
from support.engines import EventLog

MOMENTS = ("after an answer", "in mid-answer", "after an answer", "in mid-load")


def leave(moment: str, model: Path) -> int | None:
    """One process from start to end, left at `moment`; its exit code."""
    log = EventLog()
    engine = Engine(log)
    engine.start()
    try:
        engine.send(Load(str(model)))
        if moment == "in mid-load":
            log.wait_for(LoadProgress)
        else:
            log.wait_for(Loaded)
            # A high temperature without a stop in sight: there is always a middle to leave in.
            settings = GenerationSettings(max_new_tokens=4096, temperature=2.0 if moment == "in mid-answer" else 0.0)
            engine.send(Send(1, "What is the capital of France?", settings))
            log.wait_for(Delta if moment == "in mid-answer" else TurnDone)
    finally:
        code = engine.close()
    return code


def main() -> int:
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    ends: Counter[tuple[str, int | None]] = Counter()
    for run in range(runs):
        moment = MOMENTS[run % len(MOMENTS)]
        ends[moment, leave(moment, demo_model_path())] += 1
    clean = sum(count for (_, code), count in ends.items() if code == 0)
    print(f"{clean} of {runs} ended with exit code 0")
    for (moment, code), count in sorted(ends.items(), key=str):
        print(f"  {moment}: exit code {code}, {count} times")
    return 0 if clean == runs else 1


if __name__ == "__main__":
    sys.exit(main())
