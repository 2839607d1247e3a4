"""How a model is split over ranks: which heads, columns and rows each has, and whether the numbers allow it.

Every rank has some of the heads and of the columns of feed-forward parts and experts, with all layers; what its rows
and columns are in the files is part_plans.py's, what they compute together part.py's.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from qwen_core.checkpoint.architecture import TextTensor, text_tensors
from qwen_core.checkpoint.config import ModelConfig
from qwen_core.checkpoint.quantization import QuantSpec
from qwen_core.errors import SettingsError

MOST_RANKS = 64


@dataclass(frozen=True)
class Shard:
    """The part that one of `ranks` ranks has; `rank` counts from 0."""

    rank: int
    ranks: int


@dataclass(frozen=True)
class Cut:
    """A part of an unquantised weight: of its `axis`, which has `length`, those [begin, end) of `ranges`."""

    axis: int
    length: int
    ranges: tuple[tuple[int, int], ...]


def split_config(config: ModelConfig, ranks: int) -> ModelConfig:
    """The sizes of the part that each of `ranks` ranks has. Vocabulary and hidden size stay what they are: every rank
    has all of its input and output."""
    mixture = config.mixture
    if mixture is not None:
        mixture = replace(mixture, size=mixture.size // ranks, shared_size=mixture.shared_size // ranks)
    return replace(
        config,
        num_attention_heads=config.num_attention_heads // ranks,
        num_key_value_heads=max(1, config.num_key_value_heads // ranks),
        linear_num_key_heads=config.linear_num_key_heads // ranks,
        linear_num_value_heads=config.linear_num_value_heads // ranks,
        intermediate_size=config.intermediate_size // ranks,
        mixture=mixture,
    )


def check_split(config: ModelConfig, specs: Mapping[str, QuantSpec], ranks: int) -> None:
    """Raise SettingsError, one line with the number, where a model cannot be split evenly over `ranks` ranks."""
    problem = _problem(config, specs, ranks)
    if problem is None:
        return
    others = [str(number) for number in range(2, MOST_RANKS + 1) if _problem(config, specs, number) is None]
    advice = f"it can be split over {', '.join(others)}" if others else "it runs on one machine alone"
    raise SettingsError(f"{problem} cannot be shared by {ranks} ranks; {advice}")


def _problem(config: ModelConfig, specs: Mapping[str, QuantSpec], ranks: int) -> str | None:
    """The first number that `ranks` do not share evenly, with what it counts."""
    mixture = config.mixture
    counts = [
        (config.linear_num_key_heads, "linear key head"),
        (config.linear_num_value_heads, "linear value head"),
        (config.num_attention_heads, "query head"),
        (config.vocab_size, "token of the vocabulary|tokens of the vocabulary"),
    ]
    if mixture is None:
        counts.append((config.intermediate_size, "column of the feed-forward part|columns of the feed-forward part"))
    else:
        counts += [(mixture.size, "column of an expert|columns of an expert")]
        counts += [(mixture.shared_size, "column of the shared expert|columns of the shared expert")]
    for count, what in counts:
        if count % ranks:
            return _counted(count, what)
    heads = config.num_key_value_heads
    if heads % ranks and ranks % heads:
        return _counted(heads, "key-value head")
    return _uneven_groups(config, specs, ranks)


def _counted(count: int, what: str) -> str:
    one, _, many = what.partition("|")
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def _uneven_groups(config: ModelConfig, specs: Mapping[str, QuantSpec], ranks: int) -> str | None:
    """The first quantised weight whose columns cannot be split between two groups."""
    for tensor in text_tensors(config, lm_head=True):
        spec = specs.get(tensor.module)
        cut = cut_of(tensor, config, Shard(0, ranks))
        if spec is None or cut is None or cut.axis < len(tensor.shape) - 1:
            continue
        if cut.length // spec.group_size % ranks:
            groups = cut.length // spec.group_size
            return f"{groups} group{'s' if groups > 1 else ''} of {spec.group_size} columns of {tensor.module}"
    return None


def cut_of(tensor: TextTensor, config: ModelConfig, shard: Shard) -> Cut | None:
    """What a rank has of a tensor of the whole model's `config`; None: all of it."""
    role = tensor.module.rpartition(".")[2]
    axis = _axis(tensor, role)
    if axis is None:
        return None
    length = tensor.shape[axis]
    if role in ("k_proj", "v_proj") and config.num_key_value_heads < shard.ranks:
        head = shard.rank * config.num_key_value_heads // shard.ranks
        return Cut(axis, length, ((head * config.head_dim, (head + 1) * config.head_dim),))
    ranges, place = [], 0
    for segment in _segments(role, length, config):
        each = segment // shard.ranks
        ranges.append((place + each * shard.rank, place + each * (shard.rank + 1)))
        place += segment
    return Cut(axis, length, tuple(ranges))


_COLUMNS = ("o_proj", "out_proj", "down_proj")
_WHOLE = ("gate", "shared_expert_gate")
"""Matrices that every rank has: the router, and what weights the shared expert."""


def _axis(tensor: TextTensor, role: str) -> int | None:
    """The axis along which a tensor is split; None for what every rank has."""
    if tensor.kind in ("conv", "decay"):
        return 0
    if not tensor.is_matrix or role in _WHOLE:
        return None
    return len(tensor.shape) - (1 if role in _COLUMNS else 2)


def _segments(role: str, length: int, config: ModelConfig) -> tuple[int, ...]:
    """What lies side by side along the axis and is split each by itself: queries, keys and values; gate and up."""
    if role in ("in_proj_qkv", "conv1d"):
        return config.linear_key_dim, config.linear_key_dim, config.linear_value_dim
    return (length // 2, length // 2) if role == "gate_up_proj" else (length,)
