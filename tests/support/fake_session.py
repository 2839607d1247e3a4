"""A session without a model for the tests of the engine process: the text of each command is the script it plays.

A script is a JSON list of steps, made by the functions below; `Load.path` and `Send.text` carry it. Steps that take
long wait for a pipe on disk or for Stop, never for a clock, so that a test decides what happens first.
"""

import json
import os
import signal
import struct
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from qwen_core.errors import CheckpointError, TextError
from qwen_core.protocol.begun_answer import BegunAnswer
from qwen_core.protocol.counting import PromptCount
from qwen_core.protocol.events import (
    DraftMode,
    Effort,
    GenerationSettings,
    LoadProgress,
    LoadSettings,
    Message,
    ModelSummary,
    StreamEvent,
)
from qwen_core.protocol.pieces import Part
from qwen_core.protocol.probabilities import Probabilities
from qwen_core.protocol.scoring import Score, Spelling, TextScore
from qwen_core.protocol.stats import TurnStats
from qwen_core.protocol.weight_tiers import WeightTiers

FACTORY = "support.fake_session:load_fake"

Stopped = Callable[[], bool]
Step = list[Any]


def script(*steps: Step) -> str:
    return json.dumps(steps)


def say(*tokens: str, part: Part = "answer") -> Step:
    """One event a token; the ids count on from the session's."""
    return ["say", part, tokens]


def prefill(*sizes: int) -> Step:
    """Chunks of a prompt, each asked after Stop first."""
    return ["prefill", sizes]


def progress(*done: int) -> Step:
    """Reports of a load, each with bytes done."""
    return ["progress", done]


def until_stop() -> Step:
    """Tokens (or progress) without end until Stop."""
    return ["until_stop"]


def die(name: str) -> Step:
    """End the process by the named signal."""
    return ["die", name]


def leave(code: int, last_words: str = "") -> Step:
    """End the process with an exit code, saying something on stderr."""
    return ["leave", code, last_words]


def fail(kind: str, message: str) -> Step:
    """Raise: "qwen", "memory" or "bug"."""
    return ["fail", kind, message]


def gate(path: Path) -> Step:
    """Wait, deaf to Stop, until somebody opens the named pipe at `path` for writing."""
    return ["gate", str(path)]


def stick() -> Step:
    """Hours inside one call of the C library, which holds the interpreter's lock."""
    return ["stick"]


def touch(path: Path) -> Step:
    """Tell the test through a named pipe that it waits at, that this step is reached."""
    return ["touch", str(path)]


def shout(text: str) -> Step:
    """Write on stdout and stderr, from Python and past it."""
    return ["shout", text]


def show(what: str) -> Step:
    """A notice with facts about the session or its process: see `facts`."""
    return ["show", what]


def said(text: str, *ids: int, part: Part = "answer", cached: int = 0) -> StreamEvent:
    """The event of a session for the text of some tokens."""
    return StreamEvent(((part, text),) if text else (), ids, cached_tokens=cached)


