"""The per-role table in the form of a model card: one row for the roles that are stored alike."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rich.table import Column, Table
from rich.text import Text

from qwen_core.checkpoint.layout import Layout, ModuleLayout, total
from qwen_core.checkpoint.recipe import KEPT, VARIANTS, Variant, recipe_spec
from qwen_core.figures import percent
from qwen_tui.commands.inspect_report.formats import mode_style
from qwen_tui.commands.report import Cell, figures, folding, table, words
from qwen_tui.text.formatting import ranges


@dataclass(frozen=True)
class Family:
    """Roles that a card names together: where they are in a layer, themselves, and their common name."""

    parent: str
    roles: tuple[str, ...]
    label: str


# In the order of the cards: what lies outside the layers, the two mixers, the feed-forward part, small tensors.
FAMILIES = (
    Family("", ("embed_tokens",), "embed_tokens"),
    Family("", ("lm_head",), "lm_head"),
    Family("self_attn", ("q_proj", "k_proj", "v_proj"), "self_attn.q/k/v_proj"),
    Family("self_attn", ("o_proj",), "self_attn.o_proj"),
    Family("linear_attn", ("in_proj_qkv", "in_proj_z"), "linear_attn.in_proj_qkv/z"),
    Family("linear_attn", ("in_proj_b", "in_proj_a"), "linear_attn.in_proj_a/b"),
    Family("linear_attn", ("out_proj",), "linear_attn.out_proj"),
    Family("mlp", ("gate_proj", "up_proj"), "mlp.gate_proj / up_proj"),
    Family("mlp", ("down_proj",), "mlp.down_proj"),
    Family("mlp", ("gate",), "mlp.gate (router)"),
    Family("mlp", ("switch_mlp.gate_proj", "switch_mlp.up_proj"), "switch_mlp.gate/up_proj"),
    Family("mlp", ("switch_mlp.down_proj",), "switch_mlp.down_proj"),
    Family("mlp", ("experts.gate_up_proj",), "experts.gate_up_proj"),
    Family("mlp", ("experts.down_proj",), "experts.down_proj"),
    Family("mlp", ("shared_expert.gate_proj", "shared_expert.up_proj"), "shared_expert.gate/up"),
    Family("mlp", ("shared_expert.down_proj",), "shared_expert.down_proj"),
    Family("mlp", ("shared_expert_gate",), "shared_expert_gate"),
    Family("linear_attn", ("conv1d",), "linear_attn.conv1d"),
    Family("linear_attn", ("A_log", "dt_bias"), "linear_attn.A_log, dt_bias"),
    Family(
        "",
        ("input_layernorm", "q_norm", "k_norm", "linear_attn.norm", "post_attention_layernorm", "norm"),
        "norms",
    ),
)
_WHY = {
    "embed_tokens": "B + 2",
    "lm_head": "B + 3",
    "q_proj": "B + 2 with AWQ",
    "in_proj_qkv": "B + 2 with AWQ",
    "gate_proj": "B",
    "down_proj": "B + 1",
    "gate": "kept: chooses experts",
    "switch_mlp.gate_proj": "B",
    "switch_mlp.down_proj": "B + 1",
    "experts.gate_up_proj": "B",
    "experts.down_proj": "B + 1",
    "shared_expert.gate_proj": "B",
    "shared_expert.down_proj": "B + 1",
    "shared_expert_gate": "kept in float",
    "o_proj": "kept in float",
    "out_proj": "kept in float",
    "in_proj_b": "kept: steers decay",
}


@dataclass(frozen=True)
class RoleRow:
    """Modules of one family in one format. `of` counts all modules of the same roles, whatever their format."""

    label: str
    modules: tuple[ModuleLayout, ...]
    of: int

    @property
    def first(self) -> ModuleLayout:
        return self.modules[0]


def role_rows(modules: Iterable[ModuleLayout]) -> list[RoleRow]:
    """The rows of the table for some modules. Formats of one family stand apart, the most read first."""
    by_role: dict[str, list[ModuleLayout]] = {}
    for module in modules:
        by_role.setdefault(module.role, []).append(module)
    rows: list[RoleRow] = []
    for family in (*FAMILIES, *_others(by_role)):
        formats: dict[str, list[ModuleLayout]] = {}
        for role in family.roles:
            for module in by_role.get(role, ()):
                formats.setdefault(module.format, []).append(module)
        for group in sorted(formats.values(), key=lambda group: -total(group).token_bytes):
            roles = tuple(dict.fromkeys(module.role for module in group))
            rows.append(RoleRow(_label(family, roles), tuple(group), sum(len(by_role[role]) for role in roles)))
    return rows


def family_of(role: str) -> Family:
    """The family that a role belongs to; one of its own for a role that no card names."""
    return next((family for family in FAMILIES if role in family.roles), Family("", (role,), role))


def _others(by_role: Iterable[str]) -> list[Family]:
    known = {role for family in FAMILIES for role in family.roles}
    return [Family("", (role,), role) for role in by_role if role not in known]


def _label(family: Family, roles: tuple[str, ...]) -> str:
    if set(roles) == set(family.roles) or not family.parent:
        return family.label if len(roles) == len(family.roles) else ", ".join(roles)
    return f"{family.parent}.{' / '.join(roles)}"


def role_table(layout: Layout, modules: Sequence[ModuleLayout], nearest: str | None, width: int) -> Table:
    """The table for `modules` of `layout`; notes compare with the recipe of the published variant `nearest`."""
    variant = next((variant for variant in VARIANTS if variant.name == nearest), None)
    columns = (
        *(Column("weight", min_width=12), words("mode"), figures("bits"), figures("group"), figures("share")),
        folding("note", 10),
    )
    return table(columns, [_role_row(layout, row, variant) for row in role_rows(modules)], width)


def _role_row(layout: Layout, row: RoleRow, variant: Variant | None) -> list[Cell]:
    first = row.first
    group = "–" if first.group_size is None else str(first.group_size)
    share = percent(layout.share(total(row.modules).token_bytes))
    spec = (Text(text, mode_style(first)) for text in (first.mode, str(first.bits), group))
    return [row.label, *spec, share, note(layout, row, variant)]


def note(layout: Layout, row: RoleRow, variant: Variant | None) -> str:
    """How many and which, where the spec is from, what the recipe says, what is special."""
    parts = []
    first = row.first
    layers = [module.layer for module in row.modules if module.layer is not None]
    if len(row.modules) < row.of:
        parts.append(f"{len(row.modules)} of {row.of}: layers {ranges(layers)}")
    if variant is not None:
        parts.append(_recipe_note(row, variant))
    sources = dict.fromkeys(module.source for module in row.modules if module.spec is not None)
    if sources:
        parts.append(" and ".join(sorted(sources)))
    if first.experts and layout.mixture is not None:
        parts.append(f"{first.experts} experts, a token reads {layout.mixture.used}")
    if first.role == "embed_tokens":
        parts.append("also the head (tied)" if layout.tied else "a token reads one row")
    return ", ".join(part for part in parts if part)


def _recipe_note(row: RoleRow, variant: Variant) -> str:
    first = row.first
    wanted = recipe_spec(variant, first.role)
    if first.spec == wanted:
        return _WHY.get(family_of(first.role).roles[0], "")
    if wanted is None:
        return f"recipe: {'kept in float' if first.role in KEPT else 'float'}"
    return f"recipe: {wanted.mode} {wanted.bits}-bit g{wanted.group_size}"
