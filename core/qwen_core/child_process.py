"""Processes of our own: a fresh interpreter at the other end of a pipe, which the kernel ends when its parent dies.

They are started by `subprocess` and not by `multiprocessing.Process`, which cannot start one from within a running
Textual app (its resource tracker passes on `sys.stderr.fileno()`, there -1), would import the caller's main module and
modules from the working directory, here often a downloaded model, and would leave the terminal to the child until the
child's own code redirects it.

A child's standard input is a pipe that the parent holds open and never writes to. When the parent is gone, the kernel
closes it and sends SIGIO, whose handler is `_exit` itself: no interpreter, lock or thread that could be busy takes part
in it. (Linux's parent-death signal comes already when the thread ends that started the child, and macOS has none.)
"""

import ctypes
import fcntl
import os
import select
import signal
import subprocess
import sys
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path


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
    _end_with_parent()
    descriptor = int(sys.argv[1])
    os.set_inheritable(descriptor, False)  # what this process starts must not keep the pipe open when it dies
    return Connection(descriptor)


def _end_with_parent() -> None:
    life = os.dup(0)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())  # the parent's, which may hold back what is to end this process
    libc = ctypes.CDLL(None)
    libc.signal(signal.SIGIO, libc._exit)
    fcntl.fcntl(life, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(life, fcntl.F_SETFL, fcntl.fcntl(life, fcntl.F_GETFL) | os.O_ASYNC)
    if select.select([life], [], [], 0)[0]:  # it was closed before the kernel was asked to tell
        os._exit(0)
