"""What Metal would launch for a graph of MLX, told from the graph alone: nothing of it is computed, no GPU is needed.

`recorded_kernels` puts stand-ins in the place of `mx.fast`, whose functions become eight operations each where the
device is a CPU. `steps_of` then reads the graph behind some arrays, `launches` counts its kernels and `waits` how often
one has to wait for those before it. Sources: MLX 0.32.4, mlx/transforms.cpp (`eval_impl`: in which order a graph is
evaluated), mlx/backend/metal/device.cpp (`maybeInsertBarrier`: when a kernel waits) and the `eval_gpu` of each
primitive. Copies that a kernel makes of an operand which does not lie contiguous are not in a graph and not counted.
"""

import io
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, ClassVar
from unittest import mock

import mlx.core as mx

# Views, and work of the host.
_NO_KERNEL = frozenset(
    (
        "Reshape",
        "Flatten",
        "Unflatten",
        "Transpose",
        "Slice",
        "Split",
        "Squeeze",
        "ExpandDims",
        "Broadcast",
        "BroadcastAxes",
        "AsStrided",
        "View",
        "Copy",
        "Depends",
        "StopGradient",
        "NumberOfElements",
    )
)
# Their first result is filled, for a scatter with what is scattered into, before the kernel itself.
_PREPARED = frozenset(("Pad", "Scatter", "mx.fast.gated_delta_update"))
_WIDTH = 20
"""Arrays that MLX's walk through a graph keeps open at once: mlx/transforms.cpp, `eval_impl`."""


@dataclass(frozen=True)
class Kernel:
    """One launch: the arrays it reads and writes."""

    reads: Sequence[str]
    writes: Sequence[str]

    def behind(self, names: Sequence[str]) -> "Kernel":
        """The same, which also needs what is in `names`."""
        return Kernel([*self.reads, *names], self.writes)


@dataclass
class Step:
    """One primitive of a graph, the arrays it reads and those it gives, by name."""

    name: str
    reads: list[str] = field(default_factory=list)
    gives: list[str] = field(default_factory=list)

    @property
    def kernels(self) -> list["Kernel"]:
        """The kernels that Metal launches for it, in order; none for a view."""
        if self.name in _NO_KERNEL:
            return []
        whole = Kernel(self.reads, self.gives)
        if self.name == "Concatenate":
            return [Kernel([part], self.gives) for part in self.reads]
        if self.name == "DynamicSliceUpdate":
            _, update, begin = self.reads
            offset = f"offset of {self.gives[0]}"
            return [Kernel([begin], [offset]), Kernel([update, offset], self.gives)]
        if self.name in _PREPARED:
            begins = self.gives[:1]
            return [Kernel(self.reads[:1] if self.name == "Scatter" else [], begins), whole.behind(begins)]
        return [whole]

    @property
    def kind(self) -> str:
        """Its name for people: what was joined by `mx.compile` under one name."""
        return "joined elementwise" if self.name.startswith("Compiled") else self.name


class Recorder:
    """Stands for `mx.fast`: what it is asked for becomes a step with new arrays of the right shape and type.

    Such a step is an `mx.depends` of these arrays on what the kernel reads, and on `tag` as often as its name's number
    says. All have the same tag and numbers: what `mx.compile` recorded under one is replayed under another.
    """

    names: ClassVar[list[str]] = []
    tag = mx.array([0])

    def step(self, name: str, reads: Sequence[mx.array | None], like: Sequence[tuple[Any, mx.Dtype]]) -> list[mx.array]:
        """The arrays that a kernel gives which reads `reads`: new ones, of a shape and type each."""
        if name not in self.names:
            self.names.append(name)
        gives = [mx.zeros(tuple(shape), dtype) for shape, dtype in like]
        mx.eval(gives)
        tags = [self.tag] * (1 + self.names.index(name))
        return mx.depends(gives, [array for array in reads if array is not None] + tags)

    def rms_norm(self, x: mx.array, weight: mx.array | None, eps: float, **_: object) -> mx.array:
        return self.step("mx.fast.rms_norm", [x, weight], [(x.shape, x.dtype)])[0]

    def rope(self, x: mx.array, dims: int, *, freqs: mx.array | None = None, **_: object) -> mx.array:
        return self.step("mx.fast.rope", [x, freqs], [(x.shape, x.dtype)])[0]

    def scaled_dot_product_attention(self, q: mx.array, k: mx.array, v: mx.array, **_: object) -> mx.array:
        return self.step("mx.fast.scaled_dot_product_attention", [q, k, v], [(q.shape, q.dtype)])[0]

    def gated_delta_update(
        self,
        q: mx.array,
        k: mx.array,
        v: mx.array,
        gate: mx.array,
        beta: mx.array,
        state: mx.array,
        name: str = "mx.fast.gated_delta_update",
    ) -> list[mx.array]:
        return self.step(name, [q, k, v, gate, beta, state], [(v.shape, v.dtype), (state.shape, state.dtype)])


