"""``--security-opt``: Docker's strings become one value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from knarr.errors import InvalidArgument, Unsupported

if TYPE_CHECKING:
    from collections.abc import Iterable

UNCONFINED = "unconfined"
BUILTIN = "builtin"
_TRUE = ("1", "t", "T", "TRUE", "true", "True")
_FALSE = ("0", "f", "F", "FALSE", "false", "False")


@dataclass(frozen=True, slots=True)
class SecurityOptions:
    """What ``--security-opt`` asked for.

    seccomp: None (the default profile), ``unconfined``, ``builtin``, a path, or the JSON
    text of a profile. writable_cgroups: None follows ``--privileged``.
    """

    seccomp: str | None = None
    no_new_privileges: bool = False
    apparmor: str | None = None
    system_paths: bool = True
    writable_cgroups: bool | None = None


def parse(options: Iterable[str]) -> SecurityOptions:
    """Return the value of these ``--security-opt`` strings; a later one wins.

    Both ``key=value`` and the old ``key:value`` are taken. Raises InvalidArgument
    for unknown ones (Docker's text) and Unsupported for SELinux labels.
    """
    seccomp: str | None = None
    apparmor: str | None = None
    no_new_privileges, system_paths = False, True
    writable_cgroups: bool | None = None
    for option in options:
        key, value = _split(option)
        if key == "seccomp" and value:
            seccomp = value
        elif key == "apparmor" and value:
            apparmor = value
        elif key == "no-new-privileges":
            no_new_privileges = _flag(option, value)
        elif key == "writable-cgroups":
            writable_cgroups = _flag(option, value)
        elif key == "systempaths" and value == UNCONFINED:
            system_paths = False
        elif key == "label":
            _label(option, value)
        else:
            raise InvalidArgument(f'invalid --security-opt 2: "{option}"')
    return SecurityOptions(seccomp, no_new_privileges, apparmor, system_paths, writable_cgroups)


def _split(option: str) -> tuple[str, str | None]:
    if option in ("no-new-privileges", "writable-cgroups"):
        return option, None
    if option == "disable":
        return "label", "disable"
    for separator in ("=", ":"):
        if separator in option:
            key, _, value = option.partition(separator)
            return key, value
    raise InvalidArgument(f'invalid --security-opt 1: "{option}"')


def _flag(option: str, value: str | None) -> bool:
    if value is None or value in _TRUE:
        return True
    if value in _FALSE:
        return False
    raise InvalidArgument(f'invalid --security-opt 2: "{option}"')


def _label(option: str, value: str | None) -> None:
    """Accept ``label=disable`` (there is nothing to disable); anything else needs SELinux."""
    if value != "disable":
        raise Unsupported(f'SELinux labels are not supported: --security-opt "{option}"')
