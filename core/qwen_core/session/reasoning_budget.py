"""A budget of reasoning tokens: when to close the block and with which tokens, so that the answer begins cleanly. Pure.

Whoever decodes feeds the returned tokens as if the model had said them and goes on decoding after them; they belong
to the session's ids like any other. The words are those with which Qwen's authors close a block early (the thinking
budget of the Qwen3 report, arXiv 2505.09388, section 4.3): models of this family were trained to answer after them.
"""

from collections.abc import Callable, Sequence

CLOSING_WORDS = (
    "Considering the limited time by the user, I have to give the solution based on the thinking directly now."
)
CLOSING_TAG = "\n</think>\n\n"
GRACE = 64
"""Tokens past the budget in which a line end is waited for, so that a thought is not cut in the middle of a word."""


class BudgetWatch:
    """Watches the reasoning of one answer; says once what to feed to end it.

    `tokens` of reasoning are free; within `grace` more the block closes at a line end, after that anywhere.
    """

    def __init__(self, tokens: int, encode: Callable[[str], Sequence[int]], grace: int = GRACE) -> None:
        """`encode` turns text into tokens, the closing tag into its control token."""
        if tokens < 1 or grace < 0:
            raise ValueError("a reasoning budget is at least one token, its grace none or more")
        self._tokens, self._grace = tokens, grace
        self._encode = encode
        self._used = 0
        self._closed = False

    def push(self, in_reasoning: bool, text: str, *, mid_character: bool = False) -> tuple[int, ...]:
        """Take one generated token: whether the block is open after it, and the text that it completed.

        Returns the tokens to feed now, empty as long as there is nothing to do. `mid_character` says that the token
        ended inside a character, where nothing can be inserted without damaging it.
        """
        if not in_reasoning or self._closed:
            return ()
        self._used += 1
        over = self._used - self._tokens
        at_line_end = text.endswith("\n")
        # A character has at most four bytes; one that is not complete after so many tokens never will be.
        patience = self._grace + (3 if mid_character else 0)
        if over < 0 or (over < patience and (mid_character or not at_line_end)):
            return ()
        self._closed = True
        before = "" if at_line_end else "\n\n"
        return tuple(self._encode(f"{before}{CLOSING_WORDS}{CLOSING_TAG}"))
