"""The process that renders templates: whatever one does, it ends in time, in bounds, and the next rendering works."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from types import FrameType

import pytest

from qwen_core.text.template_process import RenderError, TemplateProcess
from support.engines import is_gone, wait_until

SHORT_S = 0.2
LONG_S = 600.0
LARGE = "{% set a = 'a' * 1000 %}{% set s = a * 8000 %}{% set t = 'ab' ~ a * 4000 %}"
# Hours each, most inside one call of the C library.
ENDLESS = {
    "loops": "{% for a in range(99999) %}{% for b in range(99999) %}{% for c in range(99999) %}"
    "{% endfor %}{% endfor %}{% endfor %}",
    "rfind": LARGE + "{{ s.rfind(t) }}",
    "rindex": LARGE + "{{ s.rindex(t) }}",
    "rsplit": LARGE + "{{ s.rsplit(t) }}",
    "rpartition": LARGE + "{{ s.rpartition(t) }}",
    "strip": LARGE + "{{ s.strip('b' * 4000000 ~ 'a') }}",
    "trim": LARGE + "{{ s | trim('b' * 4000000 ~ 'a') }}",
    "sum": "{{ ([[0] * 2000] * 99999) | sum(start=[]) | length }}",
    "power": "{% set x = 7 %}{{ x ** (9 ** 8) }}",
    "integer": "{{ (1).__class__ }}{{ ('f' * 10000000) | int(base=16) ** 99 % 7 }}",
    "compiling": "{{ 7 ** (9 ** 8) }}",
}


@pytest.fixture
def hasty() -> Iterator[TemplateProcess]:
    process = TemplateProcess(SHORT_S)
    yield process
    process.close()


@pytest.fixture(scope="module")
def patient() -> Iterator[TemplateProcess]:
    process = TemplateProcess(LONG_S)
    yield process
    process.close()


def pid_of(process: TemplateProcess) -> int:
    assert process._child.pid is not None
    return process._child.pid


@pytest.mark.parametrize("name", ENDLESS)
def test_what_never_ends_is_ended_and_the_next_rendering_works(name: str, hasty: TemplateProcess) -> None:
    with pytest.raises(RenderError, match=r"^did not finish within 0\.2 seconds$"):
        hasty.render(ENDLESS[name], {})
    assert hasty.render("{{ x }}", {"x": name}) == name


def test_one_process_serves_every_template(patient: TemplateProcess) -> None:
    patient.render("{{ x }}", None)
    pid = pid_of(patient)
    sources = [f"{n} {{{{ x }}}}" for n in range(20)]
    assert [patient.render(source, {"x": "y"}) for source in [*sources, *sources]] == [f"{n} y" for n in range(20)] * 2
    with pytest.raises(RenderError, match="is not a template: line 1"):
        patient.render("{% for %}", None)
    assert pid_of(patient) == pid


def test_each_thread_gets_its_own_answer(patient: TemplateProcess) -> None:
    def render(number: int) -> str:
        return patient.render("{{ x * y }}", {"x": "é", "y": number})

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(render, range(100))) == ["é" * number for number in range(100)]


def test_a_process_that_was_ended_from_outside_is_replaced(patient: TemplateProcess) -> None:
    patient.render("", None)
    pid = pid_of(patient)
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: is_gone(pid), "the end of the process")
    assert patient.render("{{ x }}", {"x": 1}) == "1"
    patient.close()
    assert patient.render("{{ x }}", {"x": 2}) == "2"


def test_an_interruption_is_taken_at_once(patient: TemplateProcess) -> None:
    """The alarm stands for ctrl+c; the handler raises as that of SIGINT does."""

    def interrupt(_signal: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    patient.render("", None)
    pid = pid_of(patient)
    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, SHORT_S)
    try:
        with pytest.raises(KeyboardInterrupt):
            patient.render(ENDLESS["rfind"], {})
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert is_gone(pid)
    assert patient.render("{{ x }}", {"x": 3}) == "3"


def test_limits_hold_where_the_parent_ignores_or_blocks_their_signals() -> None:
    program = f"""
import signal
from qwen_core.text.template_process import RenderError, TemplateProcess
signal.signal(signal.SIGALRM, signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
process = TemplateProcess({SHORT_S})
try:
    process.render({ENDLESS["loops"]!r}, {{}})
except RenderError as error:
    print(error)
"""
    assert run(program) == f"did not finish within {SHORT_S} seconds\n"


def test_a_fork_has_a_process_of_its_own() -> None:
    program = """
import os
from qwen_core import ChatTemplate
template = ChatTemplate("{{ messages[0].content }}")
pid = os.fork()
rendered = [template.render([{"role": "user", "content": f"{n} {pid == 0}"}]) for n in range(20)]
assert rendered == [f"{n} {pid == 0}" for n in range(20)], rendered
if pid:
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""
    assert run(program, "-W", "ignore") == "0\n"


@pytest.mark.parametrize("end", ["", "raise SystemExit(0)", "os._exit(0)"])
def test_no_process_is_left_and_nothing_is_said(end: str) -> None:
    program = f"""
import os, sys
from qwen_core import ChatTemplate
from qwen_core.text.template_process import TEMPLATE_PROCESS
assert ChatTemplate("{{{{ x }}}}").render([], x=1) == "1"
print(TEMPLATE_PROCESS._child.pid, flush=True)
assert not any(name.partition(".")[0] in ("mlx", "jinja2") for name in sys.modules)
{end}
"""
    pid = int(run(program))
    wait_until(lambda: is_gone(pid), "the end of the process")


def test_no_process_is_left_when_its_parent_is_killed() -> None:
    program = f"""
import threading
from qwen_core.text.template_process import TemplateProcess
process = TemplateProcess({LONG_S})
process.render("", None)
print(process._child.pid, flush=True)
process.render({ENDLESS["rfind"]!r}, {{}})
"""
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        wait_until(lambda: is_busy(pid), "the rendering")
        parent.kill()
    wait_until(lambda: is_gone(pid), "the end of the process")


def is_busy(pid: int) -> bool:
    """Whether a process computes; where that cannot be read, a busy one and an idle one are alike to the test."""
    done = subprocess.run(["ps", "-o", "state=", "-p", str(pid)], capture_output=True, text=True)
    return done.returncode != 0 or done.stdout.startswith("R")


def run(program: str, *options: str) -> str:
    command = [sys.executable, "-X", "dev", *options, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout
