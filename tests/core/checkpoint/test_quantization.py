"""QuantSpec: headers decide, config must agree, and what MLX cannot run is refused by name."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwen_core.checkpoint.quantization import (
    FLOAT_MODES,
    QuantConfig,
    QuantSpec,
    StoredForm,
    canonical_name,
    compare,
    is_runnable,
    parse_quantization,
    spec_from_headers,
)
from qwen_core.errors import CheckpointError

RUNNABLE = [QuantSpec("affine", b, g) for b in (2, 3, 4, 5, 6, 8) for g in (32, 64, 128)] + [
    QuantSpec(mode, bits, group) for mode, (bits, group) in FLOAT_MODES.items()
]
PREFIXES = ["language_model.model.", "model.language_model.", "model.", ""]


def stored_form(spec: QuantSpec, rows: int, columns: int, float_dtype: str = "BF16") -> StoredForm:
    """FORMAT.md's table of packed tensors."""
    scales = ("U8" if spec.mode != "affine" else float_dtype, (rows, columns // spec.group_size))
    weight = ("U32", (rows, columns * spec.bits // 32))
    return StoredForm(weight, scales, scales if spec.mode == "affine" else None)


@given(
    spec=st.sampled_from(RUNNABLE),
    rows=st.integers(1, 5000),
    groups=st.integers(1, 60),
    dtype=st.sampled_from(["BF16", "F16", "F32"]),
)
def test_headers_alone_give_every_spec_back(spec: QuantSpec, rows: int, groups: int, dtype: str) -> None:
    columns = 128 * groups
    assert spec_from_headers(stored_form(spec, rows, columns, dtype), (rows, columns), "x") == spec


@pytest.mark.parametrize(
    ("spec", "bits"),
    [(("nvfp4", 4, 16), 4.5), (("mxfp4", 4, 32), 4.25), (("mxfp8", 8, 32), 8.25), (("affine", 6, 64), 6.5)],
)
def test_bits_per_weight(spec: tuple[Any, int, int], bits: float) -> None:
    """FORMAT.md, "Bits per weight with their scales"."""
    assert QuantSpec(*spec).bits_per_weight == bits


def test_every_runnable_spec_runs_in_mlx_and_no_other_that_mlx_refuses() -> None:
    """MLX itself is the oracle: quantise and multiply with every combination around the accepted ones."""
    import mlx.core as mx

    weight, x = mx.ones((32, 256)), mx.ones((1, 256))
    for mode in ("affine", "nvfp4", "mxfp4", "mxfp8"):
        for bits in range(2, 9):
            for group in (16, 32, 64, 128):
                try:
                    parts = mx.quantize(weight, group_size=group, bits=bits, mode=mode)
                    mx.eval(mx.quantized_matmul(x, *parts, group_size=group, bits=bits, mode=mode))
                    runs = True
                except (ValueError, RuntimeError):
                    runs = False
                assert is_runnable(QuantSpec(mode, bits, group)) == runs, (mode, bits, group)


@pytest.mark.parametrize(
    ("stored", "says"),
    [
        (StoredForm(("BF16", (64, 128)), ("BF16", (64, 2)), ("BF16", (64, 2))), "packed as U32"),
        (StoredForm(("U32", (63, 16)), ("BF16", (64, 2)), ("BF16", (64, 2))), "63x16 does not hold a 64x128"),
        (StoredForm(("U32", (64, 15)), ("BF16", (64, 2)), ("BF16", (64, 2))), "64x15 does not hold"),
        (StoredForm(("U32", (64, 0)), ("BF16", (64, 2)), ("BF16", (64, 2))), "64x0 does not hold"),
        (StoredForm(("U32", (64, 16)), ("BF16", (64, 3)), ("BF16", (64, 3))), "scales of shape 64x3"),
        (StoredForm(("U32", (64, 16)), ("BF16", (2,)), ("BF16", (2,))), "scales of shape 2"),
        (StoredForm(("U32", (64, 16)), ("BF16", (64, 2)), None), "BF16 scales without biases"),
        (StoredForm(("U32", (64, 16)), ("U8", (64, 8)), ("U8", (64, 8))), "U8 scales with biases"),
        (StoredForm(("U32", (64, 16)), ("U8", (64, 2)), None), "neither nvfp4"),
        (StoredForm(("U32", (64, 16)), ("BF16", (64, 2)), ("F32", (64, 2))), "differ in dtype"),
        (StoredForm(("U32", (64, 16)), ("BF16", (64, 2)), ("BF16", (64, 1))), "differ in dtype or shape"),
        (StoredForm(("U32", (64, 28)), ("BF16", (64, 2)), ("BF16", (64, 2))), "affine 7-bit group 64"),
        (StoredForm(("U32", (64, 16)), ("BF16", (64, 8)), ("BF16", (64, 8))), "affine 4-bit group 16"),
    ],
)
def test_headers_that_fit_no_format_are_named(stored: StoredForm, says: str) -> None:
    with pytest.raises(CheckpointError) as caught:
        spec_from_headers(stored, (64, 128), "file: tensor t")
    assert "file: tensor t" in str(caught.value)
    assert says in str(caught.value)


@given(st.sampled_from(PREFIXES), st.sampled_from(PREFIXES), st.sampled_from(RUNNABLE))
def test_prefixes_compare_equal(first: str, second: str, spec: QuantSpec) -> None:
    block = {
        "bits": 4,
        first + "layers.0.mlp.up_proj": {"bits": spec.bits, "group_size": spec.group_size, "mode": spec.mode},
    }
    config = parse_quantization({"quantization": block}, "c")
    assert config.reading(canonical_name(second + "layers.0.mlp.up_proj")) == (spec, "override")
    assert canonical_name("language_model.lm_head") == canonical_name("lm_head") == "lm_head"


def test_the_mode_may_be_missing_and_values_may_be_flags() -> None:
    config = parse_quantization({"quantization": {"group_size": 64, "bits": 4, "a": False, "b": True}}, "c")
    default = QuantSpec("affine", 4, 64)
    assert config.reading("x") == (default, "default")
    assert config.reading("a") == (None, "override")
    assert config.reading("b") == (default, "override")


def test_either_block_name_serves_and_ignored_modules_are_passed_over() -> None:
    block = {"bits": 8, "group_size": 32, "vision_tower.x": {"mode": "q4k"}, "mtp.fc": {"bits": 99}}
    for name in ("quantization", "quantization_config"):
        config = parse_quantization({name: block}, "c", ("vision_tower.", "mtp."))
        assert config.default == QuantSpec("affine", 8, 32)
        assert not config.overrides
    assert parse_quantization({}, "c").default is None


@pytest.mark.parametrize("mode", ["fp8_e4m3", "sym8", "q4k", "q5k", "q6k", "unheard-of", 7, None, ["affine"]])
@pytest.mark.parametrize("place", ["default", "override"])
def test_modes_that_mlx_lacks_are_refused_by_name(mode: object, place: str) -> None:
    triple = {"bits": 4, "group_size": 64, "mode": mode}
    block = triple if place == "default" else {"bits": 4, "group_size": 64, "model.layers.1.mlp.up_proj": triple}
    with pytest.raises(CheckpointError) as caught:
        parse_quantization({"quantization": block}, "dir/config.json")
    assert repr(mode) in str(caught.value)
    if place == "override":
        assert "model.layers.1.mlp.up_proj" in str(caught.value)


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        ({"quantization_config": {"quant_method": "fp8"}}, "quant_method 'fp8'"),
        ({"quantization": [4, 64]}, "must be an object"),
        ({"quantization": {"bits": "4"}}, "bits must be a whole number"),
        ({"quantization": {"bits": 7, "group_size": 64}}, "affine 7-bit group 64"),
        ({"quantization": {"bits": 4, "group_size": 32, "mode": "nvfp4"}}, "nvfp4 4-bit group 32"),
        ({"quantization": {"bits": 4, "model.a": {"bits": 4}, "a": {"bits": 8}}}, "under two prefixes"),
    ],
)
def test_a_block_that_cannot_be_used_is_refused(raw: dict[str, Any], says: str) -> None:
    with pytest.raises(CheckpointError) as caught:
        parse_quantization(raw, "dir/config.json")
    assert says in str(caught.value)
    assert "dir/config.json" in str(caught.value)


OPTIONAL_SPECS = st.none() | st.sampled_from(RUNNABLE)


@given(stored=OPTIONAL_SPECS, default=OPTIONAL_SPECS, override=st.just("absent") | OPTIONAL_SPECS)
def test_the_headers_count_and_config_is_heard(
    stored: QuantSpec | None, default: QuantSpec | None, override: QuantSpec | str | None
) -> None:
    """A tensor agrees with its override, or else with the default, of which unquantised tensors are free."""
    overrides = {} if isinstance(override, str) else {"m": override}
    config = QuantConfig("config.json", default, overrides)
    claimed = overrides.get("m", default)
    agrees = stored == claimed or (stored is None and not overrides)
    source, said = compare("m", stored, config)
    if agrees:
        assert (source, said) == (None if stored is None else "override" if overrides else "default", "")
        return
    assert source == (None if stored is None else "headers")
    if claimed is not None or overrides:
        assert str(claimed or "unquantised") in said
    else:
        assert "no quantization block" in said


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["bits", "group_size", "mode", "quant_method", "model.a"]), inner, max_size=4)
    ),
    max_leaves=8,
)


@given(JSON, JSON)
def test_no_block_is_a_crash(first: Any, second: Any) -> None:
    try:
        parse_quantization({"quantization": first, "quantization_config": second}, "c")
    except CheckpointError as error:
        assert str(error).isprintable()
