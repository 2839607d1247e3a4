"""The architecture of one model: `ModelConfig`, read from the contents of config.json and checked value by value.

Takes the nested form (`text_config` inside a vision-language config) and the flat one. What the tensors on disk say
(their shapes, whether there is an lm_head, how they are quantised) is checked in directory.py.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from qwen_core.errors import CheckpointError, quote

MODEL_TYPES = ("qwen3_5", "qwen3_5_text")
LINEAR = "linear_attention"
FULL = "full_attention"

# Far above any model of this family. They bound what a hostile config can make the program allocate.
MAX_LAYERS = 4096
MAX_DIMENSION = 1 << 24
MAX_POSITIONS = 1 << 40


@dataclass(frozen=True)
class ModelConfig:
    """Sizes and constants of a Qwen3.5/3.6 text model. `layer_types` holds LINEAR or FULL, one for each layer.

    `rotary_dim` is the number of leading dimensions of a head that RoPE turns. `tie_word_embeddings` is what config
    says; in an opened `Checkpoint` it is what the tensors say.
    """

    model_type: str
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    vocab_size: int
    linear_num_key_heads: int
    linear_num_value_heads: int
    linear_key_head_dim: int
    linear_value_head_dim: int
    linear_conv_kernel_dim: int
    layer_types: tuple[str, ...]
    rms_norm_eps: float
    rope_theta: float
    rotary_dim: int
    max_position_embeddings: int
    tie_word_embeddings: bool
    eos_token_ids: tuple[int, ...]

    @property
    def linear_key_dim(self) -> int:
        """Width of all linear-attention queries, and of all keys, of one token."""
        return self.linear_num_key_heads * self.linear_key_head_dim

    @property
    def linear_value_dim(self) -> int:
        """Width of all linear-attention values of one token."""
        return self.linear_num_value_heads * self.linear_value_head_dim

    @property
    def linear_conv_dim(self) -> int:
        """Channels of the depthwise convolution: q, k and v side by side."""
        return 2 * self.linear_key_dim + self.linear_value_dim


class _Reader:
    """Typed access to one JSON object; every complaint names the file and the field."""

    def __init__(self, values: Mapping[str, Any], where: str, fallback: Mapping[str, Any] | None = None) -> None:
        self._values = values
        self._fallback = fallback or {}
        self._where = where

    def fail(self, message: str) -> CheckpointError:
        return CheckpointError(f"{self._where}: {message}")

    def get(self, key: str) -> Any:
        value = self._values.get(key)
        return self._fallback.get(key) if value is None else value

    def integer(self, key: str, default: int | None = None, *, most: int = MAX_DIMENSION, least: int = 1) -> int:
        value = self.get(key)
        if value is None:
            if default is None:
                raise self.fail(f"{key} is missing")
            return default
        if isinstance(value, bool) or not isinstance(value, int):
            raise self.fail(f"{key} must be a whole number, not {quote(repr(value))}")
        if not least <= value <= most:
            raise self.fail(f"{key} is {quote(value)}, outside {least} to {most}")
        return value

    def number(self, key: str, default: float | None) -> float:
        value = self.get(key)
        if value is None:
            if default is None:
                raise self.fail(f"{key} is missing")
            return default
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.fail(f"{key} must be a number, not {quote(repr(value))}")
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if not (math.isfinite(number) and number > 0):
            raise self.fail(f"{key} must be a positive finite number, not {quote(value)}")
        return number

    def flag(self, key: str, default: bool) -> bool:
        value = self.get(key)
        if value is None:
            return default
        if not isinstance(value, bool):
            raise self.fail(f"{key} must be true or false, not {quote(repr(value))}")
        return value

    def only(self, key: str, *accepted: object) -> None:
        """Refuse a field whose value this program does not compute; absent is fine."""
        value = self.get(key)
        if value is not None and value not in accepted:
            choices = " or ".join(str(a).lower() for a in accepted)
            raise self.fail(f"{key} is {quote(repr(value))}, which is not supported (only {choices})")

    def mapping(self, key: str) -> Mapping[str, Any]:
        value = self.get(key)
        if value is None:
            return {}
        if not isinstance(value, dict):
            raise self.fail(f"{key} must be an object, not {quote(repr(value))}")
        return value


def text_section(raw: Mapping[str, Any], where: str) -> Mapping[str, Any]:
    """The part of config.json that describes the text model: `text_config`, or all of a flat config."""
    text = raw.get("text_config")
    if text is None:
        return raw
    if not isinstance(text, dict):
        raise CheckpointError(f"{where}: text_config must be an object, not {quote(repr(text))}")
    return text


def _model_type(raw: Mapping[str, Any], text: Mapping[str, Any], where: str) -> str:
    found = None
    for section in (raw, text):
        value = section.get("model_type")
        if value is None:
            continue
        if value not in MODEL_TYPES:
            raise CheckpointError(
                f"{where}: model_type {quote(repr(value))} is not supported; this program runs "
                f"{' and '.join(MODEL_TYPES)} (Qwen3.5 and Qwen3.6 dense text models)"
            )
        found = found or value
    if found is None:
        raise CheckpointError(f"{where}: model_type is missing (expected {' or '.join(MODEL_TYPES)})")
    return found


def _layer_types(reader: _Reader, layers: int) -> tuple[str, ...]:
    interval = reader.integer("full_attention_interval", 4, most=MAX_LAYERS)
    value = reader.get("layer_types")
    if value is None:
        return tuple(FULL if (i + 1) % interval == 0 else LINEAR for i in range(layers))
    if not isinstance(value, list):
        raise reader.fail(f"layer_types must be a list, not {quote(repr(value))}")
    if len(value) != layers:
        raise reader.fail(f"layer_types has {len(value)} entries but num_hidden_layers is {layers}")
    for index, kind in enumerate(value):
        if kind not in (LINEAR, FULL):
            raise reader.fail(f"layer_types[{index}] is {quote(repr(kind))}, expected {LINEAR} or {FULL}")
    return tuple(value)


def _rope(reader: _Reader, head_dim: int, where: str) -> tuple[float, int]:
    """(theta, rotated dimensions), from `rope_parameters` or the older fields beside it."""
    parameters = reader.mapping("rope_parameters") or reader.mapping("rope_scaling")
    rope = _Reader(parameters, f"{where}: rope_parameters", {k: reader.get(k) for k in _ROPE_FIELDS})
    # People extend the context by a `rope_scaling` beside the parameters, which other programs follow.
    for given, name in ((parameters, "rope_parameters"), (reader.mapping("rope_scaling"), "rope_scaling")):
        for key in ("rope_type", "type"):
            value = given.get(key)
            if value not in (None, "default", "mrope"):
                raise reader.fail(f"{name}: {key} {quote(repr(value))} is not supported (only default)")
    theta = rope.number("rope_theta", None)
    factor = rope.number("partial_rotary_factor", 0.25)
    rotary_dim = int(head_dim * factor) if factor <= 1 else 0
    if rotary_dim < 2 or rotary_dim % 2:
        raise rope.fail(
            f"partial_rotary_factor {quote(factor)} of head_dim {head_dim} does not give an even number of "
            f"dimensions between 2 and {head_dim}"
        )
    return theta, rotary_dim


_ROPE_FIELDS = ("rope_theta", "partial_rotary_factor")


def _token_ids(reader: _Reader, key: str) -> tuple[int, ...]:
    value = reader.get(key)
    if value is None:
        return ()
    ids = value if isinstance(value, list) else [value]
    for token in ids:
        if isinstance(token, bool) or not isinstance(token, int) or not 0 <= token < 1 << 31:
            raise reader.fail(f"{key} must be a token id or a list of them, not {quote(repr(value))}")
    return tuple(dict.fromkeys(ids))


def _divides(reader: _Reader, small: tuple[str, int], large: tuple[str, int]) -> None:
    if large[1] % small[1]:
        raise reader.fail(f"{large[0]} {large[1]} is not a multiple of {small[0]} {small[1]}")


def parse_config(raw: Mapping[str, Any], where: str) -> ModelConfig:
    """Check the parsed config.json and give the text model's configuration.

    `where` names the file in messages. Raises CheckpointError for an unknown model type, a missing or wrongly typed
    field, sizes that contradict each other, or a variation of the architecture that is not computed here.
    """
    where = quote(where)
    text = text_section(raw, where)
    model_type = _model_type(raw, text, where)
    reader = _Reader(text, where)
    reader.only("attention_bias", False)
    reader.only("attn_output_gate", True)
    reader.only("hidden_act", "silu", "swish")
    reader.only("output_gate_type", "silu", "swish")
    reader.only("num_experts", 0)

    hidden_size = reader.integer("hidden_size")
    heads = reader.integer("num_attention_heads")
    key_value_heads = reader.integer("num_key_value_heads")
    _divides(reader, ("num_key_value_heads", key_value_heads), ("num_attention_heads", heads))
    head_dim = reader.integer("head_dim", max(hidden_size // heads, 1))
    linear_key_heads = reader.integer("linear_num_key_heads")
    linear_value_heads = reader.integer("linear_num_value_heads")
    _divides(reader, ("linear_num_key_heads", linear_key_heads), ("linear_num_value_heads", linear_value_heads))
    layers = reader.integer("num_hidden_layers", most=MAX_LAYERS)
    layer_types = _layer_types(reader, layers)
    theta, rotary_dim = _rope(reader, head_dim, where)
    tied = reader.flag("tie_word_embeddings", False) or _Reader(raw, where).flag("tie_word_embeddings", False)
    return ModelConfig(
        model_type=model_type,
        hidden_size=hidden_size,
        intermediate_size=reader.integer("intermediate_size"),
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=key_value_heads,
        head_dim=head_dim,
        vocab_size=reader.integer("vocab_size"),
        linear_num_key_heads=linear_key_heads,
        linear_num_value_heads=linear_value_heads,
        linear_key_head_dim=reader.integer("linear_key_head_dim"),
        linear_value_head_dim=reader.integer("linear_value_head_dim"),
        # conv1d's layout tells raw from converted files by its last dimension, which a kernel of 1 would hide.
        linear_conv_kernel_dim=reader.integer("linear_conv_kernel_dim", 4, least=2, most=256),
        layer_types=layer_types,
        rms_norm_eps=reader.number("rms_norm_eps", 1e-6),
        rope_theta=theta,
        rotary_dim=rotary_dim,
        max_position_embeddings=reader.integer("max_position_embeddings", most=MAX_POSITIONS),
        tie_word_embeddings=tied,
        eos_token_ids=_token_ids(_Reader(text, where, raw), "eos_token_id"),
    )
