"""Random models that two implementations build from the same seed, so that only logits need to be stored.

tests/tools/make_goldens.py puts these weights into transformers; tests/core/model/test_goldens.py writes them as a
model directory. Names, shapes and layout are those of transformers' `Qwen3_5ForCausalLM` and `Qwen3_5MoeForCausalLM`.
"""

import json
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from support.checkpoints import Names, Stored, disk_name, write_safetensors

PROMPT, STEPS, DRAFTS = 80, 8, 4
"""Tokens fed at once, more than one 64-token chunk of the reference; tokens fed one by one after them; and drafts."""


@dataclass(frozen=True)
class Case:
    """One model: `names` is how its directory is written (raw, flat and converted layouts)."""

    name: str
    seed: int
    names: Names
    tied: bool
    key_heads: int
    value_heads: int
    sizes: dict[str, Any] = field(default_factory=dict)

    @property
    def config(self) -> dict[str, Any]:
        """The text_config."""
        config = {
            "model_type": "qwen3_5_text",
            "hidden_size": 64,
            "intermediate_size": 96,
            "num_hidden_layers": 4,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "head_dim": 32,
            "linear_num_key_heads": self.key_heads,
            "linear_num_value_heads": self.value_heads,
            "linear_key_head_dim": 32,
            "linear_value_head_dim": 32,
            "linear_conv_kernel_dim": 4,
            "full_attention_interval": 4,
            "vocab_size": 96,
            "max_position_embeddings": 4096,
            "rms_norm_eps": 1e-6,
            "tie_word_embeddings": self.tied,
            "hidden_act": "silu",
            "eos_token_id": 0,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 10000000,
                "partial_rotary_factor": 0.25,
                "mrope_interleaved": True,
                "mrope_section": [2, 1, 1],
            },
            **({"model_type": "qwen3_5_moe_text"} if self.is_mixture else {}),
            **self.sizes,
        }
        if self.is_mixture:
            del config["intermediate_size"]
        interval, layers = config["full_attention_interval"], config["num_hidden_layers"]
        kinds = ["full_attention" if (i + 1) % interval == 0 else "linear_attention" for i in range(layers)]
        return {"layer_types": kinds, **config}

    @property
    def is_mixture(self) -> bool:
        return "num_experts" in self.sizes

    @property
    def ids(self) -> list[int]:
        """The tokens fed: PROMPT at once, then STEPS one by one."""
        return np.random.RandomState(self.seed).randint(0, self.config["vocab_size"], PROMPT + STEPS).tolist()


CASES = (
    Case("raw-untied-1", 11, "raw", False, 2, 2),
    Case("raw-tied-2", 12, "raw", True, 2, 4),
    Case("converted-untied-3", 13, "converted", False, 2, 6),
    Case("converted-tied-3", 14, "converted", True, 1, 3, {"num_key_value_heads": 1, "linear_value_head_dim": 64}),
    Case("flat-untied-2", 15, "flat", False, 3, 6, {"num_hidden_layers": 6, "full_attention_interval": 3}),
    Case("raw-kernel-3", 16, "raw", False, 2, 4, {"linear_conv_kernel_dim": 3, "rms_norm_eps": 1e-5}),
    Case("linear-last", 17, "converted", False, 2, 4, {"num_hidden_layers": 5}),
)

STRETCHED = (
    # The prompt's 80 tokens go from before the original length to behind it.
    Case("yarn", 21, "converted", False, 2, 4, {
        "max_position_embeddings": 40,
        "rope_parameters": {
            "rope_type": "yarn", "rope_theta": 100.0, "partial_rotary_factor": 1.0, "factor": 4.0,
            "original_max_position_embeddings": 40, "mrope_section": [6, 5, 5],
        },
    }),
    Case("yarn-rope-scaling", 22, "raw", False, 2, 4, {
        "max_position_embeddings": 192,
        "rope_scaling": {
            "type": "yarn", "factor": 3.0, "original_max_position_embeddings": 64, "beta_fast": 6, "beta_slow": 0.01,
            "truncate": False, "attention_factor": 1.4,
        },
    }),
)  # fmt: skip
"""Contexts stretched by YaRN, in both places where it may stand; the second's base is not that of rope_parameters."""


def _mixture(experts: int, used: int, size: int, shared: int) -> dict[str, Any]:
    return {
        "num_experts": experts,
        "num_experts_per_tok": used,
        "moe_intermediate_size": size,
        "shared_expert_intermediate_size": shared,
    }


