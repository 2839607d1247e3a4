"""Compares checkouts of this engine, and mlx-lm, on one checkpoint: CPU seconds of prefill and decode, in turn.

    python tests/tools/measure_ratio.py MODEL_DIR --prompt 512 --tokens 16 --repeat 3 [--side before=OTHER/core]

Sides are mlx-lm in float32 (the base of all ratios), mlx-lm as stored, this checkout, and any `--side NAME=CORE`: the
`core` folder of another checkout. Each measurement is a fresh process (qwen_core/bench/against_process.py), the sides
take turns, and the figure is the processor's time, which other programs hardly lengthen: the least of the repeats.

A command, not a test. Ratios above 1: faster than mlx-lm in float32.
"""

import argparse
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

from qwen_core.bench.against import run_side
from qwen_core.bench.against_process import Task
from qwen_core.bench.workloads import prompt_ids
from qwen_core.checkpoint.directory import open_checkpoint

OWN = str(Path(__file__).resolve().parents[2] / "core")


def measured(task: Task, core: str) -> dict[str, Any]:
    """One outcome of `task`, by the engine of the folder `core`."""
    return asdict(run_side(task, lambda: False, {**os.environ, "PYTHONPATH": core}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--prompt", type=int, default=512)
    parser.add_argument("--tokens", type=int, default=16)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--no-stock", action="store_true", help="leave mlx-lm in bf16 out, which takes long on a CPU")
    parser.add_argument("--side", action="append", default=[], metavar="NAME=CORE")
    asked = parser.parse_args()
    ids = tuple(prompt_ids(asked.prompt, open_checkpoint(asked.model).config.vocab_size))
    peer = Task("mlx-lm", str(asked.model), ids, asked.tokens)
    own = Task("qwen-tui", str(asked.model), ids, asked.tokens)
    sides = {"mlx-lm float32": (Task(**{**asdict(peer), "float32": True}), OWN), "this": (own, OWN)}
    if not asked.no_stock:
        sides["mlx-lm stock"] = (peer, OWN)
    sides |= {name: (own, core) for name, _, core in (side.partition("=") for side in asked.side)}
    outcomes: dict[str, list[dict[str, Any]]] = {name: [] for name in sides}
    for _ in range(asked.repeat):
        for name, (task, core) in sides.items():
            outcomes[name].append(measured(task, core))
    least = {
        name: {phase: min(run[f"{phase}_cpu_s"] for run in runs) for phase in ("prefill", "decode")}
        for name, runs in outcomes.items()
    }
    base = least["mlx-lm float32"]
    for name, seconds in least.items():
        same = sum(a == b for a, b in zip(outcomes[name][0]["tokens"], outcomes["this"][0]["tokens"], strict=True))
        phases = "  ".join(f"{phase} {s:8.3f} s ({base[phase] / s:5.2f}x)" for phase, s in seconds.items())
        print(f"{asked.model.name} {name:15} {phases}  same {same} of {asked.tokens + 1}")


if __name__ == "__main__":
    main()
