"""JSON by the standard library's accelerators alone.

The package ``json`` loads regular expressions and enumerations to speak with these; for a command
that lives for some milliseconds that is a tenth of its time. The results are the same.
"""

import _json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_SPACE = " \t\n\r"


class _Context:
    """What ``json.JSONDecoder`` has for the scanner."""

    strict = True
    object_hook = object_pairs_hook = None
    parse_float, parse_int = float, int
    parse_constant = {
        "-Infinity": float("-inf"), "Infinity": float("inf"), "NaN": float("nan"),
    }.__getitem__  # fmt: skip


_scan = _json.make_scanner(_Context())  # type: ignore[arg-type]


def loads(text: "str | bytes") -> "Any":
    """Return what a document holds, as ``json.loads`` does. Raises ValueError, RecursionError."""
    try:
        words = text if isinstance(text, str) else text.decode()
        begin = len(words) - len(words.lstrip(_SPACE))
        value, end = _scan(words, begin)
        if not words[end:].strip(_SPACE):
            return value
    except (StopIteration, ValueError, SystemError):
        pass  # it is said below what is wrong; the scanner has no error class without the package
    import json

    return json.loads(text)


def dumps(
    value: object, *, separators: "tuple[str, str]" = (", ", ": "), sort_keys: bool = False
) -> str:
    """Return a value as JSON, as ``json.dumps`` does. Raises TypeError, RecursionError."""
    between, behind = separators
    encode = _json.make_encoder(
        None, _refuse, _json.encode_basestring_ascii, None, behind, between,
        sort_keys, False, True,
    )  # fmt: skip
    return "".join(encode(value, 0))


def _refuse(value: object) -> "Any":
    raise TypeError(f"{type(value).__name__} is not JSON")


def indented(value: "Any", indent: str = "  ", outer: str = "\n") -> str:
    """Return a value as text for people, as ``json.dumps`` with this indent."""
    inner = outer + indent
    if isinstance(value, dict) and value:
        lines = (f"{dumps(key)}: {indented(one, indent, inner)}" for key, one in value.items())
        return "{" + ",".join(inner + line for line in lines) + outer + "}"
    if isinstance(value, list) and value:
        return "[" + ",".join(inner + indented(one, indent, inner) for one in value) + outer + "]"
    return dumps(value)