MIXTURES = (
    Case("mixture-raw-8", 31, "raw", False, 2, 4, _mixture(8, 2, 48, 48)),
    Case("mixture-converted-16", 32, "converted", True, 2, 2, _mixture(16, 4, 32, 64)),
    Case("mixture-flat-6", 33, "flat", False, 1, 3, _mixture(6, 1, 64, 32) | {"num_hidden_layers": 5}),
    Case("mixture-all-4", 34, "converted", False, 2, 6, _mixture(4, 4, 96, 32) | {"num_key_value_heads": 1}),
)


def weights(case: Case) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """Canonical tensor names and float32 values in the raw layout: norms less one, conv1d [C, 1, K].

    `RandomState` is the generator whose numbers numpy promises never to change.
    """
    yield from _values(case, _shapes(case.config, case.tied))


def mtp_weights(case: Case) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """The same of an MTP layer for the model, without the `mtp.` of its names."""
    yield from _values(case, _mtp_shapes(case.config))


def mtp_hidden(case: Case) -> NDArray[np.float32]:
    """Vectors [1, PROMPT, H] as they might stand behind the final norm after each token of the prompt."""
    random = np.random.RandomState(case.seed + 1000)
    return random.standard_normal((1, PROMPT, case.config["hidden_size"])).astype(np.float32)


def _values(case: Case, shapes: Iterable[tuple[str, tuple[int, ...]]]) -> Iterator[tuple[str, NDArray[np.float32]]]:
    return ((name, _value(case.seed, name, shape)) for name, shape in shapes)


