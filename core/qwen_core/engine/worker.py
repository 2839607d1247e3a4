"""The engine process: its main thread loads, prefills, decodes and closes; a small one reads commands.

Everything of MLX belongs to the thread that made it, so nothing of it leaves the main thread, and it is imported only
once that thread loads a model: by then the pipe is being read. Errors that a person can act on become events; anything
else becomes one line, with its traceback on stderr, which engine.py has pointed at the log.
"""

import gc
import importlib
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, TypeVar

from qwen_core.child_process import connect_to_parent
from qwen_core.engine.command_queue import Inbox, Job, read_commands
from qwen_core.engine.event_batches import Clock, Throttle, TurnBatcher
from qwen_core.engine.log import NOTE, bound_log
from qwen_core.engine.ranks import leave_to_watch
from qwen_core.errors import CapacityError, EngineError, QwenError, quote
from qwen_core.protocol.begun_answer import BegunAnswer
from qwen_core.protocol.counting import Count, Counted, PromptCount
from qwen_core.protocol.events import (
    Continue,
    DraftMode,
    Effort,
    Event,
    GenerationSettings,
    Load,
    Loaded,
    LoadFailed,
    LoadProgress,
    MachineMeasured,
    Message,
    ModelSummary,
    Notice,
    Restore,
    SaveState,
    Send,
    StateSaved,
    StreamEvent,
    TurnDone,
    TurnFailed,
)
from qwen_core.protocol.scoring import Score, Scored, ScoreFailed, ScoreProgress, Spell, Spelled, Spelling, TextScore
from qwen_core.settings.paths import engine_log_path

IDLE_S = 2.0
Stopped = Callable[[], bool]
Result = TypeVar("Result")


class SessionLike(Protocol):
    """What the worker asks of a session; qwen_core.session.session.Session is one."""

    @property
    def conversation_ids(self) -> Sequence[int]: ...
    @property
    def messages(self) -> Sequence[Message]: ...
    def summary(self) -> ModelSummary: ...
    def send_stream(self, text: str, settings: GenerationSettings, *, stop: Stopped) -> Iterator[StreamEvent]: ...
    def begin_stream(
        self, text: str, begun: BegunAnswer, settings: GenerationSettings, *, stop: Stopped
    ) -> Iterator[StreamEvent]: ...
    def continue_stream(self, settings: GenerationSettings, *, stop: Stopped) -> Iterator[StreamEvent]: ...
    def count(self, text: str, settings: GenerationSettings, *, stop: Stopped) -> PromptCount | None: ...
    def score(self, asked: Score, *, stop: Stopped, progress: Callable[[int, int], None]) -> TextScore | None: ...
    def spell(self, ids: Sequence[int]) -> tuple[Spelling, ...]: ...
    def restore(
        self, messages: Sequence[Message], ids: Sequence[int], system: str | None, known: int | None
    ) -> None: ...
    def save_state(self, path: str) -> StateSaved: ...
    def load_state(self, path: str) -> int: ...
    def draft_refusal(self, mode: DraftMode) -> str: ...
    def watch_experts(self, on: bool) -> None: ...
    def measure_machine(self, stop: Stopped) -> bool: ...
    def ways_back(self, effort: Effort | None, *, drop_reasoning: bool) -> tuple[tuple[int, int], ...]: ...
    def close(self) -> None: ...


@dataclass(frozen=True)
class Failure:
    """Why something could not be done, as one line for people; `dtypes`: compute types in which it could."""

    message: str
    dtypes: tuple[str, ...] = ()


