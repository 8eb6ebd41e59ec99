"""Reading a policy: from a file that only root can have written, or not at all.

A name that is no rule is an error, since a rule that was misspelt would not hold.
"""

from __future__ import annotations

import os
import stat
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from knarr import errors
from knarr.engine.policy.rules import NAMESPACES
from knarr.engine.security import capabilities
from knarr.spec import quantity

_LARGEST = 1 << 20  # bytes
_OTHERS = 0o022  # writable by group or others
_MOST_LINKS = 40


@dataclass(frozen=True, slots=True)
class Containers:
    """``[containers]``: what any container has to be. None, and False, is no rule.

    privileged: False forbids it. Lists are of what is allowed: capabilities by name,
    host_namespaces by kind, seccomp profiles, AppArmor profiles, bind_mounts as absolute paths
    (``:ro`` behind: read-only), devices as patterns of paths, runtimes by name or absolute path;
    these are programs that carry all else out, so without that rule there is knarr's alone.
    """

    non_root: bool = False
    read_only_root: bool = False
    privileged: bool = True
    no_new_privileges: bool = False
    masked_paths: bool = False
    capabilities: tuple[str, ...] | None = None
    host_namespaces: tuple[str, ...] | None = None
    seccomp: tuple[str, ...] | None = None
    apparmor: tuple[str, ...] | None = None
    bind_mounts: tuple[str, ...] | None = None
    devices: tuple[str, ...] | None = None
    runtimes: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Images:
    """``[images]``: of which images containers may be made: one list or the other has them."""

    references: tuple[str, ...] | None = None
    digests: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Limits:
    """``[limits]``: a container needs each of these, and no larger one. Bytes, processors."""

    memory: int | None = None
    memory_swap: int | None = None
    pids: int | None = None
    cpus: int | None = None


@dataclass(frozen=True, slots=True)
class Policy:
    """One policy file. cpus are in billionths of a processor, as elsewhere."""

    path: str
    containers: Containers = Containers()
    images: Images = Images()
    limits: Limits = Limits()


_SECTIONS: dict[str, type[Any]] = {"containers": Containers, "images": Images, "limits": Limits}


def read(path: str) -> Policy:
    """Return the policy in a file.

    Raises RefusedByPolicy when somebody else than root could have written it, when it is not
    there, and when it says what is no rule: then nothing is allowed.
    """
    try:
        text = _trusted_text(path)
        document = tomllib.loads(text.decode("utf-8"))
        return _policy(path, document)
    except _Wrong as wrong:
        raise errors.RefusedByPolicy(path, "", str(wrong)) from None
    except OSError as error:
        raise errors.RefusedByPolicy(path, "", f"cannot be read: {error.strerror}") from error
    except ValueError as error:  # of TOML and UTF-8 alike
        reason = " ".join(str(error).split())
        raise errors.RefusedByPolicy(path, "", f"is not TOML: {reason}") from error


def check_place(path: str, data_root: str) -> None:
    """Raise RefusedByPolicy where others than root could change what is below a data root.

    path: of the policy that wants to know. One that is not there yet is root's to make.
    """
    try:
        _check_way(data_root)
    except FileNotFoundError:
        return
    except _Wrong as wrong:
        raise errors.RefusedByPolicy(path, "data root", str(wrong)) from None
    except OSError as error:
        raise errors.RefusedByPolicy(path, "data root", str(error.strerror)) from error


class _Wrong(Exception):
    """What is wrong with a file, after its name."""


def _trusted_text(path: str) -> bytes:
    """Return what is in a file that only root can write. Raises _Wrong, OSError."""
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        info = os.fstat(handle)
        if not stat.S_ISREG(info.st_mode):
            raise _Wrong("is not a regular file")
        _check_owner(info, path)
        _check_way(os.path.abspath(path))
        data = b""
        while chunk := os.read(handle, 65536):
            data += chunk
            if len(data) > _LARGEST:
                raise _Wrong(f"is larger than {_LARGEST} bytes")
    finally:
        os.close(handle)
    return data


