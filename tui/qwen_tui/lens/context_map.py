"""What the context consists of: each turn's share, what of it the state holds, and what the draft adds. Pure.

Counted from the figures of the turns: a turn's question is what its prompt has beyond the context before it, the
template's frame included.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from textual.content import Content

from qwen_core.figures import percent
from qwen_tui.conversation.turns import Turn
from qwen_tui.text.formatting import bar, fit
from qwen_tui.text.safe import cells, one_line
from qwen_tui.widgets.cursor_list import MARK, selected

Kind = Literal["system", "question", "reasoning", "answer", "draft"]
LOOKS: Mapping[Kind, tuple[str, str]] = {
    "system": ("▓", "$secondary"),
    "question": ("█", "$primary"),
    "reasoning": ("░", "$foreground"),
    "answer": ("▒", "$success"),
    "draft": ("+", "$accent"),
}
"""The glyph and the colour of each."""
IN_STATE, IN_PART, KEPT = "●", "◐", "S"


@dataclass(frozen=True)
class Share:
    """What takes tokens: the system prompt, a turn, the draft. `end`: tokens of the context up to its end. `held`: of
    its own, so many are in the state; `kept`: where within it, in tokens of the context, snapshots were taken."""

    name: str
    parts: tuple[tuple[Kind, int], ...]
    end: int
    about: str = ""
    turn: Turn | None = field(default=None, compare=False)
    held: int = 0
    kept: tuple[int, ...] = ()

    @property
    def tokens(self) -> int:
        return sum(count for _, count in self.parts)


def system_tokens(prompt_ids: Sequence[int]) -> int:
    """Tokens before the first question of a conversation, by the token that begins every message; 0 for none.

    The prompt of a first question has a message of the system, if any, the question, and the beginning of the answer.
    """
    starts = [place for place, token in enumerate(prompt_ids) if token == prompt_ids[0]]
    return starts[1] if len(starts) > 2 else 0


def shares(
    turns: Sequence[Turn], system: int, held: int, draft: int, kept: Mapping[int, Sequence[int]] | None = None
) -> list[Share]:
    """The context in order. `held`: tokens that the state holds; `kept`: by the number of a turn, behind how many
    tokens its prompt had snapshots taken.
    """
    found = [Share("system", (("system", system),), system)] if system else []
    marks = sorted({mark for turn in turns for mark in _lasting(turn, (kept or {}).get(turn.number, ()), turns[-1])})
    before = system
    for number, turn in enumerate(turns, 1):
        stats = turn.stats
        if stats is None:
            continue
        answer = stats.generated_tokens - stats.reasoning_tokens
        question = max(0, stats.context_tokens - before - stats.generated_tokens)
        parts: list[tuple[Kind, int]] = [("question", question)]
        if stats.reasoning_tokens:
            parts.append(("reasoning", stats.reasoning_tokens))
        end = before + question + stats.generated_tokens
        about = one_line(turn.shown or turn.question, 120)
        found.append(Share(str(number), (*parts, ("answer", answer)), end, about, turn))
        before = end
    found = [_held(share, held, marks) for share in found]
    return [*found, Share("draft", (("draft", draft),), before + draft)] if draft else found


def _lasting(turn: Turn, marks: Sequence[int], last: Turn) -> list[int]:
    """Of the snapshots that were taken for a turn those that last: that behind its prompt goes with the next turn."""
    prompt = turn.stats.prompt_tokens if turn.stats is not None and turn is not last else None
    return [mark for mark in marks if mark != prompt]


def _held(share: Share, held: int, marks: Sequence[int]) -> Share:
    begin = share.end - share.tokens
    own = tuple(mark for mark in marks if begin < mark <= share.end)
    inside = max(0, min(held, share.end) - begin)
    return Share(share.name, share.parts, share.end, share.about, share.turn, inside, own)


def headline(found: Sequence[Share], limit: int | None, width: int) -> list[Content]:
    """How much of the context is used, then all of it as blocks."""
    used = found[-1].end if found else 0
    draft = sum(share.tokens for share in found if share.name == "draft")
    words = [f"{used:,} of {limit:,} tokens" if limit else f"{used:,} tokens"]
    if limit:
        words += [percent(min(1.0, used / limit)), f"{limit - used:,} left" if used <= limit else "too much"]
    words += [f"{draft:,} of them the draft's"] if draft else []
    lines = [Content(fit(words, width))]
    if limit:
        lines.append(Content.styled(bar(used, limit, width), "$muted"))
    parts = [part for share in found for part in share.parts]
    return [*lines, blocks(parts, width), Content(legend(parts, width)).stylize("$muted")]


def legend(parts: Sequence[tuple[Kind, int]], width: int) -> str:
    """What the blocks stand for, of those that there are."""
    present = {kind for kind, count in parts if count}
    return fit([f"{glyph} {kind}" for kind, (glyph, _) in LOOKS.items() if kind in present], width, "  ")


def blocks(parts: Sequence[tuple[Kind, int]], width: int) -> Content:
    """The parts side by side in `width` cells. None that is there is less than a cell while there are cells enough."""
    present: list[tuple[Kind, int]] = [(kind, count) for kind, count in parts if count]
    least = 1 if len(present) <= width else 0
    whole, free = sum(count for _, count in present), width - least * len(present)
    pieces: list[tuple[str, str]] = []
    done = drawn = 0
    for kind, count in present:
        done += count
        end = round(free * done / whole)
        glyph, style = LOOKS[kind]
        pieces.append((glyph * (least + end - drawn), style))
        drawn = end
    return Content.assemble(*pieces)


def share_line(share: Share, found: Sequence[Share], width: int, *, cursor: bool) -> Content:
    """ "▸ 3 ●S  1,234  12.3 %  ███░░▒▒  What is …": one of them on a row."""
    whole, most = found[-1].end, max(each.tokens for each in found)
    names = max(cells(each.name) for each in found)
    held = IN_STATE if share.tokens and share.held == share.tokens else IN_PART if share.held else " "
    head = (
        f"{MARK if cursor else ' '} {share.name:>{names}} {held}{KEPT if share.kept else ' '} "
        f"{share.tokens:>7,}  {percent(share.tokens / whole if whole else 0.0):>8}  "
    )
    room = max(0, min(40, (width - cells(head)) // 2))
    drawn = blocks(share.parts, max(1, round(room * share.tokens / most)) if most and room else 0)
    line = Content.assemble(head, drawn, " " * max(0, room - drawn.cell_length), "  ", share.about)
    return selected(line, width) if cursor else line.truncate(width, ellipsis=True)


def share_facts(share: Share) -> list[str]:
    """What the line below the list says of one."""
    facts = [f"{kind} {count:,}" for kind, count in share.parts]
    if share.name == "draft":
        return [*facts, "what sending the draft would add"]
    if share.tokens and share.held == share.tokens:
        facts.append(f"{IN_STATE} in the state")
    elif share.held:
        facts.append(f"{IN_PART} {share.held:,} in the state")
    else:
        facts.append("not in the state: to be read again")
    facts += [f"{KEPT} kept behind {', '.join(f'{mark:,}' for mark in share.kept)}"] if share.kept else []
    return [*facts, f"up to {share.end:,}"]
