"""What the evaluation says of drafts: shares and passes, from the figures of the answers."""

from dataclasses import replace

import pytest

from demo_training.evaluate import Answer, draft_figures, draft_lines
from qwen_core.protocol.stats import DraftStats
from support.scripted_session import STATS


def answer(token_ids: tuple[int, ...], passes: int, accepted: tuple[int, int, int]) -> Answer:
    draft = DraftStats("mtp", 3, passes, 3 * passes, sum(accepted), accepted)
    return Answer("", token_ids, replace(STATS, draft=draft))


ANSWERS = [answer((1, 2, 3, 4, 5), 2, (2, 1, 0)), answer((7, 8, 9), 2, (1, 0, 0))]


def test_passes_and_shares_are_of_all_answers_together() -> None:
    found = draft_figures(ANSWERS, ANSWERS)
    assert found["passes_per_token"] == 4 / 8
    assert found["acceptance_by_depth"] == pytest.approx([3 / 4, 1 / 4, 0])
    assert found["same_tokens"]
    assert "0.500 passes a token (4 for 8)" in draft_lines(found)[0]


def test_one_other_token_is_seen() -> None:
    found = draft_figures([ANSWERS[0], replace(ANSWERS[1], token_ids=(7, 8, 8))], ANSWERS)
    assert not found["same_tokens"]
    assert "OTHER TOKENS" in draft_lines(found)[-1]
