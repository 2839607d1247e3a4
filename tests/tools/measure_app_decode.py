"""Measures what the app costs a decode: `measure_app_decode.py [MODEL_DIR] [--launches N] [--pairs N]`.

The same answer, token for token, is decoded in the app's engine process while the app draws it in a real terminal (a
pseudo-terminal of 120 columns: the meters are on, the screen is drawn some ten times a second), and in a process that
does nothing else, as `qwen-tui run` does. Both stay loaded and are asked in turn, so that a slow moment of the machine
hits neither alone; the order alternates. Both are launched several times: where a process happens to lie in memory
changes its speed by some percent for as long as it lives. Printed is the median ratio of their decode rates, with the
range. `--null` measures a second plain process in place of the app: how far from 1 the machine alone leads. `--spare`
(Linux) keeps the model to one processor on both sides: the screen has another, as where a GPU decodes. Without it, and
without a GPU, a model uses all there are, and on a small machine waits for whatever else does.

Bounds: 0.95, and 0.98 on a model that takes 10 ms a token or more. A command, not a test: exit code 0 when they hold.
"""

import argparse
import asyncio
import contextlib
import fcntl
import json
import os
import pty
import signal
import statistics
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TextIO

from qwen_core import demo_model_path, load_session
from qwen_core.engine.engine import Engine
from qwen_core.protocol.events import Event, GenerationSettings, Loaded, LoadFailed, TurnDone, TurnFailed
from qwen_core.protocol.stats import TurnStats

BOUND, SLOW_BOUND, SLOW_MS = 0.95, 0.98, 10.0
SIZE = (40, 120)
QUESTION = "Explain NVFP4 vs MXFP4 quantization."
WARM_UP_TURNS = 1
EXIT_GRACE_S = 3.0


def settings_for(tokens: int) -> GenerationSettings:
    """Greedy, no thinking; a reward for repetition, so that no answer ends before its limit."""
    return GenerationSettings(
        max_new_tokens=tokens, temperature=0.0, frequency_penalty=-2.0, presence_penalty=-2.0, effort="none"
    )


def as_line(stats: TurnStats) -> str:
    figures = {"tok_s": stats.decode_tok_s, "tokens": stats.generated_tokens, "cached": stats.cached_tokens}
    return json.dumps(figures) + "\n"


def keep_to_one(pid: int) -> None:
    """Have all threads of a process, and those they start, on one processor."""
    for thread in Path(f"/proc/{pid}/task").iterdir():
        os.sched_setaffinity(int(thread.name), {min(os.sched_getaffinity(0))})


def children_of(pid: int) -> list[int]:
    """Listed by the thread that started them; none where the system does not say."""
    lists = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for children in lists for child in children.read_text().split()]


# The two sides, each in a process of its own. They write one JSON line a turn.


def run_app(model: str, tokens: int, orders: TextIO, out: TextIO, *, spare: bool) -> None:
    """The real app on the terminal this process was given; its engine's figures go to `out` as well as to the app.

    Each line of `orders` asks in a new conversation, as the composer does on Enter.
    """
    from qwen_tui.app.app import QwenApp
    from support.app_stage import loaded_with

    def engine_factory(on_event: Callable[[Event], None]) -> Engine:
        def tell(event: Event) -> None:
            match event:
                case Loaded():
                    if spare:
                        keep_to_one(*children_of(os.getpid()))
                    out.write('{"ready": true}\n')
                case TurnDone():
                    out.write(as_line(event.stats))
                case LoadFailed() | TurnFailed():
                    out.write(json.dumps({"error": event.message}) + "\n")
                case _:
                    pass
            on_event(event)

        return Engine(tell)

    app = QwenApp(model, loaded_with(settings_for(tokens)), engine_factory=engine_factory)

    async def ask_anew() -> None:
        while app.conversation.refusal:  # the engine is ready, or done, a moment before the screen knows
            await asyncio.sleep(0.01)
        app.conversations.new()
        await app.turns.submit(QUESTION, QUESTION)

    def enter() -> None:
        for _ in orders:
            app.call_from_thread(ask_anew)

    threading.Thread(target=enter, daemon=True).start()
    try:
        app.run()
    finally:
        app.close_engine()


