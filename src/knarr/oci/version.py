"""Which version of the runtime specification a bundle was written for, and what follows. Pure.

A rule that a later version turned around holds for bundles of that version: ``ociVersion`` says
with which one the bundle complies (config.md, "Specification version").
"""

from knarr.runtime.fields import SpecError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_DIGITS = frozenset("0123456789")
_WORD = _DIGITS | frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz.-")
_LONGEST = 9  # digits
_WARNED_CAPABILITIES = (1, 1)
_POSTSTART_FAILS = (1, 3)
_PRESTART_AT_CREATE = (1, 1)


def version_of(config: "dict[str, Any]") -> "tuple[int, int]":
    """Return the first two numbers of ``ociVersion``; raises SpecError for what is no version."""
    text = config.get("ociVersion") or ""
    # Semantic versioning 2.0.0: three numbers, then what is before a release and of its build.
    rest, plus, build = text.partition("+")
    rest, dash, before = rest.partition("-")
    numbers = rest.split(".")
    words = ([build] if plus else []) + ([before] if dash else [])
    if (
        len(numbers) != 3
        or not all(map(_is_number, numbers))
        or not all(word and _WORD.issuperset(word) for word in words)
    ):
        raise SpecError(f"ociVersion: {text!r} is not a version like 1.3.0")
    return int(numbers[0]), int(numbers[1])


def _is_number(text: str) -> bool:
    return (
        0 < len(text) <= _LONGEST and _DIGITS.issuperset(text) and (text == "0" or text[0] != "0")
    )


def refuses_unknown_capabilities(config: "dict[str, Any]") -> bool:
    """Return whether a capability that is not known is an error, and not only left out."""
    return version_of(config) < _WARNED_CAPABILITIES


def goes_on_after_poststart(config: "dict[str, Any]") -> bool:
    """Return whether a ``poststart`` hook that fails is no more than a warning."""
    return version_of(config) < _POSTSTART_FAILS


def starts_with_prestart(config: "dict[str, Any]") -> bool:
    """Return whether ``prestart`` hooks belong to ``start`` and not to ``create``.

    So it is in the releases up to 1.0.2 (config.md, "Prestart"); what engines call 1.0.2-dev came
    after that one, and after the change. Where 1.0.2 has hooks of ``create`` beside them, they
    come before those (runtime.md, "Lifecycle").
    """
    found = config.get("hooks") or {}
    if not found.get("prestart") or found.get("createRuntime") or found.get("createContainer"):
        return False
    released = "-" not in config["ociVersion"].partition("+")[0]
    return released and version_of(config) < _PRESTART_AT_CREATE
