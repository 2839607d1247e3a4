"""The frame of the fuzzers in tests/tools: seeded inputs, each tried in a process that may hang or die of it.

A fault is any exception but a QwenError, a QwenError that is not one printable line, an input that keeps the process
busy for longer than WAIT_S, or its death. Input N depends on the seed and N alone: `--first N --count 1` tries it
again.
"""

import argparse
import json
import multiprocessing
import os
import resource
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from random import Random
from typing import Any

from qwen_core.errors import MAX_MESSAGE, QwenError

WAIT_S = 20.0
CHUNK = 5_000
MEMORY_BYTES = 4 << 30
REFUSED = "refused"

Attempt = Callable[[Random, Path], str]
"""Makes an input from the numbers and tries it, in a folder that it has for itself and finds as it left it. What comes
back says how it ended, in a word or two."""


@dataclass
class Findings:
    """What came of some inputs: how they ended, faults as (number, what), and the costliest."""

    endings: Counter[str] = field(default_factory=Counter)
    faults: list[tuple[int, str]] = field(default_factory=list)
    slowest_s: float = 0.0
    slowest: int = 0
    resident_mb: float = 0.0

    def add(self, other: "Findings") -> None:
        self.endings += other.endings
        self.faults += other.faults
        if other.slowest_s > self.slowest_s:
            self.slowest_s, self.slowest = other.slowest_s, other.slowest
        self.resident_mb = max(self.resident_mb, other.resident_mb)


def try_one(attempt: Attempt, seed: int, number: int, place: Path, findings: Findings) -> None:
    """One input, in this process."""
    began = time.process_time()
    try:
        findings.endings[attempt(Random(f"{seed}-{number}"), place)] += 1
    except QwenError as error:
        findings.endings[REFUSED] += 1
        message = str(error)
        if not message.isprintable() or not 0 < len(message) <= MAX_MESSAGE:
            findings.faults.append((number, f"not one printable line of at most {MAX_MESSAGE}: {message!r}"))
    except BaseException as error:  # a panic of a library's Rust side is no Exception
        if isinstance(error, KeyboardInterrupt):
            raise
        where = traceback.extract_tb(error.__traceback__)[-1]
        findings.faults.append((number, f"{type(error).__name__}: {error} ({where.filename}:{where.lineno})"[:600]))
    if (seconds := time.process_time() - began) > findings.slowest_s:
        findings.slowest_s, findings.slowest = seconds, number


