"""What `qwen-tui compare` prints: both answers beside each other, and the tokens at which the two models part."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from qwen_core.figures import decimal_size, percent
from qwen_tui.commands.logprobs import DIGITS, TokenTexts
from qwen_tui.commands.output import fields_of
from qwen_tui.commands.report import FAINT, HEADING, facts, figures, paragraph, print_report, table, words
from qwen_tui.text.safe import visible
from qwen_tui.text.token_text import shown_token, token_text

if TYPE_CHECKING:  # compare.py imports this file
    from qwen_core.protocol.comparison import Comparison
    from qwen_core.protocol.probabilities import TokenProbability
    from qwen_tui.commands.compare import Compared, Side

MOST_ROWS = 20
_BEFORE = 5  # tokens that are shown before one at which the models part
_CONTEXT = 24


def print_comparison(found: Compared, width: int) -> None:
    """For people."""
    print_report(list(_parts(found, width)), width)


def _parts(found: Compared, width: int) -> Iterator[RenderableType]:
    sides, comparison = (("A", found.a), ("B", found.b)), found.comparison
    yield facts(((name, _model(side)) for name, side in sides), width)
    yield ""
    yield _beside(found)
    yield ""
    yield paragraph(verdict(comparison, found.a.model.fingerprint == found.b.model.fingerprint), HEADING)
    yield facts(_figures(comparison), width)
    if shown := telling(comparison):
        yield ""
        yield _table(found, shown, width)
        if (left := len(comparison.parted) - len(shown)) > 0:
            yield paragraph(f"and {left:,} more; --json has every step", FAINT)


def verdict(comparison: Comparison, same: bool) -> str:
    """In one sentence where they part."""
    parted, steps = comparison.parted, len(comparison.ids)
    if not parted:
        files = ": they are the same files" if same else ""
        return f"At all {steps:,} tokens of A's answer both think the same token likeliest{files}."
    first = parted[0] + 1
    return f"At {len(parted):,} of {steps:,} tokens of A's answer B thinks another token likeliest, first at {first:,}."


def telling(comparison: Comparison) -> list[int]:
    """The steps to show: where the likeliest tokens differ, in order; where none do, those that lie furthest apart."""
    if parted := comparison.parted:
        return parted[:MOST_ROWS]
    steps = sorted(range(len(comparison.ids)), key=lambda n: -comparison.divergences[n])[: MOST_ROWS // 4]
    return sorted(n for n in steps if comparison.divergences[n] > 0)


def _model(side: Side) -> str:
    model = side.model
    return f"{model.name}, {model.variant}, {decimal_size(model.weight_bytes)}: {model.path}"


def _figures(comparison: Comparison) -> Iterator[tuple[str, str]]:
    yield "KL mean", f"{comparison.mean:.6f} nats a token"
    yield "KL 99 percentile", f"{comparison.percentile(0.99):.6f} nats"
    largest = max(range(len(comparison.ids)), key=comparison.divergences.__getitem__)
    yield "KL largest", f"{comparison.divergences[largest]:.6f} nats, at token {largest + 1:,}"


def _beside(found: Compared) -> Table:
    """Both answers, each in half of the width."""
    made = Table.grid(padding=(0, 2, 0, 0), expand=True)
    made.add_column(ratio=1, overflow="fold")
    made.add_column(ratio=1, overflow="fold")
    made.add_row(Text("A answers", HEADING), Text("B answers", HEADING))
    made.add_row(*(Text(visible(_said(side, found.texts))) for side in (found.a, found.b)))
    return made


def _said(side: Side, texts: TokenTexts) -> str:
    """An answer with its reasoning; of a model without a tokenizer its ids."""
    parts = [side.answer.text("reasoning").strip(), side.answer.text("answer", "tool_call").strip()]
    said = "\n\n".join(filter(None, parts))
    written = any(texts[token].written for token in side.answer.token_ids if token in texts)
    return said if said or written else " ".join(map(str, side.answer.token_ids))


def _table(found: Compared, shown: list[int], width: int) -> Table:
    comparison, texts = found.comparison, found.texts
    rows = []
    for n in shown:
        before = "".join(shown_token(texts[token]) for token in comparison.ids[max(0, n - _BEFORE) : n])
        a, b = comparison.a[n], comparison.b[n]
        own = comparison.ids[n]
        rows.append(
            [
                f"{n + 1:,}",
                f"{comparison.divergences[n]:.4f}",
                f"{shown_token(texts[own], 16)} {_chance(a.logprob)}",
                f"{shown_token(texts[b.top[0][0]], 16)} {_chance(b.top[0][1])}",
                _chance(b.logprob),
                before[-_CONTEXT:],
            ]
        )
    columns = (figures("number"), figures("KL"), words("A says"), words("B would say"), figures("A's in B"))
    return table((*columns, words("behind")), rows, width)


def _chance(logprob: float) -> str:
    return percent(math.exp(min(logprob, 0.0)))


def as_fields(found: Compared) -> dict[str, Any]:
    """What --json prints."""
    comparison, texts = found.comparison, found.texts
    parted = comparison.parted
    return {
        "kl_mean": comparison.mean,
        "kl_p99": comparison.percentile(0.99),
        "tokens": len(comparison.ids),
        "differing": parted,
        "first_difference": parted[0] if parted else None,
        "prompt_ids": found.a.prompt_ids,
        "a": _side_fields(found.a),
        "b": _side_fields(found.b),
        "steps": [
            {
                "id": token,
                "token": token_text(texts[token]),
                "kl": divergence,
                "a": _step_fields(a, texts),
                "b": _step_fields(b, texts),
            }
            for token, divergence, a, b in zip(
                comparison.ids, comparison.divergences, comparison.a, comparison.b, strict=True
            )
        ],
    }


def _side_fields(side: Side) -> dict[str, Any]:
    answer, model = side.answer, side.model
    return {
        "text": answer.text("answer", "tool_call"),
        "reasoning": answer.text("reasoning"),
        "finish_reason": answer.final.finish_reason if answer.final is not None else None,
        "token_ids": answer.token_ids,
        **fields_of(model, "device", "dtype"),
        "model": fields_of(model, "name", "path", "variant", "weight_bytes", "context_limit", "fingerprint"),
    }


def _step_fields(step: TokenProbability, texts: TokenTexts) -> dict[str, Any]:
    return {
        "logprob": round(step.logprob, DIGITS),
        "rank": step.rank,
        "entropy": round(step.entropy, DIGITS),
        "top": [
            {"id": token, "token": token_text(texts[token]), "logprob": round(logprob, DIGITS)}
            for token, logprob in step.top
        ],
    }