def run_alone(model: str, tokens: int, orders: TextIO, out: TextIO, *, spare: bool) -> None:
    """A session in this process, on its main thread, that answers once for every line of `orders`."""
    if spare:
        keep_to_one(os.getpid())
    with load_session(model) as session:
        out.write('{"ready": true}\n')
        for _ in orders:
            session.restore(())
            for event in session.send_stream(QUESTION, settings_for(tokens)):
                if event.done and event.stats is not None:
                    out.write(as_line(event.stats))


# The measuring process.


def seconds_of(pid: int) -> float | None:
    """CPU time so far of a process; None where the system does not say."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return (int(status[11]) + int(status[12])) / os.sysconf("SC_CLK_TCK")


class Side:
    """A started process: `answer` makes it answer once."""

    def __init__(self, name: str, options: Sequence[str], **terminal: Any) -> None:
        """`options`: of its command line. `terminal`: what becomes of its stdin, stdout and stderr."""
        self.name = name
        order_reader, order_writer = os.pipe()
        line_reader, line_writer = os.pipe()
        descriptors = (order_reader, line_writer)
        pipes = ["--pipes", *map(str, descriptors)]
        self.process = subprocess.Popen(
            [sys.executable, __file__, "--side", name, *pipes, *options],
            pass_fds=descriptors,
            start_new_session=True,  # a share of the processor of its own: Linux gives one to every session
            env={**os.environ, "TERM": "xterm-256color", "PYTHONPATH": os.pathsep.join(sys.path)},
            **terminal,
        )
        for descriptor in descriptors:
            os.close(descriptor)
        self._orders = os.fdopen(order_writer, "w", buffering=1)
        self._lines = os.fdopen(line_reader)

    def next(self) -> dict[str, Any]:
        """Its next line; what it says of an error, or that it ended, ends the measurement."""
        line = self._lines.readline()
        found = json.loads(line) if line else {"error": f"a side ended with {self.process.wait()}"}
        if "error" in found:
            raise SystemExit(f"measure_app_decode: {found['error']}")
        return found

    def answer(self) -> dict[str, Any]:
        """The figures of one more answer; `cpu_s`: what it took of the processor, prompt included.

        `own`: the share of one processor that this process itself took meanwhile, which of the app is what drawing
        takes. Both are None where they cannot be told: only Linux says.
        """
        began, own, engine = time.monotonic(), seconds_of(self.process.pid), self.engine_seconds()
        self._orders.write("\n")
        found = self.next()
        took, own_after, engine_after = time.monotonic() - began, seconds_of(self.process.pid), self.engine_seconds()
        return {
            **found,
            "cpu_s": None if engine is None or engine_after is None else engine_after - engine,
            "own": None if own is None or own_after is None else (own_after - own) / took,
        }

    def engine_seconds(self) -> float | None:
        """CPU time so far of the process that decodes: of the app its one child, else the process itself."""
        if self.name != "app":
            return seconds_of(self.process.pid)
        children = children_of(self.process.pid)
        return seconds_of(children[0]) if len(children) == 1 else None

    def end(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(EXIT_GRACE_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def start_app(options: Sequence[str]) -> Side:
    """The app on a pseudo-terminal, whose other end is read as a terminal reads it: else the app would stand still."""
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", *SIZE, 0, 0))
    side = Side("app", options, stdin=follower, stdout=follower, stderr=follower)
    os.close(follower)

    def drain() -> None:
        with contextlib.suppress(OSError):  # the other end is gone
            while os.read(leader, 1 << 16):
                pass

    threading.Thread(target=drain, daemon=True).start()
    return side


def measure(model: str, launches: int, pairs: int, tokens: int, *, null: bool, spare: bool) -> bool:
    """Print the figures; whether they keep the bound."""
    # Ended from outside, it must still end what it started.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    ratios: list[float] = []
    by_cpu: list[float] = []
    drawing: list[float] = []
    alone_rates: list[float] = []
    medians: list[float] = []
    options = ["--tokens", str(tokens), *(["--spare"] if spare else []), model]
    for launch in range(launches):
        found = [*measure_launch(options, launch, pairs, null=null)]
        ratios += (own := [first["tok_s"] / second["tok_s"] for first, second in found])
        by_cpu += [second["cpu_s"] / first["cpu_s"] for first, second in found if first["cpu_s"] and second["cpu_s"]]
        drawing += [first["own"] for first, _ in found if first["own"] is not None]
        alone_rates += [second["tok_s"] for _, second in found]
        medians.append(statistics.median(own))
        print(f"launch {launch + 1}: {medians[-1]:.3f}", flush=True)
    milliseconds = 1000 / statistics.median(alone_rates)
    bound = SLOW_BOUND if milliseconds >= SLOW_MS else BOUND
    ratio = statistics.median(ratios)
    what = "decode alone, measured the same way against itself," if null else "decode in the app"
    print(
        f"{Path(model).name}, {tokens} tokens, {milliseconds:.2f} ms a token alone: {what} is {ratio:.3f} of decode "
        f"alone (launches {min(medians):.3f} to {max(medians):.3f}, pairs {min(ratios):.3f} to {max(ratios):.3f}, "
        f"{launches} x {pairs}); bound {bound}"
    )
    if by_cpu:
        print(
            f"by CPU time of the engine alone, which a busy machine hardly changes: {statistics.median(by_cpu):.3f} "
            f"({min(by_cpu):.3f} to {max(by_cpu):.3f})"
        )
    if drawing and not null:
        print(f"the app itself, drawing: {statistics.median(drawing):.1%} of one processor ({os.cpu_count()} in all)")
    return ratio >= bound


def measure_launch(
    options: Sequence[str], launch: int, pairs: int, *, null: bool
) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """The figures of the app (of a second plain process for `null`) and of the plain one, pair by pair."""
    alone = Side("alone", options)
    app = Side("alone", options) if null else start_app(options)
    try:
        for side in (app, alone):
            side.next()
        for _ in range(WARM_UP_TURNS):
            app.answer()
            alone.answer()
        for number in range(pairs):
            first, second = (app, alone) if (launch + number) % 2 == 0 else (alone, app)
            one, two = first.answer(), second.answer()
            in_app, by_itself = (one, two) if first is app else (two, one)
            if in_app["tokens"] != by_itself["tokens"] or in_app["cached"] != by_itself["cached"]:
                raise SystemExit(f"measure_app_decode: the answers differ: {in_app} and {by_itself}")
            print(f"pair {number + 1}: {in_app['tok_s']:.1f}, alone {by_itself['tok_s']:.1f} tok/s", flush=True)
            yield in_app, by_itself
    finally:
        app.end()
        alone.end()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", default=str(demo_model_path()))
    parser.add_argument("--launches", type=int, default=3)
    parser.add_argument("--pairs", type=int, default=6, help="of answers, in each launch")
    parser.add_argument("--tokens", type=int, default=600)
    parser.add_argument("--null", action="store_true", help="no app: what the machine makes of two equal sides")
    parser.add_argument("--spare", action="store_true", help="the model on one processor, the screen has another")
    parser.add_argument("--side", choices=("app", "alone"), help=argparse.SUPPRESS)
    parser.add_argument("--pipes", type=int, nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.side:
        orders, out = os.fdopen(arguments.pipes[0]), os.fdopen(arguments.pipes[1], "w", buffering=1)
        run = run_app if arguments.side == "app" else run_alone
        run(arguments.model, arguments.tokens, orders, out, spare=arguments.spare)
        return 0
    with TemporaryDirectory() as home:
        os.environ["QWEN_TUI_HOME"] = home
        given = arguments.model, arguments.launches, arguments.pairs, arguments.tokens
        return 0 if measure(*given, null=arguments.null, spare=arguments.spare) else 1


if __name__ == "__main__":
    sys.exit(main())
