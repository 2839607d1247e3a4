"""Compares several ranks with one on one checkpoint, in turn, each in a process of its own: `bench --hosts`."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from qwen_core.bench.against import MeasuredPair, against_report, compare, own_task, run_side
from qwen_core.bench.against_process import ONE, SEVERAL, Outcome, Task
from qwen_core.bench.request import BenchRequest, Progress, Stop, machine_facts
from qwen_core.bench.workloads import rest, spread_fields
from qwen_core.engine.hosts import Hosts, read_hosts
from qwen_core.errors import QwenError

Run = Callable[[Task, Callable[[], bool]], Outcome]


class _OneRefused(Exception):
    """One rank cannot do what several do."""


def measure_hosts(request: BenchRequest, stop: Stop, progress: Progress, run: Run = run_side) -> dict[str, Any]:
    """The same checkpoint and tokens on the hosts of `request` and on this machine alone.

    Where that cannot hold the model, what several took is all there is, and `refusal` says so.
    """
    hosts = read_hosts(request.load.hosts)
    assert hosts is not None
    several = replace(own_task(request), side=SEVERAL, hosts=request.load.hosts)
    one = replace(several, side=ONE, hosts="")
    taken: list[Outcome] = []

    def noted(task: Task, ends: Callable[[], bool]) -> Outcome:
        try:
            outcome = run(task, ends)
        except QwenError as error:
            if task.side == ONE:
                raise _OneRefused(str(error)) from None
            raise
        if task.side == SEVERAL:
            taken.append(outcome)
        return outcome

    pairs, refusal = list[MeasuredPair](), None
    try:
        pairs = compare(
            *(several, one, request.repeat),
            stop=stop,
            progress=progress,
            rest=lambda: rest(request.cooldown, stop),
            run=noted,
        )
    except _OneRefused as error:
        refusal = str(error)
    return _report(several, one, pairs, taken, request, hosts, refusal, interrupted=stop())


def _report(
    several: Task,
    one: Task,
    pairs: list[MeasuredPair],
    taken: list[Outcome],
    request: BenchRequest,
    hosts: Hosts,
    refusal: str | None,
    *,
    interrupted: bool,
) -> dict[str, Any]:
    from qwen_core.device.backend import default_dtype  # MLX behind it: not before the measuring

    facts = {
        "dtype": request.dtype or default_dtype(),
        "peer_dtype": "the same",
        **machine_facts(request.machine()),
        "hosts": [host.name for host in hosts.ranks],
        "backend": hosts.backend,
        "refusal": refusal,
        "peak_memory_bytes": {
            "own": max((outcome.peak_memory_bytes for outcome in taken), default=None),
            "peer": max((pair.peer.peak_memory_bytes for pair in pairs), default=None),
        },
    }
    report = against_report(several, one, pairs, facts, interrupted=interrupted)
    if refusal is not None:  # what was measured before it, without a peer
        report["runs"] = len(taken)
        for phase, count in (("prefill", len(several.ids)), ("decode", several.tokens)):
            report[phase]["own_tok_s"] = spread_fields(count / getattr(outcome, f"{phase}_s") for outcome in taken)
    return report