def _work(attempt: Attempt, seed: int, numbers: range, place: Path, out: Connection) -> None:
    """Try inputs and send the findings of each."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    # A library that crashes says so there.
    os.dup2(os.open(place / "stderr", os.O_RDWR | os.O_CREAT | os.O_APPEND), 2)
    heard, kilobytes = 0, 1 if sys.platform == "linux" else 1024  # the unit of ru_maxrss
    for number in numbers:
        findings = Findings()
        try_one(attempt, seed, number, place, findings)
        if (end := os.fstat(2).st_size) > heard:
            findings.faults.append((number, f"wrote on stderr: {os.pread(2, 300, heard)!r}"))
            heard = end
        findings.resident_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024 / kilobytes
        out.send(findings)


def fuzz(attempt: Attempt, seed: int, numbers: range) -> Findings:
    """Try inputs in processes of their own, some thousands in each."""
    told = 0
    context = multiprocessing.get_context("fork")  # nothing is imported again, and nothing here has threads
    found = Findings()
    at = numbers.start
    while at < numbers.stop:
        chunk = range(at, min(at + CHUNK, numbers.stop))
        ours, theirs = context.Pipe(duplex=False)
        with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as place:
            process = context.Process(target=_work, args=(attempt, seed, chunk, Path(place), theirs), daemon=True)
            process.start()
            theirs.close()
            try:
                while at < chunk.stop and ours.poll(WAIT_S):
                    found.add(ours.recv())
                    at += 1
                if at < chunk.stop:
                    found.faults.append((at, f"busy for {WAIT_S:.0f} s"))
                    at += 1
            except EOFError:
                process.join()
                found.faults.append((at, f"the process ended ({process.exitcode})"))
                at += 1
            process.kill()
            process.join()
        for number, fault in found.faults[told:]:
            print(f"fault: --seed {seed} --first {number} --count 1: {fault}", flush=True)
        told = len(found.faults)
        print(f"{at - numbers.start:,} of {len(numbers):,}, {told} faults", file=sys.stderr, flush=True)
    return found


def main(attempt: Attempt, what: str, count: int, arguments: Sequence[str] | None = None) -> int:
    """The command of a fuzzer: prints its figures, exit code 1 where it found a fault."""
    return command(lambda seed, numbers: fuzz(attempt, seed, numbers), what, count, arguments)


def command(
    run: Callable[[int, range], Findings], what: str, count: int, arguments: Sequence[str] | None = None
) -> int:
    """As `main`, for a fuzzer that tries its inputs by itself: those of a seed that have the given numbers."""
    parser = argparse.ArgumentParser(description=f"Try {what}, made from a seed, on the program.")
    parser.add_argument("--count", type=int, default=count)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--first", type=int, default=0, help="the number to begin with")
    given = parser.parse_args(arguments)
    began = time.monotonic()
    found = run(given.seed, range(given.first, given.first + given.count))
    endings = ", ".join(f"{count:,} {ending}" for ending, count in found.endings.most_common())
    print(f"{given.count:,} {what} in {time.monotonic() - began:.0f} s: {endings}; {len(found.faults)} faults")
    print(
        f"slowest: {found.slowest_s:.2f} s of CPU (number {found.slowest}); memory at most {found.resident_mb:.0f} MB"
    )
    return 1 if found.faults else 0


def junk(random: Random, depth: int = 3) -> Any:
    """A JSON value of any kind."""
    kind = random.randrange(12 if depth else 9)
    if kind == 0:
        return random.choice((None, True, False))
    if kind in (1, 2):
        return random.choice((0, 1, -1, 2, 3, 7, 64, 1 << 31, 1 << 63, 1 << 70, -(1 << 40), random.randrange(10**6)))
    if kind == 3:
        return random.choice((0.0, -0.0, 1e308, 1e-308, -1.5, 0.5, 1e30, random.random()))
    if kind == 4:
        return int("9" * random.randrange(1, 2000))
    if kind in (5, 6, 7):
        return words(random)
    if kind == 8:
        return random.choice(("", "nvfp4", "affine", "linear_attention", "yarn", "BF16", "U8", "Qwen2Tokenizer"))
    if kind in (9, 10):
        return {words(random): junk(random, depth - 1) for _ in range(random.randrange(5))}
    return [junk(random, depth - 1) for _ in range(random.randrange(6))]


def words(random: Random) -> str:
    """A text, some of it nothing that a terminal should get."""
    parts = (
        "a", "layers.0.", ".weight", "\x1b[2J", "\x07", "\n", "\u202e", "\ud800", "你", "e\u0301", "../", "/", "\0",
        "'", '"', "{{", "%", "<|im_end|>", " ",
    )  # fmt: skip
    return "".join(random.choice(parts) for _ in range(random.randrange(6))) * random.choice((1, 1, 1, 1, 200))


def change(random: Random, tree: Any) -> None:
    """One change somewhere in a JSON tree: a value of another kind, a name added, taken away or given anew."""
    spot = tree
    while True:
        keys = list(spot) if isinstance(spot, dict) else list(range(len(spot)))
        if not keys:
            return
        key = random.choice(keys)
        below = spot[key]
        if isinstance(below, dict | list) and below and random.random() < 0.75:
            spot = below
            continue
        action = random.randrange(6)
        if action == 0:
            del spot[key]
        elif action == 1 and isinstance(spot, dict):
            spot[words(random)] = spot.pop(key)
        elif action == 2 and isinstance(below, int | float) and not isinstance(below, bool):
            spot[key] = below + random.choice((-1, 1, below, -2 * below))
        elif action == 3:
            spot[key] = spot[random.choice(keys)]
        else:
            spot[key] = junk(random)
        return


def dumped(value: Any) -> bytes:
    """JSON as a file may hold it, also where a text is not well-formed."""
    return json.dumps(value, ensure_ascii=True).encode()


def damage(random: Random, data: bytes) -> bytes:
    """Some bytes written over, put in or left out."""
    damaged = bytearray(data)
    for _ in range(random.randint(1, 4)):
        at = random.randint(0, len(damaged))
        new = random.choice(
            (random.randbytes(random.randrange(4)), b"0", b"-", b'"', b"}", b"{", b"[", b"null", b"\xff")
        )
        damaged[at : at + random.randrange(4)] = new
    return bytes(damaged)
