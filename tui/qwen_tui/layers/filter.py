"""What a filter on the layer map means: words that must all be true of a module. Pure.

`8` and `8-15` are layers; anything else is looked for in what is said of the module: its name and row, "layer", the
layer's kind, the format ("nvfp4", "6-bit", "g64") and where its spec came from. A word may name its field, such as
`role:down`, and a `-` in front excludes what a word finds.
"""

import re
from collections.abc import Callable

from qwen_core.checkpoint.layout import Layout, ModuleLayout
from qwen_tui.layers.map import ROWS

MAX_LENGTH = 200
FIELDS = ("layer", "role", "mode", "bits", "source", "kind", "shard")

_LABELS = {spec.role: spec.label for spec in ROWS}
_LAYERS = re.compile(r"(\d{1,6})(?:(?:-|\.\.)(\d{1,6}))?")
Test = Callable[[ModuleLayout], bool]


def matching(layout: Layout, text: str) -> frozenset[str] | None:
    """Canonical names of the modules that `text` leaves; None where it says nothing."""
    tests = [_test(word) for word in text[:MAX_LENGTH].lower().split()]
    if not tests:
        return None
    return frozenset(module.canonical for module in layout.everything if all(test(module) for test in tests))


def described(module: ModuleLayout) -> str:
    """The words that a plain word is looked for in."""
    where = "outside" if module.layer is None else f"layer {module.kind}"
    label = _LABELS.get(module.role, module.role)
    words = module.canonical, label, label.replace(" ", "-"), where, module.format_and_writer, module.source
    return " ".join(words).lower()


def _test(word: str) -> Test:
    if word.startswith("-") and len(word) > 1:
        inner = _test(word[1:])
        return lambda module: not inner(module)
    field, colon, value = word.partition(":")
    if colon and field in FIELDS:
        return _field_test(field, value)
    layers = _LAYERS.fullmatch(word)
    if layers is not None:
        return _layer_test(*layers.groups())
    return lambda module: word in described(module)


def _field_test(field: str, value: str) -> Test:
    match field:
        case "layer":
            layers = _LAYERS.fullmatch(value)
            return _layer_test(*layers.groups()) if layers is not None else lambda module: False
        case "role":
            return lambda module: value in module.role.lower() or value in _LABELS.get(module.role, "").lower()
        case "mode":
            return lambda module: value in module.mode
        case "bits":
            return lambda module: value == str(module.bits)
        case "source":
            return lambda module: value in module.source
        case "kind":
            return lambda module: value in module.kind
        case _:
            return lambda module: value in module.shard.lower()


def _layer_test(first: str, last: str | None) -> Test:
    low, high = int(first), int(last or first)
    return lambda module: module.layer is not None and low <= module.layer <= high
