"""Mathematics of an answer: what it reads like, where it begins and ends, and that nothing of it is lost."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwen_tui.text.finished_blocks import answer_parser, finished_length
from qwen_tui.text.formula_rules import MAX_ALL_CHARACTERS
from qwen_tui.text.formulas import formula_text
from qwen_tui.text.markdown import parse_markdown

READ = {
    r"x^2 + y_1 = z^{10}": "x² + y₁ = z¹⁰",
    r"\int_0^1 f(x)\,dx = \frac{1}{2}": "∫₀¹ f(x) dx = 1/2",
    r"\sum_{n=1}^{\infty} \frac{1}{n^2} = \frac{\pi^2}{6}": "∑ₙ₌₁^∞ 1/n² = π²/6",
    r"x = \frac{-b \pm \sqrt{b^2 - 4ac}}{2a}": "x = (-b ± √(b² - 4ac))/(2a)",
    r"\sqrt[3]{8} = 2": "∛8 = 2",
    r"\frac12": "1/2",
    r"e^{i\pi} + 1 = 0": "e^(iπ) + 1 = 0",
    r"\alpha\leq\beta \implies \gamma \neq \delta": "α ≤ β ⟹ γ ≠ δ",
    r"f: \mathbb{R}^n \to \mathbb{R}": "f: ℝⁿ → ℝ",
    r"\hat{y} = \vec{w} \cdot \mathbf{x}": "ŷ = w⃗ · 𝐱",
    r"\text{Loss} = -\log p(x)": "Loss = -log p(x)",
    r"\sin\theta + \cos 2\theta": "sin θ + cos 2θ",
    r"\lim_{x \to 0} \frac{\sin x}{x} = 1": "lim_(x→0) (sin x)/x = 1",
    r"\theta_{t+1} = \theta_t - \eta \nabla_\theta J(\theta)": "θₜ₊₁ = θₜ - η ∇_θ J(θ)",
    r"\frac{\partial L}{\partial w_{ij}}": "∂L/∂wᵢⱼ",
    r"\left. \frac{df}{dx} \right|_{x=0}": "df/dx |ₓ₌₀",
    r"\operatorname{softmax}(QK^T/\sqrt{d_k})V": "softmax(QKᵀ/√dₖ)V",
    r"\begin{pmatrix} a & b \\ c & d \end{pmatrix}": "(a, b; c, d)",
    r"\begin{cases} 1 & x > 0 \\ 0 & \text{otherwise} \end{cases}": "{1, x > 0; 0, otherwise",
    r"\begin{aligned} x &= 1 \\ y &= 2 \end{aligned}": "x = 1\ny = 2",
    r"90^\circ, 100\%, 5% and \{1, 2\}": "90°, 100%, 5% and {1, 2}",
    r"\binom{n}{k}, x \equiv 3 \pmod{7}": "C(n, k), x ≡ 3 (mod 7)",
    r"\boxed{x_{total} = 42}": "x_total = 42",
    r"\overline{AB}": "A̅B̅",
    r"\hat x^2": "x̂²",
    r"x_1 " + "9" * 900: "x₁ " + "9" * 900,
}


@pytest.mark.parametrize(("source", "text"), READ.items())
def test_common_mathematics_reads_like_mathematics(source: str, text: str) -> None:
    assert formula_text(source) == text


@pytest.mark.parametrize(
    "source",
    [
        r"\unknown{x}", "x_", "}{", r"\frac", r"\begin{pmatrix} a", "", " ", "{" * 90 + "}" * 90, "{" * 900,
        r"\xrightarrow{f}", r"\ref{12} x", r"\cite{ab} x", r"\input{/etc/passwd}", r"\def\a{\a\a}\a",
    ],
)  # fmt: skip
def test_what_has_no_such_form_stays_as_it_was_written(source: str) -> None:
    assert formula_text(source) is None
    if source.strip():
        assert _shown(f"\\[{source}\\]\n") == f"\\[{source}\\]"


PIECES = st.sampled_from(
    [r"\frac", r"\sqrt", r"\left(", r"\begin{cases}", r"\end{cases}", r"\\", "&", "{", "}", "^", "_"]
)
WORDS = st.sampled_from(["mass", "東京tower", "w0a1", "abc"])
ANY = st.one_of(
    PIECES, WORDS, st.sampled_from([" ", r"\alpha", r"\text", "[", "]", "$", "%", "~", "\n"]), st.text(max_size=3)
)


@given(st.lists(ANY, max_size=12).map("".join))
def test_anything_at_all_is_read_or_left_with_every_word_of_it(source: str) -> None:
    text = formula_text(source)
    assert text is None or not any(char in text for char in "\ue000\ue001\t")


@given(st.lists(WORDS, min_size=1, max_size=6), st.lists(st.sampled_from(["^", "_", r"\frac ", r"\hat ", "&", " "])))
def test_no_word_is_lost(words: list[str], signs: list[str]) -> None:
    source = " ".join(a + b for a, b in zip([*signs, *[""] * len(words)], words, strict=False))
    text = formula_text(source)
    assert text is None or all(word in unicodedata.normalize("NFKD", text).replace("\u0302", "") for word in words)


@pytest.mark.parametrize(
    "source", [r"\vec{" * 28 + "x" + "}" * 28, r"\hat{\bar{ab}}", r"\hat{" * 9 + "x" * 900 + "}" * 9]
)
def test_accents_over_accents_do_not_double(source: str) -> None:
    assert formula_text(source) is None


def _shown(text: str) -> str:
    return "\n".join(block.content.plain for block in parse_markdown(text))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (r"Area $\pi r^2$ and \(a_1\).", "Area π r² and a₁."),
        (r"It costs $5 and $6, US$7/$8.", "It costs $5 and $6, US$7/$8."),
        ("Set $HOME and $PATH or $a/$b.", "Set $HOME and $PATH or $a/$b."),
        (r"Code `$x^2$` is code, \$x^2\$ is not.", r"Code $x^2$ is code, $x^2$ is not."),
        (r"$\unknown{*a*}\,dx$ *b*", r"$\unknown{*a*}\,dx$ b"),
        ("$$\n\\frac{a}{b}\n- 3\n$$\nafter", "a/b - 3\nafter"),
        ("before\n\\[ x^2 \\].\nafter", "before\nx².\nafter"),
        ("- item\n\n  \\[\n  x^2\n  \\]\n\n  more", "item\nx²\nmore"),
        ("> $$x^2$$\n> more", "x²\nmore"),
        ("$$ x\n\ny $$", "$$ x\ny $$"),
        ("    $$x^2$$\n", "\n$$x^2$$"),
        ("```\n$$x^2$$\n```\n", "\n$$x^2$$"),
    ],
)
def test_where_a_formula_begins_and_ends(text: str, shown: str) -> None:
    assert _shown(text) == shown


def test_a_table_may_hold_formulas() -> None:
    (block,) = parse_markdown("|a|b|\n|-|-|\n|$x^2$|$y_1$|\n")
    assert [cell.plain for cell in block.table[1]] == ["x²", "y₁"]


@pytest.mark.parametrize("more", ["", "- x\n", "x\n", "# x\n---\n", "x\n$$\n"])
def test_a_block_that_is_open_may_still_grow(more: str) -> None:
    before = "before\n\n"
    assert finished_length(before + "$$\n" + more) == len(before)
    assert finished_length(before + "$$\nx\n\ny\n") == len(before + "$$\nx\n\n")


def test_a_block_that_is_very_long_is_shown_as_written() -> None:
    long = "$$\n" + ("a_1 + b_2 + c_3 " * 9 + "= d_4\n") * 8 + "$$"
    assert _shown(long) == long


def test_after_very_much_mathematics_it_is_shown_as_written() -> None:
    shown = _shown("$a_{11}$ " * (MAX_ALL_CHARACTERS // 6 + 1))
    assert shown.count("a₁₁") == MAX_ALL_CHARACTERS // 6
    assert shown.endswith("$a_{11}$")


def test_a_page_shows_formulas_and_keeps_their_source() -> None:
    page = answer_parser().render("$a<b_1$\n\n\\[\\begin{aligned}x\\\\y\\end{aligned}\\]\n")
    assert '<span title="$a&lt;b_1$">a&lt;b₁</span>' in page
    assert "x<br>y" in page
