"""Common mathematics in LaTeX as Unicode. What has no such form, or would lose something, stays as it was written."""

import re
import unicodedata
from collections.abc import Iterator, Sequence
from functools import cache, lru_cache
from typing import Any

from pylatexenc.latex2text import fmt_math_text_style
from pylatexenc.latexwalker import (
    LatexCharsNode,
    LatexEnvironmentNode,
    LatexGroupNode,
    LatexMacroNode,
    LatexMathNode,
    LatexSpecialsNode,
    LatexWalker,
    get_default_latex_context_db,
)
from pylatexenc.macrospec import LatexContextDb, std_macro

from qwen_tui.text.formula_symbols import (
    ACCENTS,
    AS_THEY_ARE,
    FUNCTIONS,
    NOTHING,
    RELATIONS,
    STYLES,
    SUBSCRIPTS,
    SUPERSCRIPTS,
    symbol,
)

MAX_BRACES = 100
"""Of one formula, so that none is nested deeper than the parser can follow."""

_ONE_THING = re.compile(r"[√∛∜∂∇]?([^\W\d]+|[\d.]+)[⁰-₟ᵃ-ᵻ²³¹]*[!'′%]*(\([^()]*\))?|\([^()]*\)|[∂∇]")
"""A name or a number, maybe raised, lowered or applied to something: what may be over or under a bar as it is."""

_FRACTIONS = ("frac", "dfrac", "tfrac", "cfrac", "nicefrac")
_ROWS = ("aligned", "align", "align*", "gathered", "gather", "gather*", "split", "equation", "equation*", "multline")
_MATRICES = {"matrix": "  ", "pmatrix": "()", "bmatrix": "[]", "Bmatrix": "{}", "vmatrix": "||", "Vmatrix": "‖‖"}
_MATRICES |= {"smallmatrix": "  ", "array": "  ", "cases": "{ "}
_STYLE_NAMES = {"mathbf": "bold", "mathit": "italic", "mathsf": "sans", "mathbb": "doublestruck", "mathtt": "monospace"}
_STYLE_NAMES |= {"mathcal": "script", "mathscr": "script", "mathfrak": "fraktur"}
_ROOTS = {"2": "√", "3": "∛", "4": "∜"}
_PLAIN = re.compile(r"[\w\s+\-=<>()\[\].,:;!/|'*]*", re.ASCII)
"""Of which each character stands for itself."""

# Marks of this file's own, taken out at the end: around a relation, and where two names would read as one.
_AROUND, _APPLIED = "\ue000", "\ue001"


class _UnreadableError(Exception):
    """Something that is not known here."""


@lru_cache(maxsize=2_000)
def formula_text(source: str) -> str | None:
    """What `source`, without its delimiters, reads like; None where it should be shown as it is written.

    Each word of three letters or more in `source` is in the result too, in some form of its letters.
    """
    if source.count("{") > MAX_BRACES or _AROUND in source:
        return None
    if _PLAIN.fullmatch(source) and "_" not in source:
        return source.strip() or None
    try:
        written = re.sub(r"(?<!\\)%", r"\\%", source)  # a percentage, more likely than a comment
        nodes, _, _ = LatexWalker(written, latex_context=_commands(), tolerant_parsing=False).get_latex_nodes()
        text = _spaced(_written(nodes).replace("\t", " "))
    except (_UnreadableError, ValueError, IndexError, AttributeError, TypeError, RecursionError):
        return None
    except Exception as error:  # the parser's own errors are of two unrelated kinds, one of them a bare Exception
        if type(error).__module__.startswith("pylatexenc"):
            return None
        raise
    return text if text and _has_all_words(source, text) else None


def _has_all_words(source: str, text: str) -> bool:
    written = re.sub(r"\\(begin|end) *\{[^}]*\}(\{[lcr|]*\})?|\\[a-zA-Z]+", " ", source)
    plain = _letters(text)
    return all(_letters(run) in plain for run in re.findall(r"[^\W_]{3,}", written) if not run.isdecimal())


def _letters(text: str) -> str:
    return "".join(char for char in unicodedata.normalize("NFKD", text) if not unicodedata.combining(char))


def _spaced(text: str) -> str:
    text = re.sub(f" *{_AROUND}(.){_AROUND} *", r" \1 ", text)
    text = re.sub(f"(?<=\\w){_APPLIED}+(?=[^\\W_])", " ", text).replace(_APPLIED, "")
    text = re.sub(r"(?<=[∂∇]) +(?=\w)", "", text)
    rows = (re.sub(" {2,}", " ", row).strip(" ") for row in text.split("\n"))
    return "\n".join(row for row in rows if row)


@cache
def _commands() -> LatexContextDb:
    """The parser's own, and how much belongs to those that it has not heard of."""
    commands = get_default_latex_context_db()
    one = (*AS_THEY_ARE, *STYLES, *ACCENTS, "xrightarrow", "pmod", "tag", "phantom")
    two = (*_FRACTIONS, "binom", "dbinom", "tbinom", "overset", "underset", "stackrel")
    macros = [std_macro(name, False, 1) for name in one] + [std_macro(name, False, 2) for name in two]
    commands.add_context_category("formulas", macros=macros, prepend=True)
    return commands


