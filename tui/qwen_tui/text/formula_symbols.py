"""Which character a command of LaTeX stands for, and which characters have a raised or a lowered form.

Most symbols are pylatexenc's; here is what it has none for.
"""

from functools import cache

from pylatexenc.latex2text import get_default_latex_context_db
from pylatexenc.macrospec import LatexContextDb

SUPERSCRIPTS = dict(
    zip(
        "0123456789+-=()abcdefghijklmnoprstuvwxyzABDEGHIJKLMNOPRTUVWαβγδθφχ−′",
        "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁼⁽⁾ᵃᵇᶜᵈᵉᶠᵍʰⁱʲᵏˡᵐⁿᵒᵖʳˢᵗᵘᵛʷˣʸᶻᴬᴮᴰᴱᴳᴴᴵᴶᴷᴸᴹᴺᴼᴾᴿᵀᵁⱽᵂᵅᵝᵞᵟᶿᵠᵡ⁻′",
        strict=True,
    )
)
SUBSCRIPTS = dict(zip("0123456789+-=()aehijklmnoprstuvxβγρφχ−", "₀₁₂₃₄₅₆₇₈₉₊₋₌₍₎ₐₑₕᵢⱼₖₗₘₙₒₚᵣₛₜᵤᵥₓᵦᵧᵨᵩᵪ₋", strict=True))
RELATIONS = frozenset("≤≥≠≈≡∼≃≅∝→←↔⇒⇐⇔⟹⟸⟺↦∈∉⊂⊆⊃⊇×·±∓÷∪∩∧∨∣⊕⊗≪≫⩽⩾")
"""Between two things, so that a space stands on both sides of them."""

ACCENTS = {"hat": "̂", "widehat": "̂", "bar": "̄", "vec": "⃗", "dot": "̇", "ddot": "̈", "tilde": "̃", "widetilde": "̃"}
ACCENTS |= {"overline": "̅", "underline": "̲", "acute": "́", "grave": "̀", "check": "̌", "overrightarrow": "⃗"}
"""Combining characters, written after each character that they stand over or under."""

STYLES = ("mathbf", "mathbb", "mathcal", "mathscr", "mathfrak", "mathsf", "mathtt", "mathit")
"""Whose letters have characters of their own."""

AS_THEY_ARE = ("mathrm", "text", "textrm", "textit", "textbf", "textsf", "texttt", "operatorname", "operatorname*")
AS_THEY_ARE += ("boldsymbol", "bm", "pmb", "boxed", "mbox", "mathop", "underbrace", "overbrace")
"""Of which only what is inside is shown."""

NOTHING = ("left", "right", "big", "Big", "bigg", "Bigg", "bigl", "bigr", "Bigl", "Bigr", "biggl", "biggr", "middle")
NOTHING += ("displaystyle", "textstyle", "scriptstyle", "limits", "nolimits", "nonumber", "notag", "!")
"""How large something is drawn, and where."""

FUNCTIONS = ("arg", "argmax", "argmin", "deg", "det", "dim", "gcd", "hom", "ker", "lcm", "Pr", "sgn", "mod", "bmod")

_MORE = {
    "implies": "⟹", "iff": "⟺", "impliedby": "⟸", "gets": "←", "to": "→", "|": "‖", "ne": "≠", "neg": "¬", "land": "∧",
    "lor": "∨", "Re": "ℜ", "Im": "ℑ", "triangle": "△", "checkmark": "✓", "degree": "°", "bot": "⊥", "models": "⊨",
    "colon": ":", "coloneqq": "≔", "Box": "□", "qed": "∎", "S": "§", "P": "¶", "lt": "<", "gt": ">", "%": "%",
    "cdot": "·", "circ": "∘", "mid": "∣", "space": " ", "enspace": " ", "thinspace": " ", ",": " ", ";": " ", ":": " ",
    " ": " ", ">": " ", "quad": "  ", "qquad": "    ", "lVert": "‖", "rVert": "‖", "Vert": "‖", "lvert": "|",
    "rvert": "|", "vert": "|", "\\": "\n", "newline": "\n",
}  # fmt: skip


@cache
def symbol(name: str) -> str | None:
    """What the command `name` stands for; None where that is not known, or no plain text."""
    if name in _MORE:
        return _MORE[name]
    known = getattr(_texts().get_macro_spec(name), "simplify_repl", None)
    return known if isinstance(known, str) and known and "%" not in known else None


@cache
def _texts() -> LatexContextDb:
    return get_default_latex_context_db()
