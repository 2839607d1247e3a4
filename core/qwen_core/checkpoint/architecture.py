"""Which text tensors a model of this architecture has, by canonical name and shape, and what each may be stored as.

The one list that directory.py checks headers against and that layout.py takes its roles from (FORMAT.md, "The
model"). It knows no files and no quantisation.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Literal

from qwen_core.checkpoint.config import FULL, MixtureConfig, ModelConfig
from qwen_core.errors import CheckpointError, quote

_ONE_EXPERT = re.compile(r"\.mlp\.experts\.\d+\.")

Kind = Literal["matrix", "experts", "norm", "gated_norm", "conv", "decay"]


@dataclass(frozen=True)
class TextTensor:
    """One expected tensor. `shape` is that of the unquantised weight, conv1d's as [channels, kernel, 1].

    kind: `matrix` may be quantised (a linear layer or the embedding, [rows, columns]); `experts` is a stack of such
    matrices, [experts, rows, columns], quantised as one; `norm` is an RMSNorm weight
    that raw files store less 1; `gated_norm` is linear_attn.norm, which they store as it is; `conv`; `decay` is A_log
    or dt_bias, used in float32 whatever the compute type.
    """

    name: str
    shape: tuple[int, ...]
    kind: Kind

    @property
    def module(self) -> str:
        return self.name.removesuffix(".weight")

    @property
    def is_matrix(self) -> bool:
        """Whether it may be quantised: a matrix, or a stack of them."""
        return self.kind in ("matrix", "experts")


@dataclass(frozen=True)
class StackPlace:
    """Where raw files have a stack of experts: in `name`, the run `number` of each expert's rows, cut into `runs`."""

    name: str
    number: int
    runs: int


_RAW_STACKS = {"gate_proj": ("gate_up_proj", 0, 2), "up_proj": ("gate_up_proj", 1, 2), "down_proj": ("down_proj", 0, 1)}


def is_stack(module: str) -> bool:
    """Whether a canonical module name is that of a layer's stack of experts, raw or MLX's."""
    return module.split(".")[-2:-1] in (["switch_mlp"], ["experts"])


def raw_place(module: str) -> StackPlace | None:
    """Where raw files have what in MLX's layout is `module`; None where that is under the same name."""
    parent, _, role = module.rpartition(".switch_mlp.")
    if not parent:
        return None
    name, number, runs = _RAW_STACKS[role]
    return StackPlace(f"{parent}.experts.{name}", number, runs)


def text_tensors(config: ModelConfig, *, lm_head: bool) -> Iterator[TextTensor]:
    """Every tensor of the text model of `config`; `lm_head` says whether the head is a tensor of its own."""
    hidden = config.hidden_size
    yield TextTensor("embed_tokens.weight", (config.vocab_size, hidden), "matrix")
    for index, kind in enumerate(config.layer_types):
        yield from _layer(config, f"layers.{index}.", kind)
    yield TextTensor("norm.weight", (hidden,), "norm")
    if lm_head:
        yield TextTensor("lm_head.weight", (config.vocab_size, hidden), "matrix")


def mtp_tensors(config: ModelConfig) -> Iterator[TextTensor]:
    """Every tensor of the MTP layer, without the `mtp.` of its name (step 10)."""
    hidden = config.hidden_size
    yield TextTensor("fc.weight", (hidden, 2 * hidden), "matrix")
    yield TextTensor("pre_fc_norm_embedding.weight", (hidden,), "norm")
    yield TextTensor("pre_fc_norm_hidden.weight", (hidden,), "norm")
    yield from _layer(config, "layers.0.", FULL)
    yield TextTensor("norm.weight", (hidden,), "norm")


def with_experts_of(config: ModelConfig, names: Iterable[str]) -> ModelConfig:
    """`config` with gate and up of the experts in one tensor or two, as canonical `names` of tensors say.

    Raises CheckpointError where each expert has tensors of its own.
    """
    if config.mixture is None:
        return config
    names = tuple(names)
    if single := next(filter(_ONE_EXPERT.search, names), None):
        raise CheckpointError(
            f"tensor {quote(single)}: the experts are stored one by one; only stacks of them can be read, as the "
            "original files and MLX's have them; download one of these"
        )
    fused = any(name.endswith(".mlp.experts.gate_up_proj") for name in names)
    return replace(config, mixture=replace(config.mixture, fused=fused))


