"""CPU seconds to one token from a cold start: `measure_first_token.py [MODEL_DIR] [--side before=OTHER/core]`.

Runs `qwen-tui run -p hi --max-tokens 1` (with `--prompt-ids N` a prompt of N ids) in a process of its own and adds up
what it and all that it started took, the template's helper and a compiler too. This checkout and any side, the `core`
folder of another one with its `tui` beside it, take turns. The first run of each is not counted: it reads files into
the disk's cache, and Python and MLX keep what they compile. `--no-bytecode` has Python compile every module anew each
time, as where PYTHONDONTWRITEBYTECODE is set.

A command, not a test; Linux alone tells a program what its orphans took.
"""

import argparse
import ctypes
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from qwen_core.bench.workloads import prompt_ids

OWN = str(Path(__file__).resolve().parents[2] / "core")
PR_SET_CHILD_SUBREAPER = 36


def seconds(core: str, arguments: list[str], bytecode: str | None) -> float:
    """User and system seconds of one run with all its descendants, those that outlive it too."""
    before = os.times()
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([core, str(Path(core).parent / "tui")])}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    environment["PYTHONPYCACHEPREFIX"] = bytecode or os.devnull
    command = [sys.executable, "-P", "-m", "qwen_tui", "run", *arguments]
    subprocess.run(command, check=True, capture_output=True, env=environment, stdin=subprocess.DEVNULL)
    while True:
        try:
            os.wait()
        except ChildProcessError:
            break
    after = os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?")
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--prompt-ids", type=int, help="as many ids in place of the question")
    parser.add_argument("--no-bytecode", action="store_true")
    parser.add_argument("--side", action="append", default=[], metavar="NAME=CORE")
    asked = parser.parse_args()
    arguments = [asked.model] if asked.model else []
    ids = asked.prompt_ids and ",".join(map(str, prompt_ids(asked.prompt_ids, 2000)))
    arguments += ["--max-tokens", "1", *(["--prompt-ids", ids] if ids else ["-p", "hi"])]
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    sides = {"this": OWN} | {name: core for name, _, core in (side.partition("=") for side in asked.side)}
    taken: dict[str, list[float]] = {name: [] for name in sides}
    with tempfile.TemporaryDirectory() as folder:
        for turn in range(asked.repeat + 1):
            for name, core in sides.items():
                figure = seconds(core, arguments, None if asked.no_bytecode else folder)
                if turn:
                    taken[name].append(figure)
    for name, figures in taken.items():
        print(f"{name:10} {statistics.median(figures):.3f} s ({min(figures):.3f} to {max(figures):.3f})")


if __name__ == "__main__":
    main()
