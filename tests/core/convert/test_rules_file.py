"""A person's rules in TOML: the first match wins, and every slip is one line that names the rule."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from qwen_core.checkpoint.architecture import text_tensors
from qwen_core.checkpoint.directory import Checkpoint, open_checkpoint
from qwen_core.checkpoint.quantization import QuantSpec
from qwen_core.convert.convert import convert
from qwen_core.convert.plan import make_plan
from qwen_core.convert.rules import Weight
from qwen_core.convert.rules_file import CustomRules, read_rules
from qwen_core.errors import SettingsError
from support.conversion import NINE, load_all, same_bits, variant_rules, write_raw

LAYERS = (*["linear_attention"] * 3, "full_attention") * 16
NVFP4, Q3 = QuantSpec("nvfp4", 4, 16), QuantSpec("affine", 3, 64)


def rules(tmp_path: Path, text: str) -> CustomRules:
    (tmp_path / "rules.toml").write_text(text, encoding="utf-8")
    return read_rules(tmp_path / "rules.toml")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    return open_checkpoint(write_raw(tmp_path_factory.mktemp("rules") / "raw"))


def test_a_byte_order_mark_is_no_part_of_the_rules(tmp_path: Path) -> None:
    (tmp_path / "rules.toml").write_text('name = "ü"\n[[rule]]\nmatch = "*"\nkeep = true\n', encoding="utf-8-sig")
    assert read_rules(tmp_path / "rules.toml").name == "ü"


def test_the_first_match_decides(tmp_path: Path) -> None:
    found = rules(
        tmp_path,
        """
        name = "mine"
        [[rule]]
        match = "mlp.down_proj"
        layers = [-2, -1]
        keep = true
        [[rule]]
        match = ["mlp.*", "layers.0.self_attn.?_proj"]
        mode = "nvfp4"
        [[rule]]
        match = "*_proj"
        mode = "affine"
        bits = 3
        """,
    )
    decided = {
        module: found.decide(Weight(module, 8))
        for module in (
            "layers.6.mlp.down_proj", "layers.5.mlp.down_proj", "layers.7.mlp.up_proj", "layers.0.self_attn.q_proj",
            "layers.1.self_attn.q_proj", "lm_head",
        )
    }  # fmt: skip
    assert list(decided.values()) == [None, NVFP4, NVFP4, NVFP4, Q3, None]
    assert found.name == "mine"
    assert found.default([NVFP4, Q3, Q3]) == Q3
    assert found.default([]) is None


@pytest.mark.parametrize("variant", NINE)
def test_a_variant_written_out_as_rules_gives_the_same_weights(
    variant: str, checkpoint: Checkpoint, tmp_path: Path
) -> None:
    by_recipe = make_plan(checkpoint, variant_rules(variant))
    written = [
        f'[[rule]]\nmatch = "{module}"\nmode = "{s.mode}"\nbits = {s.bits}\ngroup_size = {s.group_size}\n'
        for module, s in by_recipe.specs.items()
    ]
    by_rules = make_plan(checkpoint, rules(tmp_path, "\n".join(written)))
    assert by_rules.specs == by_recipe.specs
    convert(by_rules, tmp_path / "one")
    convert(by_recipe, tmp_path / "two")
    one, two = load_all(tmp_path / "one"), load_all(tmp_path / "two")
    assert set(one) == set(two)
    assert all(same_bits(one[name], two[name]) for name in one)
    assert open_checkpoint(tmp_path / "one").specs == by_recipe.specs
    block = by_rules.config()["quantization"]
    assert sum(isinstance(value, dict) for value in block.values()) < len(by_rules.specs)


RULE = '[[rule]]\nmatch = "mlp.*"\n'


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "has no rules"),
        ("rule = 3", "has no rules"),
        ("rule = [3]", "rule 1 is not a table"),
        ("[[rule]\n", "is not TOML"),
        ("colour = 1\n" + RULE, "has the key colour"),
        ("name = 3\n" + RULE + "keep = true", "name must be text"),
        ("[[rule]]\nkeep = true", "rule 1 needs match"),
        ("[[rule]]\nmatch = []\nkeep = true", "rule 1 needs match"),
        ("[[rule]]\nmatch = [3]\nkeep = true", "rule 1 needs match"),
        (RULE, r"rule 1 \(mlp.\*\) needs a mode, or keep"),
        (RULE + "keep = true\n" + RULE + "mode = 'q4k'", r"rule 2 \(mlp.\*\): mode 'q4k' is not one of affine"),
        (RULE + "mode = 4", "mode 4 is not one of"),
        (RULE + "mode = 'affine'", "affine needs bits"),
        (RULE + "mode = 'affine'\nbits = 4.5", "whole numbers"),
        (RULE + "mode = 'affine'\nbits = 7", "cannot run affine 7-bit group 64"),
        (RULE + "mode = 'nvfp4'\ngroup_size = 32", "cannot run nvfp4 4-bit group 32"),
        (RULE + "mode = 'nvfp4'\nkeep = true", "cannot be used together"),
        (RULE + "keep = 1", "keep must be true or false"),
        (RULE + "keep = true\nlayers = 3", "layers must be two whole numbers"),
        (RULE + "keep = true\nlayers = [0, true]", "layers must be two whole numbers"),
        (RULE + "keep = true\nlayer = 3", "has the key layer"),
    ],
)
def test_slips_are_named(text: str, reason: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=reason) as caught:
        rules(tmp_path, text)
    assert "rules.toml" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('[[rule]]\nmatch = "mlp.gate"\nkeep = true', "rule 1 .* has no effect on this model: it matches no weight"),
        (RULE + 'layers = [2, 1]\nkeep = true', "rule 1 .* it matches no weight"),
        (RULE + 'layers = [1, 4]\nkeep = true', r"rule 1 \(mlp.\*\): layers names 4, but the model has 4 layers"),
        (RULE + 'layers = [-5, -1]\nkeep = true', "rule 1 .*: layers names -5, .* 4 layers: 0 to 3, or -4 to -1"),
        (RULE + 'keep = true\n[[rule]]\nmatch = ["q_proj", "k_porj"]\nkeep = true',
         r"rule 2 \(q_proj, k_porj\): its pattern k_porj matches no weight"),
        (RULE + 'keep = true\n[[rule]]\nmatch = "up_proj"\nmode = "nvfp4"', "rule 2 .* earlier rules take all"),
    ],
)  # fmt: skip
def test_rules_without_effect_are_slips(text: str, reason: str, checkpoint: Checkpoint, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=reason) as caught:
        make_plan(checkpoint, rules(tmp_path, text))
    assert "rules.toml" in str(caught.value)


def test_a_list_may_name_what_only_some_models_have(checkpoint: Checkpoint, tmp_path: Path) -> None:
    """lm_head, which tied models lack; and a mixer that the layers of this rule do not have."""
    found = rules(tmp_path, '[[rule]]\nmatch = ["q_proj", "mlp.*", "lm_head"]\nlayers = [0, 1]\nmode = "nvfp4"')
    tensors = text_tensors(checkpoint.config, lm_head=False)
    found.check(Weight(tensor.module, 4) for tensor in tensors if tensor.kind == "matrix")


def test_a_width_that_no_group_divides_names_the_rule(tmp_path: Path) -> None:
    odd = open_checkpoint(write_raw(tmp_path / "odd", text={"intermediate_size": 272}))
    text = RULE + "layers = [0, 0]\nkeep = true\n" + RULE + 'mode = "affine"\nbits = 4'
    reason = r"rules.toml, rule 2 \(mlp.\*\): tensor .*layers.1.mlp.down_proj.weight has 272 columns"
    with pytest.raises(SettingsError, match=reason) as caught:
        make_plan(odd, rules(tmp_path, text))
    assert "a rule before this one" in str(caught.value)


def test_files_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    for name, content in (("bad", b"\xff"), ("deep", b"a=" + b"[" * 100_000), ("long", b"#" * (1 << 20) + b"#")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(SettingsError, match="the recipe"):
            read_rules(tmp_path / name)
    for path in (tmp_path / "none", tmp_path):
        with pytest.raises(SettingsError, match="the recipe cannot be read"):
            read_rules(path)


def test_the_documents_example_is_a_recipe(checkpoint: Checkpoint, tmp_path: Path) -> None:
    document = Path(__file__).resolve().parents[3] / "tui" / "README.md"
    (example,) = re.findall(r"```toml\n(.*?)```", document.read_text(encoding="utf-8"), re.DOTALL)
    found = rules(tmp_path, example)
    decided = [found.decide(Weight(f"layers.{layer}.mlp.up_proj", 64)) for layer in range(64)]
    assert decided == [QuantSpec("affine", 6, 64)] * 4 + [NVFP4] * 56 + [QuantSpec("affine", 6, 64)] * 4
    assert found.decide(Weight("layers.0.linear_attn.out_proj", 64)) is None
    config = replace(checkpoint.config, layer_types=LAYERS)
    found.check(Weight(tensor.module, 64) for tensor in text_tensors(config, lm_head=True) if tensor.kind == "matrix")
