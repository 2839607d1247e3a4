"""The architecture of one model: `ModelConfig`, read from the contents of config.json and checked value by value.

Takes the nested form (`text_config` inside a vision-language config) and the flat one. What the tensors on disk say
(their shapes, whether there is an lm_head, how they are quantised) is checked in directory.py.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from qwen_core.checkpoint.rope import Yarn, attention_factor
from qwen_core.errors import CheckpointError, quote

DENSE_TYPES = ("qwen3_5", "qwen3_5_text")
MIXTURE_TYPES = ("qwen3_5_moe", "qwen3_5_moe_text")
MODEL_TYPES = DENSE_TYPES + MIXTURE_TYPES
LINEAR = "linear_attention"
FULL = "full_attention"

# Far above any model of this family. They bound what a hostile config can make the program allocate.
MAX_LAYERS = 4096
MAX_DIMENSION = 1 << 24
MAX_POSITIONS = 1 << 40
MAX_STRETCH = 1 << 10
MAX_EXPERTS = 1 << 14

YARN_THETA = 10_000.0
"""RoPE's base where YaRN stands in a section that names none, as in transformers."""


@dataclass(frozen=True)
class MixtureConfig:
    """The mixture that stands for the feed-forward part (FORMAT.md, step 12).

    Of `experts` a token goes through `used`, each `size` wide, and through one shared expert, `shared_size` wide.
    `fused`: gate and up of the experts are one tensor, as raw files have them; it is what the tensors say in an opened
    `Checkpoint`.
    """

    experts: int
    used: int
    size: int
    shared_size: int
    fused: bool = False


@dataclass(frozen=True)
class ModelConfig:
    """Sizes and constants of a Qwen3.5, 3.6 or 3.8 text model. `layer_types` holds LINEAR or FULL, one for each layer.

    `intermediate_size` is the width of the feed-forward part, 0 where `mixture` stands in its place.
    `rotary_dim` is the number of leading dimensions of a head that RoPE turns. `max_position_embeddings` is the most
    tokens of a context: with `yarn` the stretched number. `tie_word_embeddings` is what config
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
    yarn: Yarn | None = None
    mixture: MixtureConfig | None = None

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

    def number(self, key: str, default: float | None, *, or_zero: bool = False) -> float:
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
        if not (math.isfinite(number) and (number > 0 or (or_zero and number == 0))):
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
                f"{', '.join(MODEL_TYPES)} (text models of Qwen3.5, 3.6 and 3.8)"
            )
        if found is not None and (found in MIXTURE_TYPES) != (value in MIXTURE_TYPES):
            raise CheckpointError(f"{where}: model_type is {found} and, in text_config, {value}")
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


def _mixture(reader: _Reader, model_type: str) -> MixtureConfig | None:
    """The mixture of experts of a model that is one. None for a dense model, which must not name experts."""
    if model_type in DENSE_TYPES:
        reader.only("num_experts", 0)
        return None
    reader.only("mlp_only_layers", [])
    reader.only("decoder_sparse_step", 1)
    reader.only("norm_topk_prob", True)
    experts = reader.integer("num_experts", most=MAX_EXPERTS)
    return MixtureConfig(
        experts=experts,
        used=reader.integer("num_experts_per_tok", most=experts),
        size=reader.integer("moe_intermediate_size"),
        shared_size=reader.integer("shared_expert_intermediate_size"),
    )


def _rope(reader: _Reader, raw: Mapping[str, Any], head_dim: int, where: str) -> tuple[float, int, Yarn | None]:
    """(theta, rotated dimensions, YaRN or None), from where transformers takes them.

    A `rope_scaling` takes the place of `rope_parameters`, what neither has is read from the fields beside them, and
    outside the text model's section nothing counts.
    """
    beside = {key: reader.get(key) for key in _ROPE_FIELDS}
    found = {name: reader.mapping(name) for name in _ROPE_SECTIONS}
    for name, section in found.items():
        _check_scheme(section, f"{where}: {name}")
    for name in _ROPE_SECTIONS:
        if isinstance(section := raw.get(name), dict):
            _check_scheme(section, f"{where}: {name}")
    chosen = "rope_scaling" if found["rope_scaling"] else "rope_parameters"
    rope = _Reader(found[chosen], f"{where}: {chosen}", beside)
    is_yarn = _scheme(found[chosen]) == "yarn"
    theta = rope.number("rope_theta", YARN_THETA if is_yarn else None)
    factor = rope.number("partial_rotary_factor", 0.25)
    rotary_dim = int(head_dim * factor) if factor <= 1 else 0
    if rotary_dim < 2 or rotary_dim % 2:
        raise rope.fail(
            f"partial_rotary_factor {quote(factor)} of head_dim {head_dim} does not give an even number of "
            f"dimensions between 2 and {head_dim}"
        )
    return theta, rotary_dim, _yarn(reader, rope, theta) if is_yarn else None


_ROPE_SECTIONS = ("rope_parameters", "rope_scaling")
_ROPE_FIELDS = ("rope_theta", "partial_rotary_factor")
_ROPE_SCHEMES = (None, "default", "mrope", "yarn")


def _check_scheme(section: Mapping[str, Any], where: str) -> None:
    """Refuse what is computed otherwise, also where something else would count: it is what somebody meant."""
    for key in ("rope_type", "type"):
        if section.get(key) not in _ROPE_SCHEMES:
            raise CheckpointError(
                f"{where}: {key} {quote(repr(section[key]))} is not supported (only default and yarn)"
            )
    for kind in (FULL, LINEAR):
        if kind in section:
            raise CheckpointError(f"{where}: values for each kind of layer ({kind}) are not supported")


def ignored_yarn(raw: Mapping[str, Any]) -> str:
    """A line on YaRN that stands outside the text model's section, where it does not count; "" for none."""
    for name in _ROPE_SECTIONS:
        section = raw.get(name)
        if raw.get("text_config") is not None and isinstance(section, dict) and _scheme(section) == "yarn":
            return f"YaRN in {name} beside text_config stretches nothing, as in transformers; move it into text_config"
    return ""


