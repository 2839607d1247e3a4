"""Ask the demo model what training never asked: `python -m demo_training.evaluate` prints the figure.

200 questions whose phrasings were kept out of training, and the four turns of the model card; greedy, thinking off
(`--effort medium` turns it on). Exit code 0 when at least 90 % of the answers and all four turns are right, else 1.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from qwen_core.demo import demo_model_path

from .corpus.held_out import CARD, CARD_ANSWERS, CARD_SYSTEM, Item, held_out_items

PASS = 0.9
Ask = Callable[[Sequence[str], str | None], list[str]]


def right(answer: str, expected: tuple[str, ...]) -> bool:
    """Whether the answer holds everything expected, whatever its case."""
    return all(part.lower() in answer.lower() for part in expected)


def score(ask: Ask, items: Sequence[Item]) -> tuple[int, list[dict[str, Any]]]:
    """How many of the items' last answers are right, and the ones that are not."""
    wrong = []
    for item in items:
        answer = ask(item.questions, None)[-1]
        if not right(answer, item.expected):
            wrong.append({"kind": item.kind, "questions": item.questions, "expected": item.expected, "answer": answer})
    return len(items) - len(wrong), wrong


def session_ask(path: Path, effort: str, max_new_tokens: int = 512) -> tuple[Ask, Callable[[], None]]:
    """Ask conversations of the model at `path`, all through one session; and how to close it."""
    from qwen_core import load_session

    session = load_session(str(path))

    def ask(questions: Sequence[str], system: str | None) -> list[str]:
        session.restore((), system=system)
        answers = []
        for question in questions:
            events = session.send_stream(
                question, max_new_tokens=max_new_tokens, temperature=0.0, reasoning_effort=effort
            )
            answers.append("".join(event.text for event in events).strip())
        return answers

    return ask, session.close


def evaluate(path: Path, effort: str) -> dict[str, Any]:
    """The whole figure as plain values."""
    ask, close = session_ask(path, effort)
    try:
        items = held_out_items()
        correct, wrong = score(ask, items)
        card = ask(CARD, CARD_SYSTEM)
    finally:
        close()
    card_right = [right(answer, (city,)) for answer, city in zip(card, CARD_ANSWERS, strict=True)]
    missed = Counter(w["kind"] for w in wrong)
    kinds = {kind: [n - missed[kind], n] for kind, n in Counter(item.kind for item in items).items()}
    return {
        "model": str(path),
        "effort": effort,
        "held_out": len(items),
        "correct": correct,
        "kinds": kinds,
        "wrong": wrong,
        "card": [list(turn) for turn in zip(CARD, card, card_right, strict=True)],
        "passed": correct >= PASS * len(items) and all(card_right),
    }


def report(result: dict[str, Any]) -> str:
    """The figure for people."""
    share = result["correct"] / result["held_out"]
    lines = [f"held-out questions: {result['correct']} of {result['held_out']} right ({share:.1%})"]
    lines += [f"  {kind}: {good} of {n}" for kind, (good, n) in result["kinds"].items()]
    lines += [f"  wrong: {w['questions'][-1]} -> {w['answer']!r}, expected {w['expected']}" for w in result["wrong"]]
    lines.append(f"the card's turns: {sum(turn[2] for turn in result['card'])} of {len(result['card'])} right")
    lines += [f"  {question} -> {answer}" for question, answer, _ in result["card"]]
    return "\n".join([*lines, "passed" if result["passed"] else "failed"])


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m demo_training.evaluate", description=__doc__)
    parser.add_argument("--path", type=Path, default=demo_model_path(), help="another model directory")
    parser.add_argument("--effort", choices=("none", "low", "medium", "high"), default="none", help="reasoning effort")
    parser.add_argument("--json", action="store_true", help="one JSON object on one line")
    args = parser.parse_args()
    result = evaluate(args.path, args.effort)
    print(json.dumps(result, ensure_ascii=False) if args.json else report(result))
    sys.exit(0 if result["passed"] else 1)


if __name__ == "__main__":
    main()
