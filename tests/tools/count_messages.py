"""What the ranks of a shared model say to each other for one token: `count_messages.py [--shape 27b] [--json]`.

Builds the pass of rank 0 of 2 and of 4 in the shape's own sizes, bfloat16, from weights that nobody makes, and computes
nothing of it: a *message* is a sum or a gather over all ranks, the *bytes* are what this rank sends for them where the
ranks form a ring. Rows beyond the first are drafts. Below it is **arithmetic**, not measured: what the memory of two
M3 Max allows, and what the messages take on three links by figures that others published (`LINKS` names them).

    python tests/tools/count_messages.py
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cache
from importlib.metadata import version

import mlx.core as mx

from qwen_core.bench.synthetic import synthetic_checkpoint
from qwen_core.bench.synthetic_shapes import SHAPES
from qwen_core.checkpoint.directory import Checkpoint
from qwen_core.checkpoint.footprint import state_bytes
from qwen_core.checkpoint.recipe import find_variant
from qwen_core.device.hardware import named_peak_gb_s
from qwen_core.errors import QwenError
from qwen_core.model.collectives import Collectives
from qwen_core.model.part import PartModel
from qwen_core.model.part_layout import part_layout
from qwen_core.model.part_plans import part_plans
from qwen_core.model.shard import Shard, check_split, split_config
from qwen_core.model.weights import DTYPES, Weights
from qwen_core.protocol.stats import bytes_per_token
from qwen_core.protocol.weight_tiers import WeightTiers

SHAPE, CHIP, DTYPE = "27b", "M3 Max 40", "bfloat16"
RANKS, ROWS = (2, 4), (1, 4)
VARIANTS = {"nvfp4": "nvfp4", "bf16": None}


@dataclass(frozen=True)
class Count:
    """One pass of `rows` tokens on one of `ranks` ranks."""

    ranks: int
    rows: int
    messages: int
    bytes: int


@dataclass(frozen=True)
class Link:
    """What moves messages between two machines. `latency_us`: of one message, however MLX sends it; `gb_s`: decimal,
    one direction. `source`: who says so."""

    name: str
    latency_us: float
    gb_s: float
    source: str


LINKS = (
    Link(
        "10 Gb/s Ethernet, ring",
        300,
        1.25,
        "latency as of TCP over Thunderbolt, because nobody was found to publish one of MLX over it; bandwidth nominal",
    ),
    Link(
        "Thunderbolt 5, ring",
        300,
        10,
        "latency of TCP between Macs before RDMA, 300 us: Jeff Geerling, '1.5 TB of VRAM on Mac Studio', 2025; "
        "bandwidth nominal, 80 Gb/s",
    ),
    Link(
        "Thunderbolt 5, JACCL",
        30,
        6.1,
        "27 to 31 us and 6.1 to 6.5 GB/s between an M3 Ultra and an M5 Max: github.com/jundot/omlx, pull request 3118; "
        "Geerling gives 'below 50 us'",
    ),
)


@dataclass(frozen=True)
class Estimate:
    """Arithmetic: tokens a second of one machine, and of two with nothing to wait for and on each of `LINKS`."""

    variant: str
    rank_bytes: int
    alone: float
    shared: float
    links: tuple[float, ...]


def checkpoint_of(shape: str, variant: str | None) -> Checkpoint:
    return synthetic_checkpoint(shape, find_variant(variant) if variant is not None else None)


@cache
def part_of(shape: str, ranks: int) -> PartModel:
    """Rank 0's part in a graph: its weights are zeros that are never made."""
    checkpoint = checkpoint_of(shape, "nvfp4")
    check_split(checkpoint.config, checkpoint.specs, ranks)
    plans = part_plans(checkpoint, DTYPE, Shard(0, ranks))
    arrays = {plan.name: mx.zeros(plan.shape, plan.dtype) for plan in plans}
    # As mapped ones they are not joined, which would make them.
    weights = Weights(dict(arrays), WeightTiers(), mapped=frozenset(arrays))
    return PartModel(checkpoint, weights, DTYPE, Collectives(rank=0, ranks=ranks))


def count(shape: str, ranks: int, rows: int = 1) -> Count:
    """The messages of one pass of `rows` tokens."""
    model = part_of(shape, ranks)
    talk = model.collectives
    talk.messages = talk.bytes = 0
    with talk.silenced():
        ids, state = mx.zeros((1, rows), mx.uint32), model.new_state()
        if rows == 1:
            model.last_logits(ids, state)
        else:
            state.begin_drafted()
            model.hidden_and_logits(ids, state)
    return Count(ranks, rows, talk.messages, talk.bytes)