class FakeSession:
    """What the worker knows of a session (worker.SessionLike), with ids that count up."""

    peak_gb_s: float | None = 400.0

    def __init__(self, name: str, system: str | None, loaded_with: LoadSettings | None = None) -> None:
        self.ids: list[int] = []
        self.conversation_ids: list[int] = []
        self.messages: list[Message] = []
        self.system = system
        self.name = name
        self.settings: GenerationSettings | None = None
        self.loaded_with = loaded_with
        self.watched: list[bool] = []

    def summary(self) -> ModelSummary:
        tiers = WeightTiers(copied=1)
        return ModelSummary(
            self.name, "nowhere", "fake", 1, 1, "none", "float32", 99, 0.0, tiers, peak_bandwidth_gb_s=self.peak_gb_s
        )

    def restore(
        self, messages: Sequence[Message], ids: Sequence[int], system: str | None, known: int | None = None
    ) -> None:
        if system == "refuse":
            raise TextError("this conversation cannot be put back")
        self.messages, self.ids, self.system = list(messages), list(ids), system
        self.conversation_ids = list(ids)

    def count(
        self, text: str, settings: GenerationSettings | None = None, *, stop: Stopped | None = None
    ) -> PromptCount | None:
        if text == "refuse":
            raise TextError("this cannot be rendered")
        return PromptCount(len(self.ids) + len(text), len(self.ids), len(text))

    def score(self, asked: Score, *, stop: Stopped, progress: Callable[[int, int], None]) -> TextScore | None:
        """Each token as likely as its number says; "refuse" is refused, and "wait" never read to its end."""
        if asked.text == "refuse":
            raise TextError("this cannot be read")
        progress(1, len(asked.ids))
        if asked.text == "wait":
            while not stop():
                pass
            return None
        rows = b"".join(struct.pack("<3fIIf", -token, -token, 0.0, 1, token, -token) for token in asked.ids)
        return TextScore(asked.ids, Probabilities(1, rows), len(asked.ids))

    def spell(self, ids: Sequence[int]) -> tuple[Spelling, ...]:
        return tuple(Spelling(token, str(token).encode(), token == 0) for token in ids)

    def watch_experts(self, on: bool) -> None:
        self.watched.append(on)

    def measure_machine(self, stop: Stopped) -> bool:
        self.peak_gb_s = None if stop() else 42.0
        return self.peak_gb_s is not None

    def ways_back(self, effort: Effort | None, *, drop_reasoning: bool) -> tuple[tuple[int, int], ...]:
        return ()

    def draft_refusal(self, mode: DraftMode) -> str:
        return "no MTP layer" if mode == "mtp" else ""

    def close(self) -> None:
        print(f"closed {self.name}", file=sys.stderr)

    def send_stream(
        self, text: str, settings: GenerationSettings | None = None, *, stop: Stopped | None = None
    ) -> Iterator[StreamEvent]:
        stop = stop or (lambda: False)
        self.settings = settings
        cached, answer, generated = len(self.ids), "", 0
        steps = json.loads(text)
        stopped, read = False, True
        try:
            for step in steps:
                if stopped:
                    break
                match step:
                    case ["say", part, tokens]:
                        for token in tokens:
                            answer += token
                            generated += 1
                            yield self._token(part, token, cached)
                            stopped = stop()
                            if stopped:
                                break
                    case ["until_stop"]:
                        while not stop():
                            answer += "."
                            generated += 1
                            yield self._token("answer", ".", cached)
                        stopped = True
                    case ["prefill", sizes]:
                        total, done = sum(sizes), 0
                        yield StreamEvent(to_prefill=total, cached_tokens=cached)
                        for size in sizes:
                            stopped = stopped or stop()
                            if stopped:
                                read = False
                                break
                            done += size
                            self.ids.extend(range(len(self.ids), len(self.ids) + size))
                            yield StreamEvent(prefilled=done, to_prefill=total, cached_tokens=cached)
                    case ["show", what]:
                        yield StreamEvent(notice=facts(what, self))
                    case _:
                        play(step)
            stats = TurnStats(cached, cached, generated, 0, len(self.ids), None, None, None, 1, 1, None, None, 0, 0)
            yield StreamEvent(done=True, finish_reason="cancelled" if stopped else "stop", stats=stats)
        finally:
            # As the real session does: kept when the iterator ends, not before, and only if the prompt was read.
            if read:
                self.messages += [Message("user", text), Message("assistant", answer)]
                self.conversation_ids = list(self.ids)

    def begin_stream(
        self, text: str, begun: BegunAnswer, settings: GenerationSettings | None = None, *, stop: Stopped | None = None
    ) -> Iterator[StreamEvent]:
        """What is given, then the script in `text`."""
        yield StreamEvent((("answer", "given"),), begun.ids, probabilities=begun.probabilities)
        yield from self.send_stream(text, settings, stop=stop)

    def _token(self, part: Part, text: str, cached: int) -> StreamEvent:
        self.ids.append(len(self.ids))
        return said(text, self.ids[-1], part=part, cached=cached)


def load_fake(
    path: str,
    system: str | None = None,
    *,
    dtype: str | None = None,
    settings: LoadSettings | None = None,
    progress: Callable[[LoadProgress], None] | None = None,
    stop: Stopped | None = None,
) -> FakeSession:
    """Plays the script in `path`; a session named after `dtype`."""
    for step in json.loads(path):
        match step:
            case ["progress", done]:
                for count in done:
                    if progress is not None:
                        progress(LoadProgress("weights", count, max(done)))
            case ["until_stop"]:
                count = 0
                while not (stop and stop()):
                    count += 1
                    if progress is not None:
                        progress(LoadProgress("weights", count))
                raise CheckpointError("stopped, says the loader")
            case _:
                play(step)
    return FakeSession(dtype or "fake", system, settings)


def play(step: Step) -> None:
    """The steps that a load and a turn share."""
    match step:
        case ["die", name]:
            os.kill(os.getpid(), signal.Signals[name])
            signal.pause()
        case ["leave", code, last_words]:
            print(last_words, file=sys.stderr)
            os._exit(code)
        case ["fail", "qwen", message]:
            raise CheckpointError(message)
        case ["fail", "memory", _]:
            raise MemoryError
        case ["fail", _, message]:
            raise RuntimeError(message)
        case ["gate", path]:
            Path(path).open("rb").close()
        case ["stick"]:
            ("a" * 8_000_000).rfind("ab" + "a" * 4_000_000)
        case ["touch", path]:
            Path(path).open("wb").close()
        case ["shout", text]:
            print(text)
            print(text, file=sys.stderr)
            os.write(1, f"{text}\n".encode())
            os.write(2, f"{text}\n".encode())
        case _:
            raise ValueError(f"no such step: {step}")


def facts(what: str, session: FakeSession) -> str:
    match what:
        case "modules":
            return " ".join(sys.modules)
        case "session":
            return json.dumps([session.system, [m.content for m in session.messages], session.ids])
        case "watched":
            return str(session.watched)
        case "settings":
            return str(session.settings)
        case "load":
            return str(session.loaded_with)
        case "sigint":
            return str(signal.getsignal(signal.SIGINT))
        case "group":
            return f"{os.getpgid(0)} {os.getsid(0)}"
        case _:
            return str(getattr(os, what)())