def replaced_rope(config: ModelConfig, raw: Mapping[str, Any]) -> str:
    """A line where YaRN in a `rope_scaling` puts the base of `rope_parameters` out of force and names none; else "".

    Transformers then takes its default, with which a model that was trained on another base says nothing sensible.
    """
    text = text_section(raw, "config.json")
    replaced, scaling = (text.get(name) or {} for name in _ROPE_SECTIONS)
    meant = replaced.get("rope_theta")
    if config.yarn is None or not scaling or meant is None or meant == config.rope_theta:
        return ""
    if scaling.get("rope_theta") is not None or text.get("rope_theta") is not None:
        return ""
    return (
        f"YaRN in rope_scaling takes the place of all of rope_parameters: rope_theta is {config.rope_theta:,.0f} then, "
        f"not {quote(meant)}; write rope_theta into rope_scaling too"
    )


def _scheme(section: Mapping[str, Any]) -> Any:
    return section.get("rope_type") or section.get("type")


def _yarn(reader: _Reader, rope: _Reader, theta: float) -> Yarn:
    """YaRN's fields in `rope`; the original length may stand beside it, where it counts first."""
    if theta <= 1:
        raise rope.fail(f"rope_theta is {theta:g}, YaRN needs more than 1")
    declared = reader.integer("max_position_embeddings", most=MAX_POSITIONS)
    key = "original_max_position_embeddings"
    original = reader.number(key, rope.number(key, float(declared)))
    if not 1 <= original <= MAX_POSITIONS:
        raise rope.fail(f"{key} is {quote(original)}, outside 1 to {MAX_POSITIONS}")
    factor = rope.number("factor", None)
    if not 1 <= factor <= MAX_STRETCH:
        raise rope.fail(f"factor is {quote(factor)}, outside 1 to {MAX_STRETCH:,}")
    scale, scale_all = (rope.number(key, 0.0, or_zero=True) for key in ("mscale", "mscale_all_dim"))
    return Yarn(
        factor=factor,
        original=int(original) if original.is_integer() else original,
        attention_factor=rope.number("attention_factor", attention_factor(factor, scale, scale_all)),
        beta_fast=rope.number("beta_fast", 32.0, or_zero=True) or 32.0,
        beta_slow=rope.number("beta_slow", 1.0, or_zero=True) or 1.0,
        truncate=rope.flag("truncate", True),
    )


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
    mixture = _mixture(reader, model_type)

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
    theta, rotary_dim, yarn = _rope(reader, raw, head_dim, where)
    longest = reader.integer("max_position_embeddings", most=MAX_POSITIONS)
    tied = reader.flag("tie_word_embeddings", False) or _Reader(raw, where).flag("tie_word_embeddings", False)
    return ModelConfig(
        model_type=model_type,
        hidden_size=hidden_size,
        intermediate_size=0 if mixture else reader.integer("intermediate_size"),
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
        max_position_embeddings=longest if yarn is None else yarn.limit(longest),
        tie_word_embeddings=tied,
        eos_token_ids=_token_ids(_Reader(text, where, raw), "eos_token_id"),
        yarn=yarn,
        mixture=mixture,
    )
