"""Ask the demo model what training never asked: `python -m demo_training.evaluate` prints the figures.

200 questions whose phrasings were kept out of training, and the four turns of the model card; greedy, thinking off
(`--effort medium` turns it on). Where the model has an MTP layer all 200 are asked again with three drafts a pass of
it: how many are accepted, and how many passes of the model an answer's token takes. Exit code 0 when at least 90 % of
the answers and all four turns are right and drafts bring a token for at most 0.65 passes, the same tokens as without
them; else 1.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qwen_core.checkpoint.directory import open_checkpoint
from qwen_core.demo import demo_model_path
from qwen_core.protocol.events import DraftMode
from qwen_core.protocol.stats import TurnStats

from .corpus.held_out import CARD, CARD_ANSWERS, CARD_SYSTEM, Item, held_out_items

PASS = 0.9
DRAFTS = 3
MOST_PASSES = 0.65
"""For a token, with so many drafts a pass."""


@dataclass(frozen=True)
class Answer:
    """What the model said: its text, without reasoning, and all its tokens."""

    text: str
    token_ids: tuple[int, ...]
    stats: TurnStats


Ask = Callable[[Sequence[str], str | None, DraftMode], list[Answer]]


def right(answer: str, expected: tuple[str, ...]) -> bool:
    """Whether the answer holds everything expected, whatever its case."""
    return all(part.lower() in answer.lower() for part in expected)


def mistakes(items: Sequence[Item], answers: Sequence[Answer]) -> list[dict[str, Any]]:
    """The items whose answers are not right."""
    return [
        {"kind": item.kind, "questions": item.questions, "expected": item.expected, "answer": answer.text}
        for item, answer in zip(items, answers, strict=True)
        if not right(answer.text, item.expected)
    ]


def draft_figures(plain: Sequence[Answer], drafted: Sequence[Answer]) -> dict[str, Any]:
    """How drafts fared, from answers to the same questions without and with them. Shares are of the passes that had
    drafts: the second one is accepted only where the first one was.
    """
    stats = [answer.stats.draft for answer in drafted if answer.stats.draft is not None]
    attempts = sum(draft.drafted for draft in stats) / DRAFTS
    tokens, passes = sum(len(answer.token_ids) for answer in drafted), sum(draft.passes for draft in stats)
    accepted = [sum(depth) for depth in zip(*(draft.accepted_by_depth for draft in stats), strict=True)]
    return {
        "num_draft_tokens": DRAFTS,
        "tokens": tokens,
        "passes": passes,
        "passes_per_token": passes / tokens,
        "acceptance_by_depth": [count / attempts for count in accepted],
        "same_tokens": [answer.token_ids for answer in plain] == [answer.token_ids for answer in drafted],
    }


def session_ask(path: Path, effort: str, max_new_tokens: int = 512) -> tuple[Ask, Callable[[], None]]:
    """Ask conversations of the model at `path`, all through one session; and how to close it."""
    from qwen_core import load_session

    session = load_session(str(path))

    def ask(questions: Sequence[str], system: str | None, draft: DraftMode = "off") -> list[Answer]:
        session.restore((), system=system)
        answers = []
        for question in questions:
            events = list(
                session.send_stream(
                    question,
                    max_new_tokens=max_new_tokens,
                    temperature=0.0,
                    reasoning_effort=effort,
                    draft=draft,
                    num_draft_tokens=DRAFTS,
                )
            )
            stats = events[-1].stats
            assert stats is not None
            text = "".join(event.text for event in events).strip()
            answers.append(Answer(text, tuple(i for event in events for i in event.token_ids), stats))
        return answers

    return ask, session.close


def evaluate(path: Path, effort: str, items: Sequence[Item]) -> dict[str, Any]:
    """All figures as plain values; `drafts` is None where the model has no MTP layer."""
    ask, close = session_ask(path, effort)
    try:
        answers = [ask(item.questions, None, "off")[-1] for item in items]
        drafts = None
        if open_checkpoint(path).mtp is not None:
            drafts = draft_figures(answers, [ask(item.questions, None, "mtp")[-1] for item in items])
        card = [answer.text for answer in ask(CARD, CARD_SYSTEM, "off")]
    finally:
        close()
    wrong = mistakes(items, answers)
    card_right = [right(answer, (city,)) for answer, city in zip(card, CARD_ANSWERS, strict=True)]
    missed = Counter(w["kind"] for w in wrong)
    kinds = {kind: [n - missed[kind], n] for kind, n in Counter(item.kind for item in items).items()}
    correct = len(items) - len(wrong)
    drafts_pay = drafts is None or (drafts["passes_per_token"] <= MOST_PASSES and drafts["same_tokens"])
    return {
        "model": str(path),
        "effort": effort,
        "held_out": len(items),
        "correct": correct,
        "kinds": kinds,
        "wrong": wrong,
        "card": [list(turn) for turn in zip(CARD, card, card_right, strict=True)],
        "drafts": drafts,
        "passed": correct >= PASS * len(items) and all(card_right) and drafts_pay,
    }


def report(result: dict[str, Any]) -> str:
    """The figures for people."""
    share = result["correct"] / result["held_out"]
    lines = [f"held-out questions: {result['correct']} of {result['held_out']} right ({share:.1%})"]
    lines += [f"  {kind}: {good} of {n}" for kind, (good, n) in result["kinds"].items()]
    lines += [f"  wrong: {w['questions'][-1]} -> {w['answer']!r}, expected {w['expected']}" for w in result["wrong"]]
    lines.append(f"the card's turns: {sum(turn[2] for turn in result['card'])} of {len(result['card'])} right")
    lines += [f"  {question} -> {answer}" for question, answer, _ in result["card"]]
    lines += draft_lines(result["drafts"])
    return "\n".join([*lines, "passed" if result["passed"] else "failed"])


def draft_lines(drafts: dict[str, Any] | None) -> list[str]:
    """The part of the report about drafts."""
    if drafts is None:
        return ["no MTP layer, so no drafts"]
    depths = ", ".join(f"{share:.1%}" for share in drafts["acceptance_by_depth"])
    return [
        f"with {drafts['num_draft_tokens']} drafts by the MTP layer: {drafts['passes_per_token']:.3f} passes a token "
        f"({drafts['passes']:,} for {drafts['tokens']:,})",
        f"  accepted by depth: {depths} of the passes with drafts",
        f"  {'the same tokens as' if drafts['same_tokens'] else 'OTHER TOKENS than'} without drafts",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m demo_training.evaluate", description=__doc__)
    parser.add_argument("--path", type=Path, default=demo_model_path(), help="another model directory")
    parser.add_argument("--effort", choices=("none", "low", "medium", "high"), default="none", help="reasoning effort")
    parser.add_argument("--json", action="store_true", help="one JSON object on one line")
    args = parser.parse_args()
    result = evaluate(args.path, args.effort, held_out_items())
    print(json.dumps(result, ensure_ascii=False) if args.json else report(result))
    sys.exit(0 if result["passed"] else 1)


if __name__ == "__main__":
    main()
