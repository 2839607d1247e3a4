"""Which of a conversation's items are widgets: a window [first, last) that slides as the person scrolls. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from operator import is_

from qwen_tui.conversation.turns import Item, Turn

END = 40  # items kept as widgets at the end
STEP = 20  # items that come in at a time
MOST = 60  # items from which on others leave when some come in


@dataclass(frozen=True)
class Window:
    """Indices into the items of a conversation."""

    first: int
    last: int

    def __len__(self) -> int:
        return self.last - self.first


def end_window(count: int) -> Window:
    return Window(max(0, count - END), count)


def earlier(window: Window, spare: int) -> Window:
    """`STEP` more at the beginning. `spare`: how many at the end are out of sight and may leave."""
    first = max(0, window.first - STEP)
    leave = min(spare, max(0, window.last - first - MOST))
    return Window(first, window.last - leave)


def later(window: Window, count: int, spare: int) -> Window:
    """`STEP` more at the end. `spare`: how many at the beginning are out of sight and may leave."""
    last = min(count, window.last + STEP)
    leave = min(spare, max(0, last - window.first - MOST))
    return Window(window.first + leave, last)


def around(index: int, count: int) -> Window:
    """A window with item `index` in it, and as many before as after where there are."""
    first = max(0, min(index - END // 2, count - END))
    return Window(first, min(count, first + END))


def same(one: Sequence[Item], other: Sequence[Item]) -> bool:
    """Whether two lists hold the same objects in the same order. Quick: this is asked at every drawing."""
    return len(one) == len(other) and all(map(is_, one, other))


def moved(window: Window, old: Sequence[Item], new: Sequence[Item], *, following: bool) -> Window:
    """The window over `new` that shows what the one over `old` showed, as far as that is still there."""
    if following:
        return end_window(len(new))
    shown = {id(item) for item in old[window.first : window.last]}
    kept = [index for index, item in enumerate(new) if id(item) in shown]
    if not kept:
        return around(min(window.first, max(0, len(new) - 1)), len(new))
    first, last = kept[0], kept[-1] + 1
    if window.last == len(old):
        last = len(new)
    if last - first > MOST + STEP:
        last = first + MOST
    # Where items have gone, others take their place.
    last = min(len(new), max(last, first + min(END, len(window))))
    first = max(0, min(first, last - min(END, len(window))))
    return Window(first, last)


def stand_in(gone: Item, old: Sequence[Item], new: Sequence[Item]) -> Turn | None:
    """The turn that stands where `gone` stood: an answer given again, another alternative of it."""
    index = next((place for place, item in enumerate(old) if item is gone), None)
    if index is None:
        return None
    before = {id(item) for item in old}
    number = sum(isinstance(item, Turn) for item in old[:index])
    turns = [item for item in new if isinstance(item, Turn)]
    if number < len(turns) and id(turns[number]) not in before:
        return turns[number]
    return None


def turns_in(items: Sequence[Item]) -> int:
    return sum(isinstance(item, Turn) for item in items)
