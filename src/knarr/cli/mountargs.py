"""``-v`` and ``--tmpfs``: Docker's short spellings of mounts."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Callable

from knarr.engine.model import BindMount, Tmpfs
from knarr.errors import InvalidArgument, Unsupported

_PROPAGATIONS = frozenset({"private", "rprivate", "shared", "rshared", "slave", "rslave"})
_SELINUX = frozenset({"z", "Z"})
_NOTHING_ON_LINUX = frozenset(
    {"consistent", "cached", "delegated"}
)  # for Docker's Mac file sharing


def bind(text: str, exists: Callable[[str], bool] = os.path.exists) -> BindMount:
    """Return the mount that ``HOST:CONTAINER[:OPTIONS]`` means.

    A relative host path (``./data``) is taken from the working directory.
    Raises InvalidArgument, and Unsupported for named and anonymous volumes.
    """
    parts = text.split(":")
    if len(parts) > 3:
        raise InvalidArgument(f"invalid volume specification: '{text}'")
    if "" in parts:
        raise InvalidArgument(f"invalid spec: {text}: empty section between colons")
    if len(parts) == 1:
        raise Unsupported(
            f"-v {text}: anonymous volumes are not available yet; use -v HOST:CONTAINER or --tmpfs"
        )
    source, target = parts[0], _target(parts[1], text)
    if source.startswith(("./", "../", "~")) or source in (".", ".."):
        source = os.path.abspath(os.path.expanduser(source))
    elif not source.startswith("/"):
        raise Unsupported(
            f"-v {text}: named volumes are not available yet; "
            f"for a directory of the host give its path, such as ./{source}"
        )
    read_only, propagation = _options(parts[2] if len(parts) > 2 else "", exists)
    return BindMount(os.path.normpath(source), target, read_only, propagation)


def _target(path: str, text: str) -> str:
    if not path.startswith("/"):
        raise InvalidArgument(
            f"invalid volume specification: '{text}': "
            f"invalid mount path: '{path}' mount path must be absolute"
        )
    target = posixpath.normpath(path)
    if target in ("/", "//"):
        raise InvalidArgument(f"invalid volume specification: '{text}': destination can't be '/'")
    return target


def _options(text: str, exists: Callable[[str], bool]) -> tuple[bool, str]:
    """Return (read only, propagation). Raises InvalidArgument, Unsupported."""
    read_only, propagation = False, "rprivate"
    modes: set[str] = set()
    for option in text.split(",") if text else ():
        if option in ("ro", "rw"):
            read_only = option == "ro"
            kind = "ro"
        elif option in _PROPAGATIONS:
            propagation = option
            kind = "propagation"
        elif option in _SELINUX:
            if exists("/sys/fs/selinux/enforce"):
                raise Unsupported(f"-v option {option}: SELinux labels are not available yet")
            kind = "selinux"
        elif option in _NOTHING_ON_LINUX:
            kind = "consistency"
        elif option == "nocopy":
            raise InvalidArgument("-v option nocopy: only named volumes have it")
        else:
            raise InvalidArgument(f"invalid mode: {text}")
        if kind in modes:
            raise InvalidArgument(f"invalid mode: {text}")
        modes.add(kind)
    return read_only, propagation


def tmpfs(text: str) -> Tmpfs:
    """Return the tmpfs that ``PATH[:OPTIONS]`` means. Raises InvalidArgument."""
    path, _, options = text.partition(":")
    if not path.startswith("/"):
        raise InvalidArgument(f"invalid mount path: '{path}' mount path must be absolute")
    if posixpath.normpath(path) in ("/", "//"):
        raise InvalidArgument("invalid tmpfs: destination can't be '/'")
    return Tmpfs(posixpath.normpath(path), tuple(option for option in options.split(",") if option))