def rank_bytes(checkpoint: Checkpoint, ranks: int) -> int:
    """What one rank reads and writes for a token at the beginning of a context."""
    config = checkpoint.config if ranks == 1 else split_config(checkpoint.config, ranks)
    recurrent, kv = state_bytes(config, 0, DTYPES[DTYPE].size)
    return bytes_per_token(part_layout(checkpoint, Shard(0, ranks)).token_bytes, recurrent, kv)


def message_s(counted: Count, link: Link) -> float:
    """Seconds of a pass in which its messages are on their way: each waits for the one before."""
    return counted.messages * link.latency_us / 1e6 + counted.bytes / (link.gb_s * 1e9)


def estimate(shape: str, variant: str, ranks: int = 2, chip: str = CHIP) -> Estimate:
    """What `ranks` machines would do if memory ran at its peak, and nothing but it and the messages took time."""
    checkpoint, peak = checkpoint_of(shape, VARIANTS[variant]), named_peak_gb_s(chip) * 1e9
    counted, own = count(shape, ranks), rank_bytes(checkpoint, ranks)
    rates = tuple(1 / (own / peak + message_s(counted, link)) for link in LINKS)
    return Estimate(variant, own, peak / rank_bytes(checkpoint, 1), peak / own, rates)


def counted_lines(counts: Sequence[Count]) -> list[str]:
    lines = [f"{'ranks':>5} {'rows':>5} {'messages':>9} {'bytes sent a rank':>18}"]
    return lines + [f"{c.ranks:>5} {c.rows:>5} {c.messages:>9,} {c.bytes:>18,}" for c in counts]


def estimate_lines(estimates: Sequence[Estimate]) -> list[str]:
    """The table of arithmetic, with every figure that it takes for granted."""
    names = ("one", "two, no waiting", *(link.name for link in LINKS))
    rows = [(e.alone, e.shared, *e.links) for e in estimates]
    peak = named_peak_gb_s(CHIP)
    lines = [
        f"Arithmetic, not measured: tokens a second on two {CHIP}, {peak:.0f} GB/s each, at the start of a context.",
        "A token: bytes of one rank over that peak + messages x latency + bytes sent over the link's bandwidth.",
        "No M3 Max has Thunderbolt 5, but 4; JACCL needs 5, as an M4 Pro, M4 Max or M3 Ultra has it.",
        f"{'':<24}" + "".join(f"{e.variant:>10}" for e in estimates),
    ]
    for place, name in enumerate(names):
        lines.append(f"{name:<24}" + "".join(f"{row[place]:>10.1f}" for row in rows))
    lines.append(f"{'bytes of one rank':<24}" + "".join(f"{e.rank_bytes / 1e9:>7.2f} GB" for e in estimates))
    return [*lines, *(f"{link.name}: {link.latency_us:g} us, {link.gb_s:g} GB/s: {link.source}." for link in LINKS)]


def published_line() -> str:
    """The one published figure of this kind beside the same arithmetic."""
    found = [estimate("27b", variant, 4, "M3 Ultra") for variant in VARIANTS]
    ours = " and ".join(f"{each.links[-1] / each.alone:.1f} ({each.variant})" for each in found)
    return (
        "Apple shows a 27B on four M3 Ultra over JACCL at 'nearly three times the rate' of one (WWDC26, session 233, "
        f"format not said); this arithmetic gives {ours}."
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=SHAPES, default=SHAPE)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    try:
        counts = [count(asked.shape, ranks, rows) for ranks in RANKS for rows in ROWS]
    except QwenError as error:
        print(error, file=sys.stderr)
        return 1
    estimates = [estimate(asked.shape, variant) for variant in VARIANTS]
    if asked.json:
        said = {
            "counted": [asdict(each) for each in counts],
            "arithmetic": {"links": [asdict(link) for link in LINKS], "tok_s": [asdict(each) for each in estimates]},
        }
        print(json.dumps(said))
        return 0
    print(f"Counted from the graph: MLX {version('mlx')}, {asked.shape}, {DTYPE}, one pass")
    print("\n".join([*counted_lines(counts), "", *estimate_lines(estimates), published_line()]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
