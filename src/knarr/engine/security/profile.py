"""Seccomp profiles with conditions, as Docker writes them, become ``linux.seccomp``.

A rule can be bound to capabilities of the container, to architectures and to a
kernel version (``includes``, ``excludes``); here the conditions are decided, so that
the runtime sees plain rules of the OCI runtime spec.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from knarr.errors import InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

# Machine of uname(2) -> the name that conditions use, and the name in the OCI spec.
MACHINES = {
    "x86_64": ("amd64", "SCMP_ARCH_X86_64"),
    "aarch64": ("arm64", "SCMP_ARCH_AARCH64"),
    "riscv64": ("riscv64", "SCMP_ARCH_RISCV64"),
    "s390x": ("s390x", "SCMP_ARCH_S390X"),
    "ppc64le": ("ppc64le", "SCMP_ARCH_PPC64LE"),
    "loongarch64": ("loongarch64", "SCMP_ARCH_LOONGARCH64"),
}


def load(
    text: str, caps: Collection[str], machine: str, kernel: tuple[int, int]
) -> dict[str, Any] | None:
    """Return the ``linux.seccomp`` of a profile's JSON text, None when it is empty.

    ``caps`` are the container's capabilities, ``kernel`` the first two numbers of its
    release. Raises InvalidArgument for what is no profile.
    """
    try:
        profile = json.loads(text)
    except ValueError as error:
        raise InvalidArgument(f"Decoding seccomp profile failed: {error}") from error
    if not isinstance(profile, dict):
        raise InvalidArgument("Decoding seccomp profile failed: not an object")
    if not profile.get("defaultAction") and not profile.get("syscalls"):
        return None
    try:
        return resolve(profile, caps, machine, kernel)
    except (TypeError, AttributeError, KeyError) as error:
        raise InvalidArgument(f"Decoding seccomp profile failed: {error}") from error


def resolve(
    profile: Mapping[str, Any], caps: Collection[str], machine: str, kernel: tuple[int, int]
) -> dict[str, Any]:
    """Return a plain ``linux.seccomp`` with the rules whose conditions hold.

    Raises InvalidArgument for contradictions in the profile.
    """
    if profile.get("architectures") and profile.get("archMap"):
        raise InvalidArgument(
            "both 'architectures' and 'archMap' are specified in the seccomp profile,"
            " use either 'architectures' or 'archMap'"
        )
    arch, oci_arch = MACHINES.get(machine, (machine, ""))
    architectures = list(profile.get("architectures") or ())
    for entry in profile.get("archMap") or ():
        if entry["architecture"] == oci_arch:
            architectures = [oci_arch, *(entry.get("subArchitectures") or ())]
            break
    result = {
        key: profile[key]
        for key in ("defaultAction", "defaultErrnoRet", "flags", "listenerPath", "listenerMetadata")
        if profile.get(key) is not None
    }
    result["architectures"] = architectures
    result["syscalls"] = [
        _plain(rule)
        for rule in profile.get("syscalls") or ()
        if _holds(rule.get("includes") or {}, caps, arch, kernel)
        and not _excluded(rule.get("excludes") or {}, caps, arch, kernel)
    ]
    return result


def _plain(rule: Mapping[str, Any]) -> dict[str, Any]:
    """Return a rule with the fields of the OCI spec only."""
    if rule.get("name") and rule.get("names"):
        raise InvalidArgument(
            "both 'name' and 'names' are specified in the seccomp profile,"
            " use either 'name' or 'names'"
        )
    result = {"names": list(rule.get("names") or [rule["name"]]), "action": rule["action"]}
    if rule.get("errnoRet") is not None:
        result["errnoRet"] = rule["errnoRet"]
    if rule.get("args"):
        result["args"] = [dict(argument) for argument in rule["args"]]
    return result


def _holds(
    condition: Mapping[str, Any], caps: Collection[str], arch: str, kernel: tuple[int, int]
) -> bool:
    """Return whether all parts of an ``includes`` hold."""
    if condition.get("arches") and arch not in condition["arches"]:
        return False
    if any(name not in caps for name in condition.get("caps") or ()):
        return False
    minimum = condition.get("minKernel")
    return not minimum or kernel >= kernel_number(minimum)


def _excluded(
    condition: Mapping[str, Any], caps: Collection[str], arch: str, kernel: tuple[int, int]
) -> bool:
    """Return whether any part of an ``excludes`` holds."""
    minimum = condition.get("minKernel")
    return (
        arch in (condition.get("arches") or ())
        or any(name in caps for name in condition.get("caps") or ())
        or bool(minimum and kernel >= kernel_number(minimum))
    )


def kernel_number(text: str) -> tuple[int, int]:
    """Return "4.8" as 4, 8. Raises InvalidArgument for any other form."""
    major, dot, minor = str(text).partition(".")
    if not (dot and major.isdigit() and minor.isdigit()):
        raise InvalidArgument(f"invalid kernel version in seccomp profile: {text!r}")
    return int(major), int(minor)
