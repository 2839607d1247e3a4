"""What it costs to say which experts an answer uses: `measure_experts.py [--layers 40] [--tokens 800]`.

Two figures, over a mixture of 256 experts of which a token takes 8. *Counting alone*: what is copied and added beside a
token, again and again, in processor seconds: exact, but blind to whatever the device might wait for. *Watched*: answers
of a `Session` with `watch_experts` on and off by turns, a few tokens each, so that drift and other programs meet both
alike: everything is in it, noise too.

Counting depends on layers and experts, not on how wide they are. A token of this narrow model takes less time than one
of the 35B-A3B on the same machine, so that the share printed here is more than the share there.

    nice python tests/tools/measure_experts.py

A command, not a test: it times. Exit code 0 when counting alone is less than 1 % of a token.
"""

import argparse
import itertools
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import mlx.core as mx

from qwen_core import Session, demo_model_path, load_session, open_checkpoint
from qwen_core.device.backend import describe_device
from qwen_core.session.expert_tally import ExpertTally
from support.checkpoints import write_checkpoint
from support.published_plan import SMALL_MIXTURE

ALLOWED = 0.01
BLOCK, SETTLED = 8, 2
"""Tokens that are watched alike, and how many of them do not count."""
ALONE = 2000


def write_mixture(path: Path, layers: int) -> None:
    """A mixture that runs, with the demo model's tokenizer and template."""
    demo = demo_model_path()
    sizes = {"num_hidden_layers": layers, "num_experts": 256, "num_experts_per_tok": 8}
    vocabulary = open_checkpoint(demo).config.vocab_size
    write_checkpoint(path, text={**SMALL_MIXTURE, **sizes, "vocab_size": vocabulary})
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        if (demo / name).exists():
            shutil.copyfile(demo / name, path / name)


@dataclass(frozen=True)
class Step:
    """What a token took, in (processor, clock) seconds."""

    watched: bool
    taken: tuple[float, float]


def steps_of(session: Session, tokens: int) -> Iterator[Step]:
    """The tokens of answers, but those right behind a change of what is watched: counts come a token late."""
    left = tokens
    for seed in itertools.count():
        if left <= 0:
            return
        asked = {"temperature": 1.0, "seed": seed, "max_new_tokens": left, "reasoning_effort": "none"}
        watched, since, last = False, 0, (0.0, 0.0)
        session.watch_experts(False)
        for event in session.send_stream("Which?", **asked):
            if not event.token_ids:
                continue
            now = time.process_time(), time.perf_counter()
            if since >= SETTLED:
                yield Step(watched, (now[0] - last[0], now[1] - last[1]))
            since, left = since + 1, left - 1
            if since == BLOCK:
                watched, since = not watched, 0
                session.watch_experts(watched)
            last = time.process_time(), time.perf_counter()
        session.restore([])


def counting_alone(session: Session) -> float:
    """Processor seconds of what a watched token has beside itself: its experts joined, read, added, and told."""
    model, mixture = session.model, session.model.config.mixture
    assert mixture is not None
    model.watch_experts(True)
    mx.eval(model.last_logits(mx.array([[1]]), model.new_state()))
    tally = ExpertTally(model, mixture)
    taken = []
    for _ in range(ALONE):
        began = time.process_time()
        mx.async_eval(*tally.schedule())
        tally.passed()
        tally.use()
        taken.append(time.process_time() - began)
    return statistics.median(taken)


def told(name: str, blocks: Sequence[tuple[bool, float]]) -> float:
    """Print what watching costs by one clock, from the time of a token in each block; an unwatched token's."""
    base = statistics.median(taken for watched, taken in blocks if not watched)
    # A watched block between two that are not: what drifts slowly is in both.
    costs = [
        taken - (before + after) / 2
        for (_, before), (watched, taken), (_, after) in zip(blocks, blocks[1:], blocks[2:], strict=False)
        if watched
    ]
    low, cost, high = statistics.quantiles(costs, n=4)
    print(
        f"{name:<10} {1e3 * base:8.3f} ms a token; watched {1e6 * cost:+7.0f} us, {100 * cost / base:+.2f} % "
        f"(half of {len(costs)} within {100 * low / base:+.2f} and {100 * high / base:+.2f} %)"
    )
    return base


def by_blocks(steps: Iterable[Step], clock: int) -> list[tuple[bool, float]]:
    """Of each run of tokens watched alike the median token."""
    return [
        (watched, statistics.median(step.taken[clock] for step in block))
        for watched, block in itertools.groupby(steps, key=lambda step: step.watched)
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", type=int, default=40)
    parser.add_argument("--tokens", type=int, default=800)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        write_mixture(Path(folder) / "mixture", asked.layers)
        with load_session(Path(folder) / "mixture") as session:
            dtype = session.model.dtype
            print(f"MLX {version('mlx')}, {describe_device()}, {dtype}; {asked.layers} layers, 8 of 256 experts each")
            alone = counting_alone(session)
            steps = list(steps_of(session, asked.tokens))
    token = told("processor", by_blocks(steps, 0))
    told("clock", by_blocks(steps, 1))
    print(f"counting alone {1e6 * alone:.0f} us of a processor, {100 * alone / token:.2f} % of a token's")
    return 0 if alone < ALLOWED * token else 1


if __name__ == "__main__":
    sys.exit(main())