@contextmanager
def recorded_kernels() -> Iterator[Recorder]:
    """`mx.fast` replaced by a `Recorder`."""
    recorder = Recorder()
    names = ("rms_norm", "rope", "scaled_dot_product_attention", "gated_delta_update")
    with mock.patch.multiple(mx.fast, **{name: getattr(recorder, name) for name in names}):
        yield recorder


def steps_of(outputs: Sequence[mx.array], recorder: Recorder) -> list[Step]:
    """The steps that `outputs` need, in no order."""
    text = io.StringIO()
    mx.export_to_dot(text, *outputs, tag=recorder.tag)
    steps = _parsed(text.getvalue())
    for step in steps:
        if number := step.reads.count("tag"):
            step.name = recorder.names[number - 1]
            step.reads = [name for name in step.reads[len(step.gives) :] if name != "tag"]
    return steps


def _parsed(dot: str) -> list[Step]:
    """The steps of a DOT text. By place, not by number: joined operations have the same number in every call."""
    steps: list[Step] = []
    for line in map(str.strip, dot.splitlines()):
        if match := re.match(r'\{ \d+ \[label ?= ?"([^"]*)", shape ?= ?rectangle\]', line):
            steps.append(Step(match[1]))
        elif match := re.match(r'"([^"]*)" -> \d+$', line):
            steps[-1].reads.append(match[1])
        elif match := re.match(r'\d+ -> "([^"]*)"$', line):
            steps[-1].gives.append(match[1])
    return steps


def launches(steps: Sequence[Step]) -> int:
    """Kernels that Metal launches for `steps`."""
    return sum(len(step.kernels) for step in steps)


def by_kind(steps: Sequence[Step]) -> Counter[str]:
    """The launches of each kind of step."""
    kinds: Counter[str] = Counter()
    for step in steps:
        kinds[step.kind] += len(step.kernels)
    return +kinds


def waits(steps: Sequence[Step]) -> int:
    """How often a kernel of `steps` waits for all those before it: Metal runs the kernels between two waits together.

    It waits where it reads what was written, or writes what was read, since the last wait. The parts of a concatenation
    do not wait for each other.
    """
    buffers = _Buffers()
    count, read, written = 0, set[str](), set[str]()
    for step in _in_order(steps):
        together: set[str] = set(step.gives) if step.name == "Concatenate" else set()
        for kernel in step.kernels:
            reads, writes = set(map(buffers.of, kernel.reads)), set(kernel.writes)
            if reads & (written - together) or writes & read:
                count, read, written = count + 1, set(), set()
            read |= reads
            written |= writes
        if not step.kernels:
            buffers.share(step)
    return count


class _Buffers:
    """Which buffer an array lies in: views lie in that of what they are a view of."""

    def __init__(self) -> None:
        self._bases: dict[str, str] = {}

    def of(self, name: str) -> str:
        return self._bases.get(name, name)

    def share(self, step: Step) -> None:
        pairs = zip(step.gives, step.reads, strict=False) if step.name == "Depends" else None
        for name, base in pairs or ((name, step.reads[0]) for name in step.gives if step.reads):
            self._bases[name] = self.of(base)


def _in_order(steps: Sequence[Step]) -> list[Step]:
    """`steps` in the order in which MLX evaluates them: from the outputs backwards, so many at a time."""
    makers = {name: index for index, step in enumerate(steps) for name in step.gives}
    inputs = [[makers[name] for name in step.reads if name in makers] for step in steps]
    uses = Counter(index for needed in inputs for index in needed)
    ends = [index for index in range(len(steps)) if index not in uses]
    uses.update(ends)
    inputs.append(ends)  # what MLX itself puts behind all outputs
    tape, waiting, position = [len(steps)], list[tuple[int, int]](), 0
    while position < len(tape) or waiting:
        if position < len(tape):
            current, first = tape[position], 0
            position += 1
        else:
            current, first = waiting.pop()
        for number, needed in enumerate(inputs[current][first:], first):
            if len(tape) - position >= _WIDTH:
                waiting.append((current, number))
                break
            uses[needed] -= 1
            if uses[needed] == 0:
                tape.append(needed)
    return [steps[index] for index in reversed(tape[1:])]
