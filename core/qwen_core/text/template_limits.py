"""How much a chat template may make: weights of values, and sizes foretold from an operation's arguments.

A weight is about the bytes of a value written out, shared parts counted each time they appear: a list that holds
another list twice weighs twice as much, however little memory it takes. Printing, comparing and hashing take time in
proportion to weight, inside calls of the C library that no deadline interrupts. Knows nothing of jinja2's machinery;
template_sandbox.py calls in here.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from jinja2.exceptions import SecurityError

VALUE_BYTES = 16 << 20  # one value may weigh this and VALUE_FACTOR times the template's input
VALUE_FACTOR = 16
TOTAL_BYTES = 512 << 20  # all values made in one rendering may weigh this and TOTAL_FACTOR times the input
TOTAL_FACTOR = 64
MAX_INTEGER_BITS = 1 << 16  # the time of multiplying and dividing integers grows faster than their size
MAX_FIELD = 9_999  # width or precision in a format: four digits
_MAX_INDENT = 64

_OVERHEAD = 8  # of any value, and of each place in a container
_TOO_MUCH = 1 << 62
_CONTAINERS = (dict, list, tuple, set, frozenset, type({}.keys()), type({}.values()), type({}.items()))
_LONG_FIELD = re.compile(r"\d{5,}|\*")


class Meter:
    """Weighs the values of one rendering, and refuses when there is too much. `values` are its input."""

    def __init__(self, values: Any = None) -> None:
        # Containers by identity; kept alive here, so that no identity is used twice.
        self._known: dict[int, tuple[Any, int, int]] = {}
        given = self.weigh(values)
        self._value_limit = VALUE_BYTES + VALUE_FACTOR * given
        self._left = TOTAL_BYTES + TOTAL_FACTOR * given

    def weigh(self, value: Any) -> int:
        return self._measure(value)[0]

    def depth(self, value: Any) -> int:
        """How deeply containers are nested in `value`."""
        return self._measure(value)[1]

    def allow(self, size: int) -> None:
        """Raise SecurityError if one value of `size` would be too much."""
        if size > self._value_limit:
            raise SecurityError("it makes a value out of all proportion to the conversation")

    def charge(self, value: Any) -> Any:
        """Return `value`, counted as made. Raises SecurityError if it, or everything made so far, is too much."""
        weight = self.weigh(value)
        self.allow(weight)
        self._left -= weight
        if self._left < 0:
            raise SecurityError("it makes more than is in proportion to the conversation")
        return value

    def _measure(self, value: Any) -> tuple[int, int]:
        if isinstance(value, str | bytes):
            return _OVERHEAD + len(value), 0
        if isinstance(value, int):
            return _integer_size(value.bit_length()), 0
        if not isinstance(value, _CONTAINERS):
            return _OVERHEAD, 0
        known = self._known.get(id(value))
        if known is None:
            weight, depth = _OVERHEAD, 0
            for part in (*value.keys(), *value.values()) if isinstance(value, dict) else tuple(value):
                if type(part) is str:  # the most frequent, in long lists
                    weight += 2 * _OVERHEAD + len(part)
                    continue
                part_weight, part_depth = self._measure(part)
                weight += _OVERHEAD + part_weight
                depth = max(depth, part_depth)
            known = self._known[id(value)] = (value, weight, depth + 1)
        return known[1], known[2]


def operation_size(meter: Meter, operator: str, left: Any, right: Any) -> int:
    """Upper bound of the size of `left operator right`, for the operators whose result outgrows its operands."""
    if operator == "%" and isinstance(left, str | bytes):
        return _format_size(meter, left, right)
    if isinstance(left, int) and isinstance(right, int):
        if operator == "**":
            return _integer_size(left.bit_length() * max(right, 0))
        return _integer_size(left.bit_length() + right.bit_length())
    if operator == "*":
        for times, value in ((left, right), (right, left)):
            if isinstance(times, int):
                return max(times, 0) * meter.weigh(value)
    return meter.weigh(left) + meter.weigh(right)


def call_size(meter: Meter, name: str, value: Any, arguments: Sequence[Any], named: Mapping[str, Any]) -> int:
    """Upper bound of what a filter, or a method of a string, called `name` makes of `value`; 0 where it cannot grow.

    Arguments that do not fit the filter count as 0: the call itself will say what is wrong with them.
    """
    rule = _RULES.get(name)
    if rule is None:
        return 0
    try:
        return rule(meter, value, *arguments, **named)
    except (TypeError, ValueError, AttributeError):
        return 0


def check_field(spec: str) -> None:
    """Refuse a width or precision of more than four digits, or one that comes as an argument."""
    if _LONG_FIELD.search(spec):
        raise SecurityError(f"it formats with a width of more than {MAX_FIELD}")


def _integer_size(bits: int) -> int:
    return _OVERHEAD + bits // 8 if bits <= MAX_INTEGER_BITS else _TOO_MUCH


def _format_size(meter: Meter, template: Any, *values: Any, **named: Any) -> int:
    text = template.decode("latin-1") if isinstance(template, bytes) else str(template)
    check_field(text)
    fields = text.count("%")
    return len(text) + fields * (MAX_FIELD + meter.weigh(values) + meter.weigh(named))


def _padded(_meter: Meter, value: Any, width: int = 80, *_rest: Any, **_named: Any) -> int:
    return len(value) + width


def _tabs(_meter: Meter, value: Any, tabsize: int = 8) -> int:
    return len(value) + value.count("\t") * tabsize


def _replaced(_meter: Meter, value: Any, old: Any, new: Any, count: int | None = None) -> int:
    if not isinstance(value, bytes):
        value, old, new = str(value), str(old), str(new)
    found = value.count(old)
    return len(value) + (found if count is None or count < 0 else min(found, count)) * len(new)


def _indented(_meter: Meter, value: Any, width: int | str = 4, *_rest: Any, **_named: Any) -> int:
    return len(value) + (len(value.splitlines()) + 2) * (len(width) if isinstance(width, str) else width)


def _wrapped(
    _meter: Meter, value: Any, width: int = 79, break_long: bool = True, wrapstring: Any = None, *_: Any
) -> int:
    return len(value) * (1 + len(wrapstring or "\n"))


def _rounded(_meter: Meter, _value: Any, precision: int = 0, *_rest: Any, **_named: Any) -> int:
    return abs(precision) * 64  # ten to that power is an integer on the way


def _grouped(_meter: Meter, _value: Any, groups: int, *_rest: Any, **_named: Any) -> int:
    return groups * 64


def _json_size(
    meter: Meter, value: Any, ensure_ascii: bool = False, indent: Any = None, separators: Any = None, *_: Any, **__: Any
) -> int:
    width = len(indent) if isinstance(indent, str) else int(indent or 0)
    longest = max(map(len, separators), default=0) if separators else 0
    if max(width, longest) > _MAX_INDENT:
        raise SecurityError(f"it writes JSON with an indentation of more than {_MAX_INDENT}")
    weight = meter.weigh(value)
    places = weight // _OVERHEAD
    return 6 * weight + places * (longest + width * meter.depth(value))


_Rule = Callable[..., int]
_RULES: dict[str, _Rule] = {
    **dict.fromkeys(("center", "ljust", "rjust", "zfill"), _padded),
    "expandtabs": _tabs,
    "replace": _replaced,
    "indent": _indented,
    "wordwrap": _wrapped,
    "round": _rounded,
    "batch": _grouped,
    "slice": _grouped,
    "tojson": _json_size,
    "format": _format_size,
}