def _layer(config: ModelConfig, prefix: str, kind: str) -> Iterator[TextTensor]:
    hidden = config.hidden_size
    yield TextTensor(f"{prefix}input_layernorm.weight", (hidden,), "norm")
    if kind == FULL:
        yield from _attention(config, f"{prefix}self_attn.")
    else:
        yield from _linear_attention(config, f"{prefix}linear_attn.")
    yield TextTensor(f"{prefix}post_attention_layernorm.weight", (hidden,), "norm")
    if config.mixture is None:
        yield from _feed_forward(f"{prefix}mlp.", hidden, config.intermediate_size)
    else:
        yield from _mixture(f"{prefix}mlp.", hidden, config.mixture)


def _feed_forward(prefix: str, hidden: int, inner: int) -> Iterator[TextTensor]:
    yield TextTensor(f"{prefix}gate_proj.weight", (inner, hidden), "matrix")
    yield TextTensor(f"{prefix}up_proj.weight", (inner, hidden), "matrix")
    yield TextTensor(f"{prefix}down_proj.weight", (hidden, inner), "matrix")


def _mixture(prefix: str, hidden: int, mixture: MixtureConfig) -> Iterator[TextTensor]:
    """Step 12. Raw files name their stacks without ".weight", and have gate and up in one."""
    experts, inner = mixture.experts, mixture.size
    yield TextTensor(f"{prefix}gate.weight", (experts, hidden), "matrix")
    if mixture.fused:
        yield TextTensor(f"{prefix}experts.gate_up_proj", (experts, 2 * inner, hidden), "experts")
        yield TextTensor(f"{prefix}experts.down_proj", (experts, hidden, inner), "experts")
    else:
        yield TextTensor(f"{prefix}switch_mlp.gate_proj.weight", (experts, inner, hidden), "experts")
        yield TextTensor(f"{prefix}switch_mlp.up_proj.weight", (experts, inner, hidden), "experts")
        yield TextTensor(f"{prefix}switch_mlp.down_proj.weight", (experts, hidden, inner), "experts")
    yield from _feed_forward(f"{prefix}shared_expert.", hidden, mixture.shared_size)
    yield TextTensor(f"{prefix}shared_expert_gate.weight", (1, hidden), "matrix")


def _attention(config: ModelConfig, prefix: str) -> Iterator[TextTensor]:
    hidden, head = config.hidden_size, config.head_dim
    queries, keys = config.num_attention_heads * head, config.num_key_value_heads * head
    yield TextTensor(f"{prefix}q_proj.weight", (2 * queries, hidden), "matrix")  # per head: query, then gate
    yield TextTensor(f"{prefix}k_proj.weight", (keys, hidden), "matrix")
    yield TextTensor(f"{prefix}v_proj.weight", (keys, hidden), "matrix")
    yield TextTensor(f"{prefix}o_proj.weight", (hidden, queries), "matrix")
    yield TextTensor(f"{prefix}q_norm.weight", (head,), "norm")
    yield TextTensor(f"{prefix}k_norm.weight", (head,), "norm")


def _linear_attention(config: ModelConfig, prefix: str) -> Iterator[TextTensor]:
    hidden, heads, values = config.hidden_size, config.linear_num_value_heads, config.linear_value_dim
    channels = config.linear_conv_dim
    yield TextTensor(f"{prefix}in_proj_qkv.weight", (channels, hidden), "matrix")
    yield TextTensor(f"{prefix}in_proj_z.weight", (values, hidden), "matrix")
    yield TextTensor(f"{prefix}in_proj_b.weight", (heads, hidden), "matrix")
    yield TextTensor(f"{prefix}in_proj_a.weight", (heads, hidden), "matrix")
    yield TextTensor(f"{prefix}conv1d.weight", (channels, config.linear_conv_kernel_dim, 1), "conv")
    yield TextTensor(f"{prefix}A_log", (heads,), "decay")
    yield TextTensor(f"{prefix}dt_bias", (heads,), "decay")
    yield TextTensor(f"{prefix}norm.weight", (config.linear_value_head_dim,), "gated_norm")
    yield TextTensor(f"{prefix}out_proj.weight", (hidden, values), "matrix")