def _written(nodes: Sequence[Any]) -> str:
    """The text of `nodes` one after the other, with what is raised and lowered among them."""
    text, script = "", ""
    for piece, is_sign in _pieces(nodes):
        if is_sign and not script:
            script = piece
        elif is_sign:
            raise _UnreadableError
        elif script and piece.strip():
            text += _script(script, piece.strip())
            script = ""
        elif not script:
            text += piece
    if script:
        raise _UnreadableError
    return text


def _pieces(nodes: Sequence[Any]) -> Iterator[tuple[str, bool]]:
    """The text of each thing that may be raised as one, and whether it is the sign that raises or lowers the next."""
    after_delimiter = False
    for node in nodes:
        match node:
            case LatexCharsNode():
                chars = node.chars.removeprefix(".") if after_delimiter else node.chars
                yield from ((" " if char in "\t\n" else char, char in "^_") for char in chars)
            case LatexMacroNode():
                yield _macro(node), False
                is_word = node.macro_post_space and node.macroname not in NOTHING and not node.nodeargd.argnlist
                yield " " if is_word else "", False
            case _:
                yield _one(node), False
        after_delimiter = isinstance(node, LatexMacroNode) and node.macroname in ("left", "right")


def _one(node: Any) -> str:
    match node:
        case LatexGroupNode() | LatexMathNode():
            return _written(node.nodelist)
        case LatexEnvironmentNode():
            return _environment(node)
        case LatexSpecialsNode():
            return {"~": " ", "&": "\t"}.get(str(node.specials_chars), str(node.specials_chars))
        case LatexMacroNode():
            return _macro(node)
        case LatexCharsNode():
            return str(node.chars)
        case _:
            raise _UnreadableError


def _macro(node: Any) -> str:
    name = node.macroname
    inside = [_one(argument) for argument in node.nodeargd.argnlist if argument is not None] if node.nodeargd else []
    match name, inside:
        case _ if name in NOTHING:
            return ""
        case _ if name in FUNCTIONS:
            return name + _APPLIED
        case _, [over, under] if name in _FRACTIONS:
            return f"{_APPLIED}{_factor(over)}/{_factor(under)}{_APPLIED}"
        case "sqrt", [of]:
            return "√" + _factor(of)
        case "sqrt", [degree, of]:
            return _root(degree.strip("[]")) + _factor(of)
        case "binom" | "dbinom" | "tbinom", [among, chosen]:
            return f"C({among}, {chosen})"
        case "pmod", [modulus]:
            return f" (mod {modulus})"
        case _, [of] if name in AS_THEY_ARE:
            return of + (_APPLIED if name.startswith("operatorname") else "")
        case _, [of] if name in STYLES:
            return str(fmt_math_text_style(of, _STYLE_NAMES[name]))
        case _, [of] if name in ACCENTS:
            return _accented(of, ACCENTS[name])
        case _:
            return _plain_symbol(name)


def _plain_symbol(name: str) -> str:
    text = symbol(name)
    if text is None or re.fullmatch("<.+>", text):  # <ref> and <cit.> stand for what is not told
        raise _UnreadableError
    if text in RELATIONS:
        return _AROUND + text + _AROUND
    return text + _APPLIED if text == name and len(text) > 1 else text


def _factor(text: str) -> str:
    """In parentheses unless it is read as one thing anyway."""
    text = _spaced(text)
    return text if _ONE_THING.fullmatch(text) else f"({text})"


def _root(degree: str) -> str:
    return _ROOTS.get(degree) or _raised(degree, SUPERSCRIPTS) + "√"


def _accented(text: str, accent: str) -> str:
    text = _spaced(text)
    if any(map(unicodedata.combining, text)):  # each accent over another would double what there is
        raise _UnreadableError
    return unicodedata.normalize("NFC", "".join(char + accent for char in text))


def _script(sign: str, text: str) -> str:
    """`text` raised or lowered; behind its sign where there are no such characters, or a word would be hard to read."""
    text = _spaced(text).replace(" ", "" if len(text) < 12 else " ")
    if sign == "^" and text in ("∘", "°"):
        return "°"
    if sign == "^" and set(text) <= {"′", "'"}:
        return text
    try:
        return _raised(text, SUPERSCRIPTS if sign == "^" else SUBSCRIPTS)
    except _UnreadableError:
        return sign + (text if len(text) == 1 or re.fullmatch(r"[a-zA-Z]+|\d+", text) else f"({text})")


def _raised(text: str, forms: dict[str, str]) -> str:
    if re.search(r"[^\W\d_]{4}", text) or not set(text) <= set(forms):
        raise _UnreadableError
    return "".join(forms[char] for char in text)


def _environment(node: Any) -> str:
    name = node.environmentname
    rows = [[_spaced(cell).strip() for cell in row.split("\t")] for row in _written(node.nodelist).split("\n")]
    rows = [row for row in rows if any(row)]
    if name in _ROWS:
        return "\n".join(" ".join(cell for cell in row if cell) for row in rows)
    if name not in _MATRICES:
        raise _UnreadableError
    left, right = _MATRICES[name]
    return f"{left}{'; '.join(', '.join(row) for row in rows)}{right}".strip(" ")