def _check_way(path: str) -> None:
    """Raise _Wrong where somebody else could put another file, or another way, at a path."""
    here, names, links = "/", path.split("/"), 0
    _check_owner(os.stat(here), here)
    while names:
        name = names.pop(0)
        if name in ("", "."):
            continue
        if name == "..":
            here = os.path.dirname(here)
            continue
        entry = os.path.join(here, name)
        info = os.lstat(entry)
        if stat.S_ISLNK(info.st_mode):
            links += 1
            if links > _MOST_LINKS or info.st_uid not in (0, os.geteuid()):
                raise _Wrong(f"cannot be trusted: {entry} is a link of uid {info.st_uid}'s")
            target = os.readlink(entry)
            here = "/" if target.startswith("/") else here
            names = target.split("/") + names
        elif stat.S_ISDIR(info.st_mode):
            # Where the bit is set, as in /tmp, others can neither rename nor remove what is root's.
            if not (info.st_mode & stat.S_ISVTX and info.st_uid == 0):
                _check_owner(info, entry)
            here = entry


def _check_owner(info: os.stat_result, what: str) -> None:
    remedy = f"chown root: {what}; chmod go-w {what}"
    if info.st_uid not in (0, os.geteuid()):
        raise _Wrong(f"cannot be trusted: {what} belongs to uid {info.st_uid}: {remedy}")
    if info.st_mode & _OTHERS:
        mode = stat.S_IMODE(info.st_mode)
        raise _Wrong(f"cannot be trusted: others can write {what} (mode {mode:04o}): {remedy}")


def _policy(path: str, document: Mapping[str, Any]) -> Policy:
    found: dict[str, Any] = {}
    for name, section in document.items():
        if name not in _SECTIONS:
            raise _Wrong(f"{name}: there is no such section, but {', '.join(_SECTIONS)}")
        if not isinstance(section, dict):
            raise _Wrong(f"{name}: has to be a section, [{name}]")
        found[name] = _section(name, section)
    return Policy(path, **found)


def _section(name: str, section: Mapping[str, Any]) -> Any:
    kind = _SECTIONS[name]
    known = {each.name: each.default for each in fields(kind)}
    values: dict[str, Any] = {}
    for rule, value in section.items():
        if rule not in known:
            raise _Wrong(f"{name}.{rule}: there is no such rule, but {', '.join(sorted(known))}")
        if name == "limits":
            values[rule] = _limit(rule, value)
        elif isinstance(known[rule], bool):
            if not isinstance(value, bool):
                raise _Wrong(f"{name}.{rule}: has to be true or false")
            values[rule] = value
        else:
            if not (isinstance(value, list) and all(isinstance(each, str) for each in value)):
                raise _Wrong(f'{name}.{rule}: has to be a list of texts, such as ["…"]')
            values[rule] = _checked(rule, tuple(value))
    return kind(**values)


def _limit(rule: str, value: object) -> int:
    try:
        if rule == "cpus" and not isinstance(value, bool) and isinstance(value, (int, float, str)):
            number = quantity.cpus(value)
        elif isinstance(value, str) and rule != "pids":
            number = quantity.size(value)
        elif isinstance(value, int) and not isinstance(value, bool):
            number = value
        else:
            raise _Wrong(f"limits.{rule}: {value!r} is no limit")
    except errors.InvalidArgument as error:
        raise _Wrong(f"limits.{rule}: {error}") from None
    if number <= 0:
        raise _Wrong(f"limits.{rule}: has to be more than 0")
    return number


def _checked(rule: str, values: tuple[str, ...]) -> tuple[str, ...]:
    """Return a list as it is compared. Raises _Wrong for what would never match."""
    if rule == "capabilities":
        try:
            return tuple(capabilities.normalize(values))
        except errors.InvalidArgument as error:
            raise _Wrong(f"containers.capabilities: {error}") from None
    for value in values:
        if rule == "host_namespaces" and value not in NAMESPACES:
            raise _Wrong(f"containers.{rule}: {value!r} is none of {', '.join(NAMESPACES)}")
        if rule in ("bind_mounts", "devices") and not value.startswith("/"):
            raise _Wrong(f"containers.{rule}: {value!r} is no absolute path")
        if rule == "runtimes" and "/" in value and not value.startswith("/"):
            raise _Wrong(f"containers.{rule}: {value!r} is neither a name nor an absolute path")
        if rule == "digests" and not value.startswith("sha256:"):
            raise _Wrong(f"images.digests: {value!r} does not begin with sha256:")
    return values