@cache
def _value(seed: int, name: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Made once, because seeding costs more than drawing; nobody may write into it."""
    random = np.random.RandomState(zlib.crc32(f"{seed} {name}".encode()))
    if name.endswith("A_log"):
        value = np.log(random.uniform(0.05, 16, shape))
    elif name.endswith("dt_bias"):
        value = random.uniform(-4, 1, shape)
    elif name.endswith("linear_attn.norm.weight"):
        value = 1 + 0.1 * random.standard_normal(shape)
    elif is_norm(name):
        value = 0.1 * random.standard_normal(shape)
    elif name.endswith("conv1d.weight"):
        value = 0.3 * random.standard_normal(shape)
    else:
        value = random.standard_normal(shape) * shape[-1] ** -0.5
    single = value.astype(np.float32)
    single.flags.writeable = False
    return single


def is_norm(name: str) -> bool:
    """Whether raw files store this weight less one."""
    return ("norm" in name.split(".")[-2]) and "linear_attn" not in name


def _mtp_shapes(config: dict[str, Any]) -> Iterator[tuple[str, tuple[int, ...]]]:
    hidden = config["hidden_size"]
    yield "fc.weight", (hidden, 2 * hidden)
    yield "pre_fc_norm_embedding.weight", (hidden,)
    yield "pre_fc_norm_hidden.weight", (hidden,)
    yield from _layer_shapes(config, "layers.0.", "full_attention")
    yield "norm.weight", (hidden,)


def _shapes(config: dict[str, Any], tied: bool) -> Iterator[tuple[str, tuple[int, ...]]]:
    hidden, vocabulary = config["hidden_size"], config["vocab_size"]
    yield "embed_tokens.weight", (vocabulary, hidden)
    yield "norm.weight", (hidden,)
    if not tied:
        yield "lm_head.weight", (vocabulary, hidden)
    for index, kind in enumerate(config["layer_types"]):
        yield from _layer_shapes(config, f"layers.{index}.", kind)


def _layer_shapes(config: dict[str, Any], layer: str, kind: str) -> Iterator[tuple[str, tuple[int, ...]]]:
    hidden = config["hidden_size"]
    heads, key_values, size = config["num_attention_heads"], config["num_key_value_heads"], config["head_dim"]
    values = config["linear_num_value_heads"]
    key = config["linear_num_key_heads"] * config["linear_key_head_dim"]
    value = values * config["linear_value_head_dim"]
    yield layer + "input_layernorm.weight", (hidden,)
    yield layer + "post_attention_layernorm.weight", (hidden,)
    if "num_experts" in config:
        yield from _mixture_shapes(config, layer + "mlp.")
    else:
        yield from _feed_forward_shapes(layer + "mlp.", hidden, config["intermediate_size"])
    if kind == "full_attention":
        mixer = layer + "self_attn."
        yield mixer + "q_proj.weight", (2 * heads * size, hidden)
        yield mixer + "k_proj.weight", (key_values * size, hidden)
        yield mixer + "v_proj.weight", (key_values * size, hidden)
        yield mixer + "o_proj.weight", (hidden, heads * size)
        yield mixer + "q_norm.weight", (size,)
        yield mixer + "k_norm.weight", (size,)
    else:
        mixer = layer + "linear_attn."
        yield mixer + "in_proj_qkv.weight", (2 * key + value, hidden)
        yield mixer + "in_proj_z.weight", (value, hidden)
        yield mixer + "in_proj_a.weight", (values, hidden)
        yield mixer + "in_proj_b.weight", (values, hidden)
        yield mixer + "out_proj.weight", (hidden, value)
        yield mixer + "conv1d.weight", (2 * key + value, 1, config["linear_conv_kernel_dim"])
        yield mixer + "norm.weight", (config["linear_value_head_dim"],)
        yield mixer + "A_log", (values,)
        yield mixer + "dt_bias", (values,)


def _feed_forward_shapes(prefix: str, hidden: int, inner: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield prefix + "gate_proj.weight", (inner, hidden)
    yield prefix + "up_proj.weight", (inner, hidden)
    yield prefix + "down_proj.weight", (hidden, inner)


def _mixture_shapes(config: dict[str, Any], mlp: str) -> Iterator[tuple[str, tuple[int, ...]]]:
    hidden, experts, inner = config["hidden_size"], config["num_experts"], config["moe_intermediate_size"]
    yield mlp + "gate.weight", (experts, hidden)
    yield mlp + "experts.gate_up_proj", (experts, 2 * inner, hidden)
    yield mlp + "experts.down_proj", (experts, hidden, inner)
    yield from _feed_forward_shapes(mlp + "shared_expert.", hidden, config["shared_expert_intermediate_size"])
    yield mlp + "shared_expert_gate.weight", (1, hidden)


def _stored(case: Case, tensors: Iterable[tuple[str, NDArray[np.float32]]]) -> Iterator[tuple[str, Stored]]:
    """The tensors by canonical name, in the layout that the case's `names` ask for."""
    for raw, whole in tensors:
        for name, value in _parts(case, raw, whole):
            yield name, laid_out(case, name, value)


def _parts(case: Case, name: str, value: NDArray[np.float32]) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """A tensor by its name in the case's layout: MLX has the experts' gate and up apart, and other names."""
    module, _, last = name.rpartition(".experts.")
    if case.names == "raw" or not module:
        yield name, value
    elif last == "down_proj":
        yield f"{module}.switch_mlp.down_proj.weight", value
    else:
        gate, up = np.split(value, 2, axis=1)
        yield f"{module}.switch_mlp.gate_proj.weight", gate
        yield f"{module}.switch_mlp.up_proj.weight", up


def laid_out(case: Case, name: str, value: NDArray[np.float32]) -> Stored:
    """A tensor in the layout that the case's `names` ask for."""
    if case.names == "converted":
        if name.endswith("conv1d.weight"):
            value = np.ascontiguousarray(np.moveaxis(value, 1, 2))
        elif is_norm(name):
            value = np.float32(1) + value
    return Stored("F32", value.shape, value.tobytes())


def write_case(case: Case, path: Path, *, mtp: str | None = None) -> None:
    """The case as a model directory with float32 tensors, in the layout its `names` ask for.

    `mtp`: "inside", or the name of a file beside it for the MTP layer.
    """
    stored = {disk_name(name, case.names): tensor for name, tensor in _stored(case, weights(case))}
    layer = {f"mtp.{name}": tensor for name, tensor in _stored(case, mtp_weights(case))}
    if mtp == "inside":
        stored |= layer
    elif mtp is not None:
        (path / mtp).parent.mkdir(parents=True, exist_ok=True)
        write_safetensors(path / mtp, layer)
    path.mkdir(parents=True, exist_ok=True)
    write_safetensors(path / "model.safetensors", stored)
    kind = "qwen3_5_moe" if case.is_mixture else "qwen3_5"
    nested = {"model_type": kind, "text_config": case.config, "tie_word_embeddings": case.tied}
    (path / "config.json").write_text(json.dumps(case.config if case.names == "flat" else nested))
