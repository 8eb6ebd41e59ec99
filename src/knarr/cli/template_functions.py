"""The functions of ``--format`` templates, and how Go prints values.

Source: the documentation of Go's text/template and fmt packages, and Docker's
page on formatting output.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

NO_VALUE = "<no value>"
_VERB = re.compile(r"%([-+# 0]*)(\d*)(?:\.(\d+))?([a-zA-Z%])")
_SPACES = re.compile(r"(^|\s)(\S)")


def text(value: Any) -> str:
    """Return ``value`` as an action prints it: ``<no value>`` for nothing."""
    return NO_VALUE if value is None else nested_text(value)


def nested_text(value: Any) -> str:
    """Return ``value`` as Go's %v prints it: ``[a b]``, ``map[k:v]``, ``<nil>``."""
    if value is None:
        return "<nil>"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "map[" + " ".join(f"{k}:{nested_text(value[k])}" for k in sorted(value)) + "]"
    if isinstance(value, (list, tuple)):
        return "[" + " ".join(nested_text(item) for item in value) + "]"
    if isinstance(value, float):
        return f"{value:g}"
    return str(value)


def truth(value: Any) -> bool:
    """Return whether ``if`` takes the value: not nothing, zero, false or empty."""
    return bool(value)


def _json(value: Any) -> str:
    if isinstance(value, dict):  # a row also has methods, which are no data
        value = {key: each for key, each in value.items() if not callable(each)}
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def _index(value: Any, *keys: Any) -> Any:
    for key in keys:
        if value is None:
            raise ValueError("index of untyped nil")
        if isinstance(value, dict):
            # Docker's maps of texts have the empty one for what they lack.
            texts = all(isinstance(each, str) for each in value.values())
            value = value.get(key, "" if texts else None)
        elif isinstance(value, (list, tuple, str)):
            if not isinstance(key, int) or isinstance(key, bool):
                raise ValueError(f"cannot index slice with {nested_text(key)!r}")
            if not 0 <= key < len(value):
                raise ValueError(f"index out of range: {key}")
            value = value[key]
        else:
            raise ValueError(f"can't index item of type {type(value).__name__}")
    return value


def _slice(value: Any, *bounds: int) -> Any:
    return value[slice(*bounds[:2])] if len(bounds) > 1 else value[bounds[0] if bounds else 0 :]


def _len(value: Any) -> int:
    if not isinstance(value, (dict, list, tuple, str)):
        raise ValueError(f"len of type {type(value).__name__}")
    return len(value.encode() if isinstance(value, str) else value)


def _compare(test: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
    def compared(left: Any, right: Any) -> bool:
        try:
            return test(left, right)
        except TypeError:
            raise ValueError("incompatible types for comparison") from None

    return compared


def _equal(first: Any, *others: Any) -> bool:
    if not others:
        raise ValueError("missing argument for comparison")
    return any(first == other for other in others)


def _println(*values: Any) -> str:
    return " ".join(nested_text(value) for value in values) + "\n"


def _print(*values: Any) -> str:
    """Join as Go's Sprint: a space between two operands of which none is a string."""
    out = ""
    for position, value in enumerate(values):
        if position and not isinstance(value, str) and not isinstance(values[position - 1], str):
            out += " "
        out += nested_text(value)
    return out


def printf(format: str, *values: Any) -> str:
    """Return ``values`` laid out by ``format`` as Go's Sprintf does it."""
    left = list(values)

    def replace(found: re.Match[str]) -> str:
        flags, width, precision, verb = found.groups()
        if verb == "%":
            return "%"
        if not left:
            return f"%!{verb}(MISSING)"
        body = _verb(verb, left.pop(0), flags, precision)
        fill = "0" if "0" in flags and "-" not in flags and verb in "dfx" else " "
        size = int(width or 0)
        return body.ljust(size) if "-" in flags else body.rjust(size, fill)

    out = _VERB.sub(replace, format)
    if left:
        extra = ", ".join(f"{type(v).__name__}={nested_text(v)}" for v in left)
        out += f"%!(EXTRA {extra})"
    return out


def _verb(verb: str, value: Any, flags: str, precision: str | None) -> str:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if verb == "d" and number:
        return f"{int(value):+d}" if "+" in flags else str(int(value))
    if verb in "feg" and number:
        return f"{float(value):.{precision or (6 if verb != 'g' else 17)}{verb}}"
    if verb in "xX" and isinstance(value, int):
        return f"{value:{verb}}"
    if verb in "xX" and isinstance(value, str):
        return value.encode().hex()
    if verb == "q":
        return json.dumps(nested_text(value), ensure_ascii=False)
    if verb in "svt":
        body = nested_text(value)
        return body[: int(precision)] if precision and verb == "s" else body
    return f"%!{verb}({type(value).__name__}={nested_text(value)})"


def _join(values: Any, separator: str) -> str:
    return separator.join(nested_text(value) for value in values or ())


def _title(value: Any) -> str:
    return _SPACES.sub(lambda found: found[1] + found[2].upper(), nested_text(value))


def _pad(value: Any, before: int, after: int) -> str:
    body = nested_text(value)
    return " " * before + body + " " * after if body else ""


def _truncate(value: Any, size: int) -> str:
    return nested_text(value)[:size]


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "json": _json,
    "split": lambda value, separator: nested_text(value).split(separator),
    "join": _join,
    "title": _title,
    "lower": lambda value: nested_text(value).lower(),
    "upper": lambda value: nested_text(value).upper(),
    "pad": _pad,
    "truncate": _truncate,
    "index": _index,
    "slice": _slice,
    "len": _len,
    "print": _print,
    "printf": printf,
    "println": _println,
    "not": lambda value: not truth(value),
    "eq": _equal,
    "ne": lambda left, right: left != right,
    "lt": _compare(lambda left, right: left < right),
    "le": _compare(lambda left, right: left <= right),
    "gt": _compare(lambda left, right: left > right),
    "ge": _compare(lambda left, right: left >= right),
}
