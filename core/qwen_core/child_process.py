"""Processes of our own: a fresh interpreter at the other end of a pipe, which the kernel ends when its parent dies.

They are started by `subprocess` and not by `multiprocessing.Process`, which cannot start one from within a running
Textual app (its resource tracker passes on `sys.stderr.fileno()`, there -1), would import the caller's main module and
modules from the working directory, here often a downloaded model, and would leave the terminal to the child until the
child's own code redirects it.

A child's standard input is a pipe that the parent holds open and never writes to. When the parent is gone, the kernel
closes it and sends a signal: no interpreter, lock or thread that could be busy takes part in it. On Linux it is
SIGKILL, which ends a stopped process too; elsewhere SIGIO, whose handler is `_exit` itself. (Linux's parent-death
signal comes already when the thread ends that started the child, and macOS has none.)

A `KeptChild` does what nothing inside a process can end: one long call of the C library, or one that fills the memory.
"""

import ctypes
import fcntl
import os
import resource
import select
import signal
import subprocess
import sys
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path

MEMORY_EXIT = 3
"""What a child ends with that has reached the limit of its memory and can still tell."""
_LOOK_S = 0.005


def start_child(boot: str, *arguments: str, output: int) -> tuple[Connection, subprocess.Popen[bytes]]:
    """Run the program `boot`, which begins with `connect_to_parent`; `arguments` are its `sys.argv[2:]`.

    `output` takes its stdout and stderr: a descriptor, or subprocess.DEVNULL. The process ends when the Popen object or
    its `stdin` goes. Raises OSError if none can be started.
    """
    ours, theirs = Pipe()
    # -P: a module in the working directory is none of ours. Its own session: ctrl+c in the terminal is the parent's.
    command = [sys.executable, "-P", "-u", "-X", "faulthandler", "-c", boot, str(theirs.fileno()), *arguments]
    home = str(Path(__file__).parent.parent)
    path = os.pathsep.join(dict.fromkeys([*filter(None, sys.path), home]))
    try:
        popen = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output,
            pass_fds=(theirs.fileno(),),
            env={**os.environ, "PYTHONPATH": path},
            start_new_session=True,
        )
    except OSError:
        ours.close()
        raise
    finally:
        theirs.close()
    return ours, popen


def connect_to_parent() -> Connection:
    """The child's end of the pipe. From here on this process ends with its parent, whatever it is doing."""
    end_with_parent()
    descriptor = int(sys.argv[1])
    os.set_inheritable(descriptor, False)  # what this process starts must not keep the pipe open when it dies
    return Connection(descriptor)


def limit_memory(memory_bytes: int) -> None:
    """In a child: no core file, and no more address space than this. (On macOS, which has no limit of it, its KeptChild
    watches.)
    """
    _lower(resource.RLIMIT_CORE, 0)
    if sys.platform != "darwin":
        _lower(resource.RLIMIT_AS, memory_bytes)


class ChildEnded(Exception):
    """A child ended instead of answering; `exit_code` as `Popen.returncode` has it."""

    def __init__(self, exit_code: int) -> None:
        super().__init__(f"the process ended with code {exit_code}")
        self.exit_code = exit_code


class KeptChild:
    """A child that answers requests: started at the first, kept, started anew where it has ended.

    One request at a time: callers wait for each other. `boot` and `arguments` are those of `start_child`.
    """

    def __init__(self, boot: str, *arguments: str, memory_bytes: int) -> None:
        self._command = (boot, *arguments)
        self._memory_bytes = memory_bytes
        self._running: tuple[Connection, subprocess.Popen[bytes]] | None = None

    @property
    def pid(self) -> int | None:
        """Of the process, if there is one."""
        return self._running and self._running[1].pid

    def start(self) -> tuple[Connection, subprocess.Popen[bytes]]:
        """The process and the pipe to it, which may have to be started. Raises OSError if none can be."""
        if self._running is None or self._running[1].poll() is not None:
            self.end()
            self._running = start_child(*self._command, output=subprocess.DEVNULL)
        return self._running

    def ask(self, request: bytes) -> bytes:
        """What the child answers. Raises OSError if none can be started, ChildEnded if it ends meanwhile."""
        connection, popen = self.start()
        try:
            connection.send_bytes(request)
            while sys.platform == "darwin" and not connection.poll(_LOOK_S):
                if _footprint_bytes(popen.pid) > self._memory_bytes:
                    popen.kill()
            return connection.recv_bytes()
        except (EOFError, OSError):
            raise ChildEnded(self.end()) from None
        except BaseException:  # ctrl+c: an answer that comes now would be taken for the next one
            self.end()
            raise

    def kill(self) -> None:
        """End the process while another thread may be in `ask`, which then raises ChildEnded."""
        if (running := self._running) is not None:
            running[1].kill()

    def end(self) -> int:
        """End the process, if there is one. Its exit code is its own where it has ended already."""
        if self._running is None:
            return 0
        connection, popen = self._running
        self._running = None
        connection.close()
        with popen:
            popen.kill()
        return popen.returncode


def _lower(kind: int, limit: int) -> None:
    """Lower a limit of the kernel, which may be lower already."""
    _, hard = resource.getrlimit(kind)
    if hard == resource.RLIM_INFINITY or hard > limit:
        resource.setrlimit(kind, (limit, limit))


def _footprint_bytes(pid: int) -> int:
    """Memory of another process on macOS, which does not hold a process to a limit of its own."""
    usage = (ctypes.c_uint64 * 12)()  # rusage_info_v0, in 8 bytes each
    ctypes.CDLL(None).proc_pid_rusage(pid, 0, usage)
    return usage[9]  # ri_phys_footprint


def end_with_parent() -> None:
    """In a child whose standard input is a pipe that its parent holds open: end when that is closed."""
    life = os.dup(0)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())  # the parent's, which may hold back what is to end this process
    if sys.platform == "linux":
        fcntl.fcntl(life, fcntl.F_SETSIG, signal.SIGKILL)
    else:
        libc = ctypes.CDLL(None)
        libc.signal(signal.SIGIO, libc._exit)
    fcntl.fcntl(life, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(life, fcntl.F_SETFL, fcntl.fcntl(life, fcntl.F_GETFL) | os.O_ASYNC)
    if select.select([life], [], [], 0)[0]:  # it was closed before the kernel was asked to tell
        os._exit(0)
