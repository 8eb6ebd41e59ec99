"""Filters of image lists and of prune: Docker's names and meanings."""

from __future__ import annotations

import datetime as dt
import fnmatch
from collections.abc import Callable, Mapping, Sequence

from knarr.errors import InvalidArgument
from knarr.images import labels, times
from knarr.images.context import Context
from knarr.images.find import find
from knarr.images.index import ImageRecord
from knarr.images.records import read_config
from knarr.images.reference import Reference

Filters = Mapping[str, Sequence[str]]
Test = Callable[[ImageRecord], bool]

LIST_KEYS = frozenset({"dangling", "label", "before", "since", "until", "reference"})
PRUNE_KEYS = frozenset({"dangling", "label", "label!", "until"})
_TRUE = frozenset({"true", "1", "t"})
_FALSE = frozenset({"false", "0", "f"})


def compile_filters(context: Context, filters: Filters, allowed: frozenset[str]) -> Test:
    """Return the test that a record passes when it meets every key.

    Several values of one key are alternatives, except for labels, which must all be met.
    Raises InvalidArgument for an unknown key or value, NotFound for the image of before/since.
    """
    unknown = set(filters) - allowed
    if unknown:
        names = ", ".join(sorted(allowed))
        raise InvalidArgument(f"invalid filter {min(unknown)!r}: use {names}")
    tests = [_MAKERS[key](context, values) for key, values in filters.items() if values]
    return lambda record: all(test(record) for test in tests)


def boolean(key: str, values: Sequence[str]) -> bool:
    """Return the value of a yes-or-no filter. Raises InvalidArgument."""
    found = {value.lower() for value in values}
    if found <= _TRUE:
        return True
    if found <= _FALSE:
        return False
    raise InvalidArgument(f"invalid filter {key}={values[0]}: use true or false")


def created_at(record: ImageRecord) -> dt.datetime:
    """Return when the image was made; the year 1 when its config does not say."""
    return times.parse(record.created) or dt.datetime.min.replace(tzinfo=dt.UTC)


def _dangling(context: Context, values: Sequence[str]) -> Test:
    wanted = boolean("dangling", values)
    return lambda record: (not context.index.tags(record.id)) is wanted


def _label(context: Context, values: Sequence[str]) -> Test:
    return lambda record: all(_has_label(context, record, value) for value in values)


def _no_label(context: Context, values: Sequence[str]) -> Test:
    return lambda record: not any(_has_label(context, record, value) for value in values)


def _has_label(context: Context, record: ImageRecord, wanted: str) -> bool:
    return labels.meets(
        read_config(context, record.config_digest).config.get("Labels") or {}, wanted
    )


def _until(context: Context, values: Sequence[str]) -> Test:
    del context
    if len(values) != 1:
        raise InvalidArgument("more than one until filter: give one")
    limit = times.until(values[0])
    return lambda record: created_at(record) <= limit


def _before(context: Context, values: Sequence[str]) -> Test:
    limit = min(created_at(find(context.index, value)) for value in values)
    return lambda record: created_at(record) < limit


def _since(context: Context, values: Sequence[str]) -> Test:
    limit = max(created_at(find(context.index, value)) for value in values)
    return lambda record: created_at(record) > limit


def _reference(context: Context, values: Sequence[str]) -> Test:
    def test(record: ImageRecord) -> bool:
        names = [Reference.parse(name) for name in context.index.tags(record.id)]
        return any(matches(name, value) for name in names for value in values)

    return test


def matches(name: Reference, pattern: str) -> bool:
    """Return whether a pattern (``debian:*``, ``registry.example.org/*/*``) fits a name."""
    # A star stands for anything within one component, so components are compared in pairs.
    spellings = (name.familiar(), name.familiar_name, str(name), name.name)
    parts = pattern.split("/")
    for spelling in spellings:
        components = spelling.split("/")
        if len(components) == len(parts) and all(map(fnmatch.fnmatchcase, components, parts)):
            return True
    return False


_MAKERS: dict[str, Callable[[Context, Sequence[str]], Test]] = {
    "dangling": _dangling,
    "label": _label,
    "label!": _no_label,
    "until": _until,
    "before": _before,
    "since": _since,
    "reference": _reference,
}
