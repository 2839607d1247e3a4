"""What stands around the text of a turn: the line of figures under it, the titles of its folds. Pure."""

import json

from textual.content import Content

from qwen_core.text.reasoning import parse_tool_calls
from qwen_tui.conversation.turns import Turn
from qwen_tui.text import formatting
from qwen_tui.text.formatting import fit
from qwen_tui.text.marked import MARK
from qwen_tui.text.safe import cells, one_line, visible


def tool_calls_shown(text: str) -> tuple[str, str]:
    """Name for the title and body of a block of tool calls. What does not parse is shown as it came."""
    calls = parse_tool_calls(text)
    if not calls:
        return "", text
    bodies = [f"{call.name}\n{json.dumps(call.arguments, ensure_ascii=False, indent=2)}" for call in calls]
    return one_line(", ".join(call.name for call in calls), 60), "\n\n".join(bodies)


def tool_calls_inside(turn: Turn) -> str:
    """The tool calls in the reasoning of a turn that ended there: nothing else of it says that it called."""
    if turn.running or turn.answer.strip() or turn.tool_calls:
        return ""
    _, tag, rest = turn.reasoning.partition("<tool_call>")
    return tag + rest


def reasoning_facts(turn: Turn) -> str:
    """ "412 tokens · 24 s"; while it runs, what there is so far."""
    pieces = []
    if turn.reasoning_tokens:
        pieces.append(formatting.tokens(turn.reasoning_tokens))
    if turn.reasoning_s is not None and turn.reasoning_s >= 0.05:
        pieces.append(formatting.seconds(turn.reasoning_s))
    if turn.state == "reasoning":
        pieces.append("…")
    return " · ".join(pieces)


def footer(turn: Turn, width: int, *, marks_drafts: bool = False) -> Content:
    """The dim line under a turn, its figures on one line of `width` cells, and why it ended if not by itself.

    `marks_drafts`: what drafts said is underlined, and this says so.
    """
    lines = [line for line in (_alternatives(turn, width), *_outcome(turn, width)) if line.plain]
    if marks_drafts and turn.drafted:
        lines.append(Content.assemble(("underlined", MARK), (": accepted drafts", "$muted")))
    return Content("\n").join(lines)


def _alternatives(turn: Turn, width: int) -> Content:
    """Which of several answers this is, and how to see the others."""
    place, count = turn.place
    if count < 2:
        return Content("")
    text = f"‹ {place}/{count} › answer {place} of {count}"
    keys = ", ← → on this turn shows the others"
    return Content.styled(text + keys if cells(text + keys) <= width else text, "$accent")


def _outcome(turn: Turn, width: int) -> list[Content]:
    if turn.state in ("waiting", "prefill"):
        progress = f" · {turn.prefilled:,} of {turn.to_prefill:,} tokens" if turn.to_prefill else ""
        return [Content.styled(f"reading{progress} …", "$muted")]
    lines: list[Content] = []
    if turn.stats is not None and not turn.running:
        lines.append(Content.styled(f"↳ {fit(formatting.turn_pieces(turn.stats), width - 2)}", "$muted"))
    ends: list[Content] = []
    why = formatting.ending(turn.finish_reason, turn.answer + turn.tool_calls, turn.reasoning)
    if why:
        ends.append(Content.styled(f"↳ {why}", "$warning"))
    if turn.state == "failed":
        ends.append(Content.styled(f"✕ {visible(turn.error)}", "$error"))
    if turn.state == "interrupted":
        text = "interrupted: the engine ended here" if turn.has_text else "unanswered: the engine ended before it"
        ends.append(Content.styled(f"↳ {text}", "$warning"))
    if turn.unanswered and ends:
        ends[-1] = Content.assemble(ends[-1], (" · /retry sends it again", "$muted"))
    return lines + ends
