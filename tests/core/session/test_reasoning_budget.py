"""The reasoning budget: closes once, in time, at a line end where there is one, and never where it need not."""

import pytest
import tokenizers
from hypothesis import given
from hypothesis import strategies as st

from qwen_core.session.reasoning_budget import CLOSING_TAG, CLOSING_WORDS, BudgetWatch
from qwen_core.text.reasoning import Splitter
from qwen_core.text.template import ChatTemplate
from support.text import TEMPLATE, tokenizer_json

BUDGETS = st.tuples(st.integers(1, 30), st.integers(0, 10))  # tokens, grace
TOKENS = st.lists(st.tuples(st.sampled_from(["word ", "line\n", "", "."]), st.booleans()), max_size=80)


TOKENIZER = tokenizers.Tokenizer.from_str(tokenizer_json())


def encode(text: str) -> list[int]:
    return [ord(character) for character in text]


def decode(tokens: tuple[int, ...]) -> str:
    return "".join(map(chr, tokens))


@given(BUDGETS, TOKENS)
def test_it_closes_once_and_in_time(budget: tuple[int, int], tokens: list[tuple[str, bool]]) -> None:
    free, grace = budget
    watch = BudgetWatch(free, encode, grace)
    closed_at = None
    for count, (text, mid_character) in enumerate(tokens, 1):
        forced = watch.push(True, text, mid_character=mid_character)
        if closed_at is not None:
            assert forced == ()
        elif forced:
            closed_at = count
            assert count >= free
            said = decode(forced)
            assert said.endswith(f"{CLOSING_WORDS}{CLOSING_TAG}")
            # The words begin a line of their own, whatever stands before them.
            assert (text + said).split(CLOSING_WORDS)[0].endswith("\n")
            # It waited for a line end as long as it could, and never cut a character unless that never ends.
            if count < free + grace:
                assert text.endswith("\n")
                assert not mid_character
            elif mid_character:
                assert count >= free + grace + 3
        else:
            assert count < free + grace + 3
            assert count < free + grace or mid_character
            assert not (count >= free and text.endswith("\n") and not mid_character)


@given(BUDGETS, st.integers(0, 29), st.integers(0, 200))
def test_an_answer_is_never_touched(budget: tuple[int, int], thought: int, answered: int) -> None:
    free, grace = budget
    watch = BudgetWatch(free, encode, grace)
    steps = [True] * min(thought, free - 1) + [False] * answered
    assert not any(watch.push(in_reasoning, "line\n") for in_reasoning in steps)


@pytest.mark.parametrize("limits", [(0, 0), (5, -1)])
def test_budgets_that_make_no_sense_are_refused(limits: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="at least one token"):
        BudgetWatch(limits[0], encode, limits[1])


@given(BUDGETS, st.lists(st.sampled_from(["so", " we", " think", "\n", "\n\n"]), min_size=50, max_size=60))
def test_what_is_fed_ends_the_block_for_the_splitter(budget: tuple[int, int], thoughts: list[str]) -> None:
    """With a real tokenizer: all of it is reasoning, and the first word after it is the answer's."""
    splitter = Splitter(TOKENIZER, in_reasoning=True)
    free, grace = budget
    watch = BudgetWatch(free, lambda text: TOKENIZER.encode(text, add_special_tokens=False).ids, grace)
    pieces = []
    for text in thoughts:
        pieces += splitter.push(-1, text)
        if forced := watch.push(splitter.in_reasoning, text):
            for token in forced:
                pieces += splitter.push(token, TOKENIZER.decode([token], skip_special_tokens=False))
            break
    assert not splitter.in_reasoning
    pieces += splitter.push(-1, "Paris")
    reasoning = "".join(text for part, text in pieces if part == "reasoning")
    before = reasoning.removesuffix(CLOSING_WORDS)
    assert before != reasoning
    assert before.endswith("\n") or not before
    assert [text for part, text in pieces if part == "answer"] == ["Paris"]


def test_the_block_ends_as_the_template_ends_it() -> None:
    chat = [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "A", "reasoning_content": "R"}]
    assert f"R{CLOSING_TAG}A" in ChatTemplate(TEMPLATE).render(chat, add_generation_prompt=False)
