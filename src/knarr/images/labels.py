"""What a filter says of labels, for images and for containers."""

from __future__ import annotations

from collections.abc import Mapping


def meets(labels: Mapping[str, str], wanted: str) -> bool:
    """Return whether labels have what a filter wants: ``NAME``, or ``NAME=VALUE``."""
    name, equals, value = wanted.partition("=")
    return name in labels and (not equals or labels[name] == value)
