"""``-v``, ``--tmpfs`` and ``--mount``: Docker's spellings of mounts."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Callable

from knarr.cli import values
from knarr.cli.exitcodes import BadFlag
from knarr.engine.model import BindMount, Tmpfs
from knarr.errors import InvalidArgument, Unsupported

PROPAGATIONS = frozenset({"private", "rprivate", "shared", "rshared", "slave", "rslave"})
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
    if not text:
        raise BadFlag("invalid empty volume spec")
    if "" in parts:
        raise BadFlag(f"invalid spec: {text}: empty section between colons")
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
        elif option in PROPAGATIONS:
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


class _Fields:
    """What a ``--mount`` says, field by field; ``set`` is told each and raises ValueError."""

    def __init__(self) -> None:
        self.type = "volume"
        self.source = self.target = self.propagation = ""
        self.read_only = self.not_recursive = False
        self.recursive_read_only: bool | None = None
        self.tmpfs: list[str] = []
        self.families: set[str] = set()  # bind, tmpfs, volume: whose own fields were given

    def set(self, field: str) -> None:
        key, has_value, value = field.partition("=")
        if not has_value and key not in _BARE:
            raise ValueError(f"invalid field '{field}' must be a key=value pair")
        if key.partition("-")[0] in ("bind", "tmpfs", "volume"):
            self.families.add(key.partition("-")[0])
        if key == "type":
            self.type = value.lower()
        elif key in ("source", "src"):
            self.source = os.path.abspath(value) if value == "." or value[:2] == "./" else value
        elif key in ("target", "dst", "destination"):
            self.target = value
        elif key in ("readonly", "ro"):
            self.read_only = _truth(key, value, has_value)
        elif key == "bind-propagation":
            self.propagation = value.lower()
        elif key == "bind-nonrecursive":
            self.not_recursive = _truth(key, value, has_value)
        elif key == "bind-recursive":
            self._recursive(value)
        elif key == "tmpfs-size":
            self.tmpfs.append(f"size={_read(values.size, key, value)}")
        elif key == "tmpfs-mode":
            self.tmpfs.append(f"mode={_read(_octal, key, value):o}")
        elif key not in _NOTHING_HERE:
            raise ValueError(f"unexpected key '{key}' in '{field}'")

    def _recursive(self, value: str) -> None:
        if value not in ("enabled", "disabled", "writable", "readonly"):
            raise ValueError(
                f"invalid value for bind-recursive: {value} "
                '(must be "enabled", "disabled", "writable", or "readonly")'
            )
        self.not_recursive = value == "disabled"
        self.recursive_read_only = {"writable": False, "readonly": True}.get(value)


_BARE = frozenset({"readonly", "ro", "bind-nonrecursive", "volume-nocopy"})
# For Docker's Mac file sharing, and of volumes, which are refused as a whole.
_NOTHING_HERE = frozenset(
    {"consistency", "volume-nocopy", "volume-label", "volume-driver", "volume-opt",
     "volume-subpath"}
)  # fmt: skip


def mount(text: str) -> BindMount | Tmpfs:
    """Return the mount that ``type=bind,source=HOST,target=PATH`` and so on means.

    Raises ValueError for what is malformed, InvalidArgument for what cannot be, Unsupported.
    """
    import csv

    try:
        (words,) = csv.reader([text], strict=True)
    except (csv.Error, ValueError) as error:
        raise ValueError(f"invalid mount: {error}") from None
    fields = _Fields()
    for word in words:
        fields.set(word)
    _check_fields(fields)
    if fields.type == "volume":
        raise Unsupported(
            f"--mount {text}: volumes are not available yet; use type=bind or type=tmpfs"
        )
    try:
        return _tmpfs_mount(fields) if fields.type == "tmpfs" else _bind_mount(fields)
    except ValueError as error:
        raise InvalidArgument(f'invalid mount config for type "{fields.type}": {error}') from None


def _check_fields(fields: _Fields) -> None:
    if not fields.type:
        raise ValueError("type is required")
    if not fields.target:
        raise ValueError("target is required")
    for family in ("volume", "bind", "tmpfs"):
        if family in fields.families and fields.type != family:
            raise ValueError(f"cannot mix '{family}-*' options with mount type '{fields.type}'")
    if fields.recursive_read_only is None:
        return
    option = "readonly" if fields.recursive_read_only else "writable"
    what = f"option 'bind-recursive={option}' requires"
    if not fields.read_only:
        raise ValueError(f"{what} 'readonly' to be specified in conjunction")
    if fields.recursive_read_only and fields.propagation != "rprivate":
        raise ValueError(f"{what} 'bind-propagation=rprivate' to be specified in conjunction")


def _bind_mount(fields: _Fields) -> BindMount:
    if fields.type != "bind":
        raise ValueError("mount type unknown")
    target = _mount_target(fields.target)
    if not fields.source:
        raise ValueError("field Source must not be empty")
    if fields.propagation and fields.propagation not in PROPAGATIONS:
        raise ValueError(f"invalid propagation mode: {fields.propagation}")
    if not fields.source.startswith("/"):
        raise ValueError(f"invalid mount path: '{fields.source}' mount path must be absolute")
    return BindMount(
        os.path.normpath(fields.source),
        target,
        fields.read_only,
        fields.propagation or "rprivate",
        create_source=False,
        recursive=not fields.not_recursive,
        recursive_read_only=fields.recursive_read_only,
        by_mount=True,
    )


def _tmpfs_mount(fields: _Fields) -> Tmpfs:
    target = _mount_target(fields.target)
    if fields.source:
        raise ValueError("field Source must not be specified")
    options = (*(("ro",) if fields.read_only else ()), *fields.tmpfs)
    return Tmpfs(target, options, by_mount=True)


def _mount_target(path: str) -> str:
    if posixpath.normpath(path) in ("/", "//"):
        raise ValueError("invalid specification: destination can't be '/'")
    if not path.startswith("/"):
        raise ValueError(f"invalid mount path: '{path}' mount path must be absolute")
    return posixpath.normpath(path)


def _truth(key: str, value: str, has_value: str) -> bool:
    return bool(_read(values.boolean, key, value)) if has_value else True


def _octal(text: str) -> int:
    return int(text, 8)


def _read(parse: Callable[[str], int], key: str, value: str) -> int:
    try:
        return parse(value)
    except ValueError:
        raise ValueError(f"invalid value for {key}: {value}") from None