class Worker:
    """Does the jobs of `inbox` one after the other, until there are no more, and tells `send` what happened."""

    def __init__(self, inbox: Inbox, send: Callable[[Event], None], factory: str, clock: Clock) -> None:
        self._inbox = inbox
        self._send = send
        self._factory = factory
        self._told = ""  # about drafts
        self._clock = clock
        self._session: SessionLike | None = None
        self._unmeasured: SessionLike | None = None  # on a machine whose bandwidth is not known
        self._watching = False  # what the session was told of that

    def run(self) -> None:
        while (job := self._next()) is not None:
            bound_log(sys.stderr.fileno())
            match job.command:
                case Load():
                    self._load(job.command, job)
                case Restore():
                    self._restore(job.command)
                case SaveState():
                    self._save_state(job.command)
                case Count():
                    self._count(job.command)
                case Score():
                    self._score(job.command, job)
                case Spell():
                    self._spell(job.command)
                case Send() | Continue():
                    self._answer(job.command, job)

    def _next(self) -> Job | None:
        """The next job; where none comes for a while, the machine is measured meanwhile, once."""
        stop = self._inbox.has_work
        if (session := self._unmeasured) is not None and not self._inbox.has_work(IDLE_S):
            if self._guard("measuring the memory's bandwidth", lambda: session.measure_machine(stop)) is True:
                self._send(MachineMeasured(session.summary()))
            if not stop():  # else it was cut short, and is tried again
                self._unmeasured = None
        return self._inbox.next()

    def close(self) -> None:
        """Let go of the model, in the thread that loaded it."""
        session, self._session = self._session, None
        self._unmeasured = None
        self._watching = False
        if session is not None:
            session.close()
        del session
        # Arrays caught in reference cycles are gigabytes; MLX keeps freed buffers for the next model, maybe too small.
        gc.collect()
        if "mlx.core" in sys.modules:
            import mlx.core as mx

            mx.clear_cache()

    def _load(self, command: Load, job: Job) -> None:
        self._guard("unloading the model", self.close)
        progress: Throttle[LoadProgress] = Throttle(self._clock)

        def report(latest: LoadProgress) -> None:
            self._send_all(progress.push(latest))

        def load() -> ModelSummary:
            if job.stop.is_set():
                raise EngineError("loading was stopped")
            self._session = _resolve(self._factory)(
                command.path,
                command.system,
                dtype=command.dtype,
                settings=command.settings,
                progress=report,
                stop=job.stop.is_set,
            )
            return self._session.summary()

        result = self._guard("loading the model", load)
        self._send_all(progress.flush())
        if isinstance(result, Failure):
            self._guard("unloading the model", self.close)
            stopped = job.stop.is_set()
            self._send(LoadFailed("loading was stopped") if stopped else LoadFailed(result.message, result.dtypes))
        else:
            for fault in result.kernel_faults:
                sys.stderr.write(f"{NOTE}{fault}\n")  # which is the log
            self._send(Loaded(result))
            self._unmeasured = self._session if result.peak_bandwidth_gb_s is None else None
            self._tell_of_drafts(command.settings.draft)

    def _tell_of_drafts(self, mode: DraftMode) -> bool:
        """Say once what keeps the MTP layer from drafting in this mode, if anything does; whether it does."""
        if self._session is None or not (line := self._session.draft_refusal(mode)):
            return False
        if line != self._told:
            self._told = line
            self._send(Notice(f"{line}. Answers come without it."))
        return True

    def _restore(self, command: Restore) -> None:
        session = self._session
        if session is None:
            return  # The load before it failed, which has been told.
        result = self._guard(
            "restoring the conversation",
            lambda: session.restore(command.messages, command.ids, command.system, command.known),
        )
        if isinstance(result, Failure):
            self._send(Notice(result.message))
        elif command.state_path:
            loaded = self._guard("reading the saved state", lambda: session.load_state(command.state_path))
            if isinstance(loaded, Failure):
                self._send(Notice(f"{loaded.message}. The conversation is prefilled instead."))

    def _save_state(self, command: SaveState) -> None:
        session = self._session
        if session is None:
            self._send(Notice("no model is loaded, so there is no state to save"))
            return
        result = self._guard("saving the state", lambda: session.save_state(command.path))
        self._send(Notice(result.message) if isinstance(result, Failure) else result)

    def _count(self, command: Count) -> None:
        session, waited_for = self._session, self._inbox.has_work
        counted = None
        if session is not None:
            counted = self._guard("counting", lambda: session.count(command.text, command.settings, stop=waited_for))
        self._send(Counted(command.number, None if isinstance(counted, Failure) else counted))

    def _score(self, command: Score, job: Job) -> None:
        session = self._session
        reports: Throttle[ScoreProgress] = Throttle(self._clock)

        def report(done: int, total: int) -> None:
            self._send_all(reports.push(ScoreProgress(command.number, done, total)))

        def score() -> TextScore:
            if session is None:
                raise EngineError("no model is loaded; load one first")
            found = session.score(command, stop=job.stop.is_set, progress=report)
            if found is None:
                raise EngineError("it was stopped before all tokens were read")
            return found

        result = self._guard("scoring", score)
        if isinstance(result, Failure):
            self._send(ScoreFailed(command.number, result.message))
        else:
            self._send(Scored(command.number, result))

    def _spell(self, command: Spell) -> None:
        self._send(Spelled(command.number, self._session.spell(command.ids) if self._session is not None else ()))

    def _answer(self, command: Send | Continue, job: Job) -> None:
        batcher = TurnBatcher(command.turn, self._clock)
        result = self._guard("answering", lambda: self._stream(command, job, batcher))
        self._send_all(batcher.flush())
        self._send(TurnFailed(command.turn, result.message) if isinstance(result, Failure) else result)

    def _stream(self, command: Send | Continue, job: Job, batcher: TurnBatcher) -> TurnDone:
        session = self._session
        if session is None:
            raise EngineError("no model is loaded; load one first")
        known = len(session.messages)
        settings = command.settings
        if settings.draft == "mtp" and self._tell_of_drafts("mtp"):
            settings = replace(settings, draft="auto")
        reason, stats = None, None
        # To the iterator's very end, not to its last event: only then has the session kept the answer.
        if isinstance(command, Continue):
            events = session.continue_stream(settings, stop=job.stop.is_set)
        elif command.begun is not None:
            events = session.begin_stream(command.text, command.begun, settings, stop=job.stop.is_set)
        else:
            events = session.send_stream(command.text, settings, stop=job.stop.is_set)
        self._look(session)
        for event in events:
            self._send_all(batcher.push(event))
            self._look(session)
            reason, stats = event.finish_reason, event.stats
        if reason is None or stats is None:
            raise RuntimeError("the stream ended without its last event")
        if job.stop.since is not None:
            stats = replace(stats, stop_s=max(0.0, time.monotonic() - job.stop.since))
        # A turn that ended before its question was read leaves no message behind, and no ids that a Restore could use.
        kept = isinstance(command, Continue) or len(session.messages) > known
        said = session.messages[-1] if kept else Message("assistant", "")
        ways_back = session.ways_back(settings.effort, drop_reasoning=settings.drop_reasoning)
        return TurnDone(command.turn, reason, said, tuple(session.conversation_ids), stats, ways_back)

    def _look(self, session: SessionLike) -> None:
        """Tell the session if somebody began, or ceased, to look at its experts; say what the lens asks meanwhile."""
        if self._watching != self._inbox.watching:
            self._watching = self._inbox.watching
            session.watch_experts(self._watching)
        if self._inbox.has_work():
            for spell in self._inbox.take_spells():
                self._spell(spell)

    def _send_all(self, events: Iterable[Event]) -> None:
        for event in events:
            self._send(event)

    def _guard(self, doing: str, action: Callable[[], Result]) -> Result | Failure:
        """What `action` returns, or why it could not; the process lives on either way."""
        try:
            return action()
        except QwenError as error:
            return Failure(str(error), error.dtypes if isinstance(error, CapacityError) else ())
        except MemoryError:
            traceback.print_exc()
            return Failure(
                str(CapacityError(f"memory ran out while {doing}; close other programs or take a smaller model"))
            )
        except Exception as error:
            leave_to_watch(error)
            traceback.print_exc()
            said = f"{type(error).__name__}: {quote(error)}"
            return Failure(str(EngineError(f"internal error while {doing}: {said}; see {quote(engine_log_path())}")))


def _resolve(factory: str) -> Callable[..., SessionLike]:
    """The callable that "module:function" names."""
    module, _, name = factory.partition(":")
    return getattr(importlib.import_module(module), name)


def main() -> None:
    """The process: `sys.argv` is the number of the pipe's descriptor and the factory, as engine.py gives them."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # ctrl+c is the app's to handle
    connection = connect_to_parent()
    inbox = Inbox()
    threading.Thread(target=read_commands, args=(connection, inbox), name="commands", daemon=True).start()
    worker = Worker(inbox, connection.send, sys.argv[2], time.monotonic)
    try:
        worker.run()
    finally:
        worker.close()
        if "mlx.core" in sys.modules:
            import mlx.core as mx

            mx.clear_streams()  # without it the process may abort while it exits
