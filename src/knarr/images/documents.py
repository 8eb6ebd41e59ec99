"""JSON documents from strangers: parsed within limits, fields checked one by one.

The registry and image specs let a manifest be up to 4 MiB. Nesting is bounded by
the parser's own recursion limit; what breaks any rule is InvalidArchive.
"""

from __future__ import annotations

import json
from typing import Any, NoReturn

from knarr.errors import InvalidArchive

LIMIT = 4 * 1024 * 1024
NUMBER_LIMIT = 40


def parse(data: bytes, what: str, limit: int = LIMIT) -> Any:
    """Return the JSON value of ``data``; ``what`` names the document in errors.

    Raises InvalidArchive when it is longer than ``limit`` bytes, is not UTF-8 or not
    JSON, nests too deep, has NaN, or repeats a key (two readers could differ).
    """
    if len(data) > limit:
        raise InvalidArchive(f"{what} is {len(data)} bytes long; at most {limit} are read")
    try:
        value = json.loads(
            data.decode(),  # json would take bytes in UTF-16 and UTF-32 as well
            parse_constant=_refuse_constant,
            parse_int=_bounded_int,
            object_pairs_hook=_unique,
        )
        if b"\\u" in data:
            # A lone surrogate passes the parser, but no file, database or terminal.
            json.dumps(value, ensure_ascii=False).encode()
    except RecursionError:
        raise InvalidArchive(f"{what} nests too deep") from None
    except (ValueError, UnicodeError) as error:
        raise InvalidArchive(f"{what} is not valid JSON: {error}") from None
    return value


def parse_object(data: bytes, what: str, limit: int = LIMIT) -> dict[str, Any]:
    """Return the JSON object of ``data``. Raises InvalidArchive as ``parse`` does."""
    value = parse(data, what, limit)
    if not isinstance(value, dict):
        raise InvalidArchive(f"{what} is not a JSON object")
    return value


def dump(value: Any) -> bytes:
    """Return ``value`` as compact JSON in UTF-8, keys in the order given."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def text(source: dict[str, Any], key: str, what: str, default: str = "") -> str:
    """Return the string field ``key`` (``default`` when absent or null).

    Raises InvalidArchive when it is of another type.
    """
    value = source.get(key)
    if value is None:
        return default
    if not isinstance(value, str):
        raise InvalidArchive(f"{what}: {key} is not a string")
    return value


def strings(source: dict[str, Any], key: str, what: str) -> tuple[str, ...]:
    """Return the list of strings in field ``key`` (empty when absent or null)."""
    value = source.get(key)
    if value is None:
        return ()
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise InvalidArchive(f"{what}: {key} is not a list of strings")
    return tuple(value)


def string_map(source: dict[str, Any], key: str, what: str) -> dict[str, str]:
    """Return the map of strings in field ``key`` (empty when absent or null)."""
    value = source.get(key)
    if value is None:
        return {}
    if not isinstance(value, dict) or not all(isinstance(item, str) for item in value.values()):
        raise InvalidArchive(f"{what}: {key} is not a map of strings")
    return dict(value)


def objects(source: dict[str, Any], key: str, what: str) -> list[dict[str, Any]]:
    """Return the list of JSON objects in field ``key`` (empty when absent or null)."""
    value = source.get(key)
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise InvalidArchive(f"{what}: {key} is not a list of objects")
    return value


def mapping(source: dict[str, Any], key: str, what: str) -> dict[str, Any]:
    """Return the JSON object in field ``key`` (empty when absent or null)."""
    value = source.get(key)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise InvalidArchive(f"{what}: {key} is not an object")
    return value


def integer(source: dict[str, Any], key: str, what: str) -> int:
    """Return the field ``key``, 0 to 2**63 - 1. Raises InvalidArchive when it is none."""
    value = source.get(key)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**63:
        raise InvalidArchive(f"{what}: {key} is not a size")
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


def _bounded_int(digits: str) -> int:
    # int() is quadratic in the digits; no field of any manifest needs more than 20.
    if len(digits) > NUMBER_LIMIT:
        raise ValueError("a number has too many digits")
    return int(digits)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("an object repeats a key")
    return value
