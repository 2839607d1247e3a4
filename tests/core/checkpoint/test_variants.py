"""Which variant a layout is: every published one from its headers, and nothing else taken for one of them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwen_core.checkpoint.config import parse_config
from qwen_core.checkpoint.directory import open_checkpoint
from qwen_core.checkpoint.layout import make_layout, role_of
from qwen_core.checkpoint.quantization import is_runnable
from qwen_core.checkpoint.recipe import VARIANTS, Variant, recipe_spec, snap
from qwen_core.checkpoint.variants import Cost, Verdict, identify, predict, variant_name
from support import published_plan
from support.checkpoints import write_checkpoint
from support.mixtures import MATRICES, write_mixture
from support.published_plan import Spec, spec_of, text_config, text_plan

NAMES = {
    "q2": "UD-Q2_K_XL",
    "q3": "UD-Q3_K_XL",
    "q4": "UD-Q4_K_XL",
    "q5": "UD-Q5_K_XL",
    "q6": "UD-Q6_K_XL",
    "q8": "UD-Q8_K_XL",
    "mxfp4": "UD-MXFP4_K_XL",
    "nvfp4": "UD-NVFP4_K_XL",
    "mxfp8": "UD-MXFP8_K_XL",
    "bf16": "bf16",
}
BY_NAME: dict[str, Variant | None] = {variant.name: variant for variant in VARIANTS} | {"bf16": None}
ROLES = {
    planned.name.removesuffix(".weight"): planned.role
    for planned in text_plan(text_config(True, {}))
    if planned.role in MATRICES
}


def verdict(path: Path, choose: Callable[[str], Spec | None], **options: Any) -> Verdict:
    write_mixture(path, choose, **options)
    return identify(make_layout(open_checkpoint(path)))


def recipe(variant: str) -> Callable[[str], Spec | None]:
    return lambda module: spec_of(variant, ROLES[module])


def test_there_are_nine_published_variants() -> None:
    assert set(NAMES) == set(published_plan.VARIANTS)
    assert {variant.name for variant in VARIANTS} == set(NAMES.values()) - {"bf16"}


@pytest.mark.parametrize("variant", published_plan.VARIANTS)
def test_every_variant_of_the_27b_is_told_from_its_headers_and_costs_what_was_predicted(
    variant: str, tmp_path: Path
) -> None:
    """The directory's name says nothing: it is the same for all."""
    write_checkpoint(tmp_path, variant, full=True)
    checkpoint = open_checkpoint(tmp_path)
    layout = make_layout(checkpoint)
    found = identify(layout)
    assert found.name == variant_name(checkpoint) == NAMES[variant]
    assert found.differing == ()
    if variant != "bf16":
        assert found.nearest == found.name
        assert found.evidence == "all 338 quantised matrices and the 160 kept in float follow its recipe"
    predicted = predict(checkpoint.config, BY_NAME[found.name])
    assert predicted == Cost(layout.text.nbytes, layout.token_bytes)


@pytest.mark.parametrize("variant", published_plan.VARIANTS)
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"tied": True},
        {"names": "raw"},
        {"names": "flat", "nested": False, "shard_cap": None},
        {"text": {"num_hidden_layers": 1}},
    ],
    ids=str,
)
def test_small_ones_too_however_they_are_written(options: dict[str, Any], variant: str, tmp_path: Path) -> None:
    write_checkpoint(tmp_path, variant, **options)
    checkpoint = open_checkpoint(tmp_path)
    layout = make_layout(checkpoint)
    assert identify(layout).name == NAMES[variant]
    assert predict(checkpoint.config, BY_NAME[NAMES[variant]]) == Cost(layout.text.nbytes, layout.token_bytes)


@pytest.mark.parametrize("variant", sorted(set(NAMES) - {"bf16"}))
@pytest.mark.parametrize("module", ["layers.2.mlp.down_proj", "layers.3.self_attn.o_proj", "lm_head"])
def test_one_changed_module_makes_it_custom_and_is_named(module: str, variant: str, tmp_path: Path) -> None:
    usual = spec_of(variant, ROLES[module])
    changed = Spec("affine", 8, 32) if usual != Spec("affine", 8, 32) else None
    found = verdict(tmp_path, lambda name: changed if name == module else recipe(variant)(name))
    assert found.name == "custom"
    assert (found.nearest, found.differing) == (NAMES[variant], (module,))
    assert f"1 of {len(ROLES)} matrices differ from the nearest, {NAMES[variant]}: {role_of(module)}" == found.evidence


@pytest.mark.parametrize("spec", [Spec("affine", 4, 64), Spec("affine", 8, 64), Spec("mxfp4", 4, 32)], ids=str)
@pytest.mark.parametrize("tied", [False, True])
def test_all_alike_is_uniform(spec: Spec, tied: bool, tmp_path: Path) -> None:
    """What mlx_lm.convert writes. Affine 8-bit differs from UD-Q8_K_XL only in what that keeps in bf16."""
    found = verdict(tmp_path, lambda _: spec, default=spec, tied=tied)
    assert found.name == f"uniform {spec.mode} {spec.bits}-bit g{spec.group}"
    count = len(ROLES) - tied
    assert found.evidence == f"{count} of {count} matrices are {spec.mode} {spec.bits}-bit group {spec.group}"


def test_uniform_says_what_it_leaves_out(tmp_path: Path) -> None:
    spec = Spec("affine", 6, 64)
    found = verdict(tmp_path, lambda name: None if "in_proj_" in name else spec, default=spec)
    assert found.name == "uniform affine 6-bit g64"
    assert "the others (in_proj_a, in_proj_b, in_proj_qkv, in_proj_z) are not quantised" in found.evidence


@pytest.mark.parametrize(("float_dtype", "name"), [("BF16", "bf16"), ("F16", "f16"), ("F32", "f32")])
def test_nothing_quantised_is_its_float_type(float_dtype: str, name: str, tmp_path: Path) -> None:
    found = verdict(tmp_path, lambda _: None, float_dtype=float_dtype)
    assert (found.name, found.nearest) == (name, None)
    assert found.evidence == f"none of {len(ROLES)} matrices is quantised"


@given(bits=st.integers(-3, 12))
def test_snap_gives_the_nearest_width_that_the_recipe_uses(bits: int) -> None:
    assert snap(bits) in (2, 3, 4, 5, 6, 8)
    assert snap(bits) == (bits if bits in (2, 3, 4, 5, 6) else 2 if bits < 2 else 8)


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: variant.name)
def test_the_recipe_is_formats_table(variant: Variant) -> None:
    """The program's recipe against the tests' own reading of FORMAT.md, and never what MLX cannot run."""
    short = next(key for key, name in NAMES.items() if name == variant.name)
    for planned in text_plan(text_config(False, {})):
        mine = spec_of(short, planned.role)
        spec = recipe_spec(variant, role_of(planned.name.removesuffix(".weight")))
        assert (spec and (spec.mode, spec.bits, spec.group_size)) == (mine and (mine.mode, mine.bits, mine.group))
        assert spec is None or is_runnable(spec)


# What the cards of the published files give, in decimal GB.
CARD_GB = dict(zip(VARIANTS, (15, 18, 21, 25, 27, 30, 21, 21, 29), strict=True))


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: variant.name)
def test_predictions_agree_with_the_sizes_on_the_cards(variant: Variant) -> None:
    """The cards give whole GB, the vision tower of 0.92 GB included, some of them binary ones: within 6 %."""
    cost = predict(parse_config(text_config(False, {}), "config.json"), variant)
    assert cost.nbytes + 921_000_000 == pytest.approx(CARD_GB[variant] * 1e9, rel=0.06)
