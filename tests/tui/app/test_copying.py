"""Code blocks and conversations as text to copy."""

from hypothesis import given
from hypothesis import strategies as st

from qwen_core.protocol.events import Message
from qwen_tui.app.copying import code_blocks, conversation_text

CODE = st.lists(st.text(st.characters(codec="ascii", categories=["L", "N", "P", "Zs"]), max_size=20), max_size=5)


@given(
    st.lists(st.tuples(st.sampled_from(["python", "", "c++"]), CODE.map("\n".join), st.sampled_from("`~")), max_size=4)
)
def test_every_fenced_block_comes_out_as_it_was(blocks: list[tuple[str, str, str]]) -> None:
    markdown = "Some text.\n\n"
    for language, code, sign in blocks:
        fence = sign * 30
        markdown += f"- not code\n\nText `inline`\n\n{fence}{language}\n{code}\n{fence}\n\n"
    assert code_blocks(markdown) == [code + "\n" for _, code, _ in blocks]


def test_blocks_in_lists_indented_ones_and_one_cut_short() -> None:
    markdown = (
        "1. first:\n   ```sh title=x\n   ls\n   ```\n\ntext\n\n    indented\n\n> ```\n> quoted\n> ```\n\n```py\nhalf"
    )
    assert code_blocks(markdown) == ["ls\n", "indented\n", "quoted\n", "half"]


@given(st.text(max_size=100))
def test_any_text_has_blocks_or_none(text: str) -> None:
    assert all(isinstance(block, str) for block in code_blocks(text))


def test_a_conversation_as_text_has_no_reasoning() -> None:
    messages = [
        Message("user", "Q\n"),
        Message("assistant", "A", reasoning="why"),
        Message("assistant", "", "only thought"),
    ]
    assert conversation_text(messages) == "## You\n\nQ\n\n## Answer\n\nA\n"
    assert conversation_text([]) == ""
