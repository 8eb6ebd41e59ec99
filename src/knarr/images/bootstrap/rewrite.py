"""A tar of a fresh root file system, rewritten so that the same packages give the same bytes.

What differs from run to run or from machine to machine (logs, caches, machine ids, the maker's
own host name, SELinux labels) is left out, times are clamped to one moment, and the headers are
written anew.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Iterator
from typing import BinaryIO, NamedTuple

from knarr.errors import InvalidArchive
from knarr.snapshots import tarwriter
from knarr.snapshots.tarentry import DIRECTORY, FILE, HARDLINK, Entry
from knarr.snapshots.tarstream import TarReader

# Contents go, the directories themselves stay. `*` also matches `/`.
_DROPPED = (
    "dev/*",
    "proc/*",
    "sys/*",
    "run/*",
    "tmp/*",
    "var/tmp/*",
    "var/cache/apt/*.bin",
    "var/cache/apt/archives/*.deb",
    "var/cache/apt/archives/lock",
    "var/cache/debconf/*-old",
    "var/cache/ldconfig/aux-cache",
    "var/cache/man/*",
    "var/lib/apt/lists/*",
    "var/lib/dpkg/*-old",
    "var/lib/dpkg/lock*",
    "var/lib/systemd/catalog/database",
    "var/lib/systemd/random-seed",
    "var/log/*.log",
    "var/log/apt/*",
    "etc/apt/apt.conf.d/99mmdebstrap",
    "etc/dpkg/dpkg.cfg.d/99mmdebstrap",
    "etc/apt/preferences.d/no-usrmerge",  # only for the installation itself, see debian.py
    "etc/passwd-",
    "etc/group-",
    "etc/shadow-",
    "etc/gshadow-",
    "etc/subuid-",
    "etc/subgid-",
    "etc/.pwd.lock",
    "etc/hostname",
    "etc/hosts",
    "etc/machine-id",
    "etc/resolv.conf",
    "var/lib/dbus/machine-id",
    "root/.bash_history",
    "*/__pycache__/*",
)
# What `-slim` leaves out; the licences in copyright files have to stay.
_SLIM = (
    "usr/share/doc/*",
    "usr/share/info/*",
    "usr/share/linda/*",
    "usr/share/lintian/overrides/*",
    "usr/share/locale/*",
    "usr/share/man/*",
    "usr/share/groff/*",
)
_SLIM_KEPT = ("usr/share/doc/*/copyright", "usr/share/locale/locale.alias")


# What packages give their files; labels of SELinux and access lists are the machine's.
_XATTRS = frozenset({b"security.capability"})
_NOTED_LIMIT = 64 * 1024 * 1024


class File(NamedTuple):
    """A small file that is added to, or replaces, what the packages brought."""

    name: str
    data: bytes
    mode: int = 0o644


def rewrite(
    source: BinaryIO,
    epoch: int,
    *,
    slim: bool = False,
    extra: Iterable[File] = (),
    noted: dict[str, bytes] | None = None,
) -> Iterator[bytes]:
    """Yield the normalised tar; ``epoch`` (seconds) is the latest time anything in it has.

    The contents of files named in ``noted`` are put there. Raises InvalidArchive when the source
    is no whole tar.
    """
    noted = {} if noted is None else noted
    replaced = {file.name: file for file in extra}
    reader = TarReader(source)
    gone: set[bytes] = set()
    for entry in reader:
        entry.name = _plain(entry.name)
        if entry.kind == HARDLINK:
            entry.link = _plain(entry.link)
        name = entry.name.decode("utf-8", "surrogateescape")
        is_gone = entry.kind == HARDLINK and entry.link in gone
        if is_gone or name in replaced or _is_dropped(name, entry, slim=slim):
            gone.add(entry.name)
            continue
        # A directory of several packages has the time of the one that apt unpacked last.
        seconds = epoch if entry.kind == DIRECTORY else min(entry.mtime_ns // 10**9, epoch)
        entry.mtime_ns = seconds * 10**9
        entry.xattrs = {key: value for key, value in entry.xattrs.items() if key in _XATTRS}
        yield tarwriter.entry_header(entry)
        if entry.kind == FILE:
            for _, piece in reader.segments():
                if name in noted and len(noted[name]) < _NOTED_LIMIT:
                    noted[name] += bytes(piece)
                yield bytes(piece)
            yield tarwriter.padding(tarwriter.stored_size(entry))
    reader.drain()
    for file in sorted(replaced.values()):
        yield from _added(file, epoch)
    yield tarwriter.END


def _plain(name: bytes) -> bytes:
    plain = name.removeprefix(b"./").rstrip(b"/")
    if plain.startswith(b"/") or b".." in plain.split(b"/"):
        raise InvalidArchive(f"the root file system has an entry {name[:80]!r}")
    return plain or b"."


def _is_dropped(name: str, entry: Entry, *, slim: bool) -> bool:
    if name == ".":
        return True  # a layer's root is made by whoever unpacks it
    if any(fnmatch.fnmatchcase(name, pattern) for pattern in _DROPPED):
        return True
    if not slim or not any(fnmatch.fnmatchcase(name, pattern) for pattern in _SLIM):
        return False
    if any(fnmatch.fnmatchcase(name, pattern) for pattern in _SLIM_KEPT):
        return False
    # Directories of packages are kept where a copyright file may be in them.
    return not (entry.kind == DIRECTORY and fnmatch.fnmatchcase(name, "usr/share/doc/*"))


def _added(file: File, epoch: int) -> Iterator[bytes]:
    entry = Entry(
        file.name.encode(), FILE, mode=file.mode, size=len(file.data), mtime_ns=epoch * 10**9
    )
    yield tarwriter.entry_header(entry)
    yield file.data
    yield tarwriter.padding(len(file.data))
