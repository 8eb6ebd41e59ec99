"""Which version of the runtime specification a bundle was written for, and what follows. Pure.

A rule that a later version turned around holds for bundles of that version: ``ociVersion`` says
with which one the bundle complies (config.md, "Specification version").
"""

import re

from knarr.runtime.fields import SpecError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_NUMBER = r"(0|[1-9][0-9]{0,8})"
# Semantic versioning 2.0.0: three numbers, then what is before a release and of its build.
_SEMANTIC = re.compile(rf"{_NUMBER}\.{_NUMBER}\.{_NUMBER}(-[0-9A-Za-z.-]+)?(\+[0-9A-Za-z.-]+)?")
_WARNED_CAPABILITIES = (1, 1)
_POSTSTART_FAILS = (1, 3)


def version_of(config: "dict[str, Any]") -> "tuple[int, int]":
    """Return the first two numbers of ``ociVersion``; raises SpecError for what is no version."""
    text = config.get("ociVersion") or ""
    found = _SEMANTIC.fullmatch(text)
    if found is None:
        raise SpecError(f"ociVersion: {text!r} is not a version like 1.3.0")
    return int(found[1]), int(found[2])


def refuses_unknown_capabilities(config: "dict[str, Any]") -> bool:
    """Return whether a capability that is not known is an error, and not only left out."""
    return version_of(config) < _WARNED_CAPABILITIES


def goes_on_after_poststart(config: "dict[str, Any]") -> bool:
    """Return whether a ``poststart`` hook that fails is no more than a warning."""
    return version_of(config) < _POSTSTART_FAILS
