"""Measures what rendering a chat template in a process of its own costs: `measure_template.py [TEMPLATE_FILE]`.

    start   seconds from nothing to the first rendering of a fresh process, compiling included; its resident memory
    turn    milliseconds of one rendering of a conversation: in this process with jinja2 alone, through the other
            process, and the difference, which is what a turn pays. The least of interleaved rounds each: what else runs
            on the machine only adds. Bound: 2 ms.

A command, not a test: on a busy machine its times say little. Without an argument it takes the bundled model's
template. Exit code 0 when the bound holds for every conversation of at most MOST_TURNS turns, some 20,000 tokens.
"""

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from qwen_core import demo_model_path
from qwen_core.text.template_process import TemplateProcess
from qwen_core.text.template_renderer import _compiled

BOUND_MS = 2.0
MOST_TURNS = 50
ROUNDS = 51
STARTS = 5
QUESTION = "And how is a group of sixteen weights stored, précisément? " * 4
ANSWER = "Each group shares one scale; the values are four bits each, and the scale is eight. " * 16


def milliseconds(action: Callable[[], object]) -> float:
    began = time.perf_counter()
    action()
    return (time.perf_counter() - began) * 1e3


def resident_megabytes(pid: int) -> float:
    return int(subprocess.check_output(["ps", "-o", "rss=", "-p", str(pid)])) / 1024


def conversation(turns: int) -> list[dict[str, str]]:
    said = [("user", QUESTION), ("assistant", ANSWER)] * turns + [("user", QUESTION)]
    return [{"role": role, "content": f"{n} {text}"} for n, (role, text) in enumerate(said)]


def main() -> int:
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else demo_model_path() / "chat_template.jinja"
    source = path.read_text(encoding="utf-8")
    values = {"messages": conversation(1), "tools": None, "documents": None, "add_generation_prompt": True}
    starts = []
    for _ in range(STARTS):
        process = TemplateProcess()
        starts.append(milliseconds(lambda process=process: process.render(source, values)))
        process.close()
    process = TemplateProcess()
    process.render(source, values)
    template, held = _compiled(source), True
    print(f"start {min(starts):.0f} ms")
    print(f"{'turns':>6} {'characters':>11} {'jinja2':>9} {'process':>9} {'a turn pays':>12}")
    for turns in (0, 1, 10, MOST_TURNS, 2 * MOST_TURNS, 20 * MOST_TURNS):
        values["messages"] = conversation(turns)
        size = len(template.render(values))
        alone, apart = [], []
        for _ in range(ROUNDS):
            alone.append(milliseconds(lambda: template.render(values)))
            apart.append(milliseconds(lambda: process.render(source, values)))
        inside, through = min(alone), min(apart)
        held &= through - inside <= BOUND_MS or turns > MOST_TURNS
        print(f"{turns:6} {size:11,} {inside:6.2f} ms {through:6.2f} ms {through - inside:9.2f} ms")
    assert process._child.pid is not None
    print(f"resident {resident_megabytes(process._child.pid):.0f} MB")
    process.close()
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
