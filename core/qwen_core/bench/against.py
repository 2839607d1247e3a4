"""Compares this engine with another runtime on one checkpoint: fresh processes, in turn, ratios pair by pair.

No MLX in this process: each measurement is against_process.py's, so that neither side inherits the other's memory,
caches or kernels.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.util import find_spec
from typing import Any

from qwen_core.bench.against_process import MLX_LM, OWN, OWN_PLAIN, Outcome, Task
from qwen_core.bench.request import BenchRequest, Progress, Stop, machine_facts
from qwen_core.bench.workloads import Peer, alternating, check_context, common_tokens, prompt_ids, rest, spread
from qwen_core.errors import QwenError, quote

_BOOT = "from qwen_core.bench.against_process import main; main()"
_POLL_S = 0.2


@dataclass(frozen=True)
class MeasuredPair:
    """One measurement of each side, directly after one another."""

    own: Outcome
    peer: Outcome

    @property
    def same_tokens(self) -> int:
        """How many of the first tokens both sides drew alike."""
        return common_tokens(self.own.tokens, self.peer.tokens)


class Interrupted(Exception):
    """The person wants no more of it."""


def require_peer(find: Callable[[str], object] = find_spec) -> None:
    """Raise QwenError where mlx-lm is not installed."""
    if find("mlx_lm") is None:
        raise QwenError("mlx-lm is not installed here: pip install mlx-lm, or leave --against out")


def run_side(task: Task, stop: Callable[[], bool], environment: Mapping[str, str] | None = None) -> Outcome:
    """One side in a process of its own. Raises QwenError with its last line when it fails, Interrupted on a stop.

    `environment`: the process's, by default this one's.
    """
    command = [sys.executable, "-P", "-c", _BOOT, json.dumps(asdict(task))]
    life, held = os.pipe()  # the other process ends when `held` is closed, also by the end of this one
    # A session of its own: ctrl+c reaches this process alone, which then ends the other.
    process = subprocess.Popen(
        command,
        stdin=life,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        start_new_session=True,
        env=environment,
    )
    os.close(life)
    try:
        while True:
            try:
                out, err = process.communicate(timeout=_POLL_S)
                break
            except subprocess.TimeoutExpired:
                if stop():
                    raise Interrupted from None
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()
        os.close(held)
    lines = out.splitlines()
    if process.returncode != 0 or not lines:
        said = (err.strip().splitlines() or [f"exit code {process.returncode}"])[-1]
        raise QwenError(f"{task.side} could not be measured: {quote(said)}")
    fields = json.loads(lines[-1])
    # Tuples are lists in JSON, and only they.
    plain: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in fields.items()}
    return Outcome(**plain)


def compare(
    task: Task,
    peer: Task,
    repeat: int,
    *,
    stop: Callable[[], bool] = lambda: False,
    progress: Callable[[str, int, int], None] = lambda label, done, total: None,
    rest: Callable[[], None] = lambda: None,
    run: Callable[[Task, Callable[[], bool]], Outcome] = run_side,
) -> list[MeasuredPair]:
    """`repeat` pairs of `task` (this engine) and `peer`, one after the other; fewer where it was stopped."""
    pairs: list[MeasuredPair] = []
    outcomes: dict[str, Outcome] = {}
    for place, side in enumerate(alternating((task, peer), repeat)):
        if stop():
            return pairs
        progress(side.side, place, 2 * repeat)
        if place:
            rest()
            if stop():
                return pairs
        try:
            outcomes[side.side] = run(side, stop)
        except Interrupted:
            return pairs
        if len(outcomes) == 2:
            pairs.append(MeasuredPair(outcomes.pop(task.side), outcomes.pop(peer.side)))
    progress("done", 2 * repeat, 2 * repeat)
    return pairs


def peer_task(task: Task, *, float32: bool) -> Task:
    """The same for mlx-lm, with its parameters as they are stored, or in float32."""
    return replace(task, side=MLX_LM, float32=float32, dtype=None)


def plain_task(task: Task) -> Task:
    """The same without kernels of our own."""
    return replace(task, side=OWN_PLAIN, kernels=False)


def require_kernels() -> None:
    """Raise QwenError where kernels of our own cannot run."""
    from qwen_core.device.backend import is_metal

    if not is_metal():
        raise QwenError(
            "there are no kernels of this program's own to compare here: they need Metal, on a Mac with Apple silicon"
        )


def against_report(
    task: Task, peer: Task, pairs: Sequence[MeasuredPair], facts: dict[str, Any], *, interrupted: bool
) -> dict[str, Any]:
    """Everything that `bench --against --json` prints. Ratios are this engine's rate over the peer's, above 1: faster.

    `cpu_ratio` compares the CPU time of the two processes: on a CPU it is hardly touched by what else runs there, on a
    GPU it says nothing of the model.
    """
    prompt, tokens = len(task.ids), task.tokens

    def phase(name: str, count: int) -> dict[str, Any]:
        own = [getattr(pair.own, f"{name}_s") for pair in pairs]
        theirs = [getattr(pair.peer, f"{name}_s") for pair in pairs]
        ratio = spread([b / a for a, b in zip(own, theirs, strict=True)])
        cpu = spread([getattr(p.peer, f"{name}_cpu_s") / max(getattr(p.own, f"{name}_cpu_s"), 1e-9) for p in pairs])
        own_rate, peer_rate = spread([count / s for s in own]), spread([count / s for s in theirs])
        return {
            "tokens": count,
            "own_tok_s": own_rate.as_dict() if own_rate else None,
            "peer_tok_s": peer_rate.as_dict() if peer_rate else None,
            "ratio": ratio.as_dict() if ratio else None,
            "cpu_ratio": cpu.as_dict() if cpu else None,
        }

    return {
        "kind": "against",
        "path": task.path,
        "peer": peer.side + (" float32" if peer.float32 else ""),
        "peer_version": pairs[0].peer.version if pairs else None,
        **facts,
        "kernels": {
            "used": list(pairs[0].own.kernels) if pairs else [],
            "faults": list(pairs[0].own.kernel_faults) if pairs else [],
        },
        "pairs": len(pairs),
        "prefill": phase("prefill", prompt),
        "decode": phase("decode", tokens),
        "same_tokens": min((pair.same_tokens for pair in pairs), default=None),
        "of_tokens": tokens + 1,
        "interrupted": interrupted,
    }


def own_task(request: BenchRequest) -> Task:
    """What `request` has this engine do: one prefill and the decode after it. Raises CapacityError where that is more
    than the context."""
    checkpoint = request.checkpoint()
    sizes = {workload.kind: workload for workload in request.workloads}
    prompt = sizes["prefill"]
    check_context(prompt, 0, checkpoint.config.max_position_embeddings)
    check_context(sizes["decode"], prompt.tokens, checkpoint.config.max_position_embeddings)
    return Task(
        side=OWN,
        path=str(checkpoint.path),
        ids=tuple(prompt_ids(prompt.tokens, checkpoint.config.vocab_size)),
        tokens=sizes["decode"].tokens,
        dtype=request.dtype,
        kernels=request.load.kernels,
    )


def measure_against(request: BenchRequest, stop: Stop, progress: Progress, who: Peer = "mlx-lm") -> dict[str, Any]:
    """The same checkpoint and tokens here and in mlx-lm; or here with kernels of our own and without them."""
    if who == "self":
        require_kernels()
    else:
        require_peer()
    task = own_task(request)
    if who == "self":
        task = replace(task, kernels=True)
    peer = peer_task(task, float32=request.float32) if who == "mlx-lm" else plain_task(task)
    pairs = compare(task, peer, request.repeat, stop=stop, progress=progress, rest=lambda: rest(request.cooldown, stop))
    from qwen_core.device.backend import default_dtype  # MLX behind it: not before the measuring

    facts = {
        "dtype": request.dtype or default_dtype(),
        "peer_dtype": "float32" if request.float32 else "as stored" if who == "mlx-lm" else "the same",
        **machine_facts(request.machine()),
    }
    return against_report(task, peer, pairs, facts, interrupted=stop())
