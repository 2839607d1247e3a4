"""How one weight is quantised: `QuantSpec`, what MLX can run, and where shard headers and config.json disagree.

The headers decide what a tensor is (FORMAT.md, "The quantisation block"); that the config says otherwise is worth a
warning. This file knows shapes and JSON, not files; directory.py hands both in.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast

from qwen_core.checkpoint.config import text_section
from qwen_core.checkpoint.schemes import check_nvfp4
from qwen_core.errors import CheckpointError, quote
from qwen_core.figures import shape_text

Mode = Literal["affine", "nvfp4", "mxfp4", "mxfp8"]
SpecSource = Literal["override", "default", "headers"]
AFFINE_BITS = (2, 3, 4, 5, 6, 8)
AFFINE_GROUPS = (32, 64, 128)
# Bits and group size of the modes whose scales are one byte: E4M3 for nvfp4, E8M0 for the other two.
FLOAT_MODES: dict[Mode, tuple[int, int]] = {"nvfp4": (4, 16), "mxfp4": (4, 32), "mxfp8": (8, 32)}
MODES = ("affine", *FLOAT_MODES)

# Keys of config.json that say how a checkpoint was quantised.
BLOCKS = ("quantization", "quantization_config")
# The three prefixes under which one and the same text tensor is found, longest first, and heads beside the model.
_PREFIXES = ("language_model.model.", "model.language_model.", "language_model.", "model.")


@dataclass(frozen=True)
class QuantSpec:
    """Mode, bits of one element, and how many elements of a row share a scale."""

    mode: Mode
    bits: int
    group_size: int

    @property
    def bits_per_weight(self) -> float:
        """Bits of one weight with its share of the stored scales (bf16 scale and bias for affine, else one byte)."""
        return self.bits + (32 if self.mode == "affine" else 8) / self.group_size

    def __str__(self) -> str:
        return f"{self.mode} {self.bits}-bit group {self.group_size}"


def stored_parts(shape: tuple[int, ...], spec: QuantSpec) -> dict[str, tuple[str, tuple[int, ...]]]:
    """What a quantised weight [..., columns] is stored in: (dtype, shape) by part ("weight", "scales", "biases").

    FORMAT.md, "packed tensor of W [N, K]". Groups must divide the columns.
    """
    *rows, columns = shape
    groups = (*rows, columns // spec.group_size)
    parts = {"weight": ("U32", (*rows, columns * spec.bits // 32))}
    if spec.mode != "affine":
        return parts | {"scales": ("U8", groups)}
    return parts | {"scales": ("BF16", groups), "biases": ("BF16", groups)}


def canonical_name(name: str) -> str:
    """`name` of a tensor or module without the prefix that its writer gave it: `layers.0.mlp.up_proj.weight`."""
    for prefix in _PREFIXES:
        if name.startswith(prefix):
            return name[len(prefix) :]
    return name


def is_runnable(spec: QuantSpec) -> bool:
    """Whether MLX has a matrix multiplication for this combination."""
    if spec.mode == "affine":
        return spec.bits in AFFINE_BITS and spec.group_size in AFFINE_GROUPS
    return FLOAT_MODES.get(spec.mode) == (spec.bits, spec.group_size)


@dataclass(frozen=True)
class QuantConfig:
    """The quantization block of config.json: the default, and what it says of single modules (None: unquantised)."""

    where: str
    default: QuantSpec | None
    overrides: Mapping[str, QuantSpec | None]

    def reading(self, module: str) -> tuple[QuantSpec | None, SpecSource]:
        """(spec, "override" or "default") that config gives for a canonical module name."""
        if module in self.overrides:
            return self.overrides[module], "override"
        return self.default, "default"


def _spec(block: Mapping[str, Any], where: str) -> QuantSpec:
    mode = block.get("mode", "affine")
    if mode not in MODES:
        raise CheckpointError(
            f"{where}: mode {quote(repr(mode))} is not supported by MLX (supported: {', '.join(MODES)}); "
            "convert the checkpoint again in one of these"
        )
    mode = cast(Mode, mode)
    default_bits, default_group = FLOAT_MODES.get(mode, (4, 64))
    values = []
    for key, default in (("bits", default_bits), ("group_size", default_group)):
        value = block.get(key, default)
        if isinstance(value, bool) or not isinstance(value, int):
            raise CheckpointError(f"{where}: {key} must be a whole number, not {quote(repr(value))}")
        values.append(value)
    spec = QuantSpec(mode, *values)
    if not is_runnable(spec):
        raise CheckpointError(f"{where}: {quote(spec)} is not a combination that MLX can run ({choices(mode)})")
    return spec


def choices(mode: Mode) -> str:
    """What there is of a mode, for messages."""
    if mode == "affine":
        return f"affine has bits {', '.join(map(str, AFFINE_BITS))} and groups {', '.join(map(str, AFFINE_GROUPS))}"
    bits, group = FLOAT_MODES[mode]
    return f"{mode} has {bits} bits and group {group} alone"


def _block(raw: Mapping[str, Any], where: str) -> Mapping[str, Any] | None:
    """The block itself: `quantization`, else `quantization_config`; of NVIDIA's tools what it comes to in MLX's words.

    Raises CheckpointError for a scheme of other tools that is not read, naming it.
    """
    for section in (raw, text_section(raw, where)):
        for key in BLOCKS:
            block = section.get(key)
            if block is None:
                continue
            if not isinstance(block, dict):
                raise CheckpointError(f"{where}: {key} must be an object, not {quote(repr(block))}")
            method = block.get("quant_method")
            if method is not None and method not in ("mlx", *MODES):
                check_nvfp4(block, f"{where}: {key}")
                return {"mode": "nvfp4"}
            return block
    return None


def has_block(raw: Mapping[str, Any], where: str) -> bool:
    """Whether config.json says anything of quantisation."""
    sections = raw, text_section(raw, quote(where))
    return any(section.get(key) for section in sections for key in BLOCKS)


def parse_quantization(raw: Mapping[str, Any], where: str, ignored: tuple[str, ...] = ()) -> QuantConfig:
    """Read the quantization block of config.json; an empty `QuantConfig` where there is none.

    Overrides of modules whose canonical name starts with one of `ignored` are passed over. Raises CheckpointError
    for a mode or combination that MLX cannot run, naming it and the module.
    """
    where = quote(where)
    block = _block(raw, where)
    if block is None:
        return QuantConfig(where, None, {})
    default = _spec(block, where) if "bits" in block or "group_size" in block or "mode" in block else None
    overrides: dict[str, QuantSpec | None] = {}
    for key, value in block.items():
        module = canonical_name(key)
        if module.startswith(ignored) or not isinstance(value, dict | bool):
            continue
        if isinstance(value, dict):
            spec = _spec(value, f"{where}: quantization of {quote(key)}")
        else:
            spec = default if value else None
        if module in overrides and overrides[module] != spec:
            raise CheckpointError(
                f"{where}: quantization names {quote(module)} under two prefixes, once as {overrides[module]} and "
                f"once as {spec}"
            )
        overrides[module] = spec
    return QuantConfig(where, default, overrides)


@dataclass(frozen=True)
class StoredForm:
    """What the headers say of one module: dtype and shape of its parts. `biases` may be absent."""

    weight: tuple[str, tuple[int, ...]]
    scales: tuple[str, tuple[int, ...]]
    biases: tuple[str, tuple[int, ...]] | None


FLOAT_DTYPES = ("BF16", "F16", "F32")


def spec_from_headers(stored: StoredForm, matrix: tuple[int, ...], where: str) -> QuantSpec:
    """The spec of a quantised weight that unpacked is `matrix`, [..., rows, columns], from shapes and dtypes alone.

    bits = packed columns x 32 / columns, group = columns / scale columns. Byte scales without biases are nvfp4, mxfp4
    or mxfp8, told apart by (bits, group); float scales with biases are affine. Raises CheckpointError naming `where`.
    """

    def fail(reason: str) -> CheckpointError:
        return CheckpointError(f"{where}: {reason}")

    *rows, columns = matrix
    dtype, shape = stored.weight
    if dtype != "U32":
        raise fail(f"a tensor with scales must be packed as U32, but its weight is {quote(dtype)}")
    if not _has_rows(shape, rows) or shape[-1] * 32 % columns:
        raise fail(f"packed weight of shape {shape_text(shape)} does not hold a {shape_text(matrix)} matrix")
    bits = shape[-1] * 32 // columns
    scales_dtype, scales_shape = stored.scales
    if not _has_rows(scales_shape, rows) or columns % scales_shape[-1]:
        raise fail(f"scales of shape {shape_text(scales_shape)} do not fit a {shape_text(matrix)} matrix")
    group = columns // scales_shape[-1]

    if stored.biases is None:
        if scales_dtype != "U8":
            raise fail(f"{quote(scales_dtype)} scales without biases are not a format of MLX")
        for mode, layout in FLOAT_MODES.items():
            if layout == (bits, group):
                return QuantSpec(mode, bits, group)
        raise fail(f"byte scales with {bits} bits and group {group} are neither nvfp4, mxfp4 nor mxfp8")
    if scales_dtype not in FLOAT_DTYPES:
        raise fail(f"{quote(scales_dtype)} scales with biases are not a format of MLX")
    if stored.biases != stored.scales:
        raise fail(
            f"biases ({quote(stored.biases[0])} {shape_text(stored.biases[1])}) differ in dtype or shape from scales "
            f"({quote(scales_dtype)} {shape_text(scales_shape)})"
        )
    spec = QuantSpec("affine", bits, group)
    if not is_runnable(spec):
        raise fail(f"stored as {spec}, which is not a combination that MLX can run ({choices('affine')})")
    return spec


def _has_rows(shape: tuple[int, ...], rows: list[int]) -> bool:
    """Whether it is [*rows, columns], with columns."""
    return list(shape[:-1]) == rows and shape[-1] > 0


def compare(module: str, stored: QuantSpec | None, config: QuantConfig) -> tuple[SpecSource | None, str]:
    """Compare the headers' reading of `module` with config's: (what says how it is stored, what config says instead).

    The first is "override" or "default", "headers" where config says otherwise, None if unquantised; the second is
    empty where they agree. The default says nothing of unquantised modules: bf16 modules have no entry.
    """
    claimed, source = config.reading(module)
    if stored == claimed or (stored is None and source == "default"):
        return (None if stored is None else source), ""
    has_block = config.default is not None or source == "override"
    said = f"says {claimed_text(module, config)}" if has_block else "has no quantization block"
    return (None if stored is None else "headers"), said


def claimed_text(module: str, config: QuantConfig) -> str:
    """What config says of a module, and where: "nvfp4 4-bit group 16 (default)"."""
    claimed, source = config.reading(module)
    return f"{claimed or 'unquantised'} ({source})"
