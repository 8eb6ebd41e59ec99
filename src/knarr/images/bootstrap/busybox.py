"""The busybox image: Debian's static busybox, with a link for each applet.

The tree is what the well-known busybox image has: every applet is a hard link
in ``/bin``, and the few directories and accounts a shell and small daemons need.
"""

from __future__ import annotations

import os
import struct
import subprocess
import tempfile
from collections.abc import Iterator
from typing import NamedTuple

from knarr.errors import InvalidArchive, Unavailable
from knarr.images.bootstrap import deb, tools
from knarr.snapshots import tarwriter
from knarr.snapshots.tarentry import DIRECTORY, FILE, HARDLINK, Entry

_PACKAGE = "busybox-static"
_PATHS = ("bin/busybox", "usr/bin/busybox")
_PT_INTERP = 3
_PT_LOAD = 1
_TIMEOUT = 20.0

_DIRECTORIES = {
    "bin": 0o755,
    "dev": 0o755,
    "etc": 0o755,
    "etc/network": 0o755,
    "etc/network/if-down.d": 0o755,
    "etc/network/if-post-down.d": 0o755,
    "etc/network/if-pre-up.d": 0o755,
    "etc/network/if-up.d": 0o755,
    "home": 0o755,
    "lib": 0o755,
    "proc": 0o555,
    "root": 0o700,
    "sys": 0o555,
    "tmp": 0o1777,
    "usr": 0o755,
    "usr/bin": 0o755,
    "usr/sbin": 0o755,
    "var": 0o755,
    "var/spool": 0o755,
    "var/spool/mail": 0o755,
    "var/www": 0o755,
}
_OWNERS = {"home": 65534, "var/spool/mail": 8, "var/www": 33}
_ACCOUNTS = (
    ("root", 0, "/root", "/bin/sh"),
    ("daemon", 1, "/usr/sbin", "/bin/false"),
    ("bin", 2, "/bin", "/bin/false"),
    ("sys", 3, "/dev", "/bin/false"),
    ("sync", 100, "/bin", "/bin/sync"),
    ("mail", 8, "/var/spool/mail", "/bin/false"),
    ("www-data", 33, "/var/www", "/bin/false"),
    ("operator", 37, "/var", "/bin/false"),
    ("nobody", 65534, "/home", "/bin/false"),
)
_GROUPS = (
    ("root", 0), ("daemon", 1), ("bin", 2), ("sys", 3), ("adm", 4), ("tty", 5), ("disk", 6),
    ("lp", 7), ("mail", 8), ("kmem", 9), ("wheel", 10), ("cdrom", 11), ("dialout", 18),
    ("floppy", 19), ("video", 28), ("audio", 29), ("tape", 32), ("www-data", 33),
    ("operator", 37), ("utmp", 43), ("plugdev", 46), ("staff", 50), ("lock", 54),
    ("netdev", 82), ("users", 100), ("nobody", 65534),
)  # fmt: skip


class Busybox(NamedTuple):
    """The program, its time (seconds since 1970), its applets and its version line."""

    program: bytes
    mtime: int
    applets: tuple[str, ...]
    version: str


def find(directory: str | None = None) -> Busybox:
    """Return the static busybox of this machine, or the one of Debian's package.

    directory: where the package may be put meanwhile; None for where temporary files go.
    Raises Unsupported when there is neither busybox nor apt, Unavailable when the package
    cannot be had, InvalidArchive when what was found is not a static program.
    """
    for path in _PATHS:
        try:
            with open(f"/{path}", "rb") as file:
                program = file.read()
                mtime = int(os.fstat(file.fileno()).st_mtime)
        except OSError:
            continue  # not here, or not for us to read
        if is_static(program):
            return _described(program, mtime)
    return _downloaded(directory)


def is_static(program: bytes) -> bool:
    """Return whether an ELF program needs no interpreter and so runs in an empty root (elf(5))."""
    if program[:4] != b"\x7fELF" or len(program) < 64:
        return False
    wide, order = program[4] == 2, "<" if program[5] == 1 else ">"
    offset = struct.unpack_from(f"{order}Q" if wide else f"{order}I", program, 32 if wide else 28)[
        0
    ]
    size, count = struct.unpack_from(f"{order}HH", program, 54 if wide else 42)
    try:
        kinds = [
            struct.unpack_from(f"{order}I", program, offset + size * n)[0] for n in range(count)
        ]
    except struct.error:
        return False
    return _PT_LOAD in kinds and _PT_INTERP not in kinds


def tree(busybox: Busybox, epoch: int) -> Iterator[bytes]:
    """Yield the root file system as a tar; ``epoch`` (seconds) is the time of everything in it."""
    time_ns = epoch * 10**9
    members: dict[str, tuple[Entry, tuple[bytes, ...]]] = {}
    for name, mode in _DIRECTORIES.items():
        owner = _OWNERS.get(name, 0)
        entry = Entry(name.encode(), DIRECTORY, mode=mode, uid=owner, gid=owner, mtime_ns=time_ns)
        members[name] = (entry, ())
    for name, (data, mode) in _files().items():
        entry = Entry(name.encode(), FILE, mode=mode, size=len(data), mtime_ns=time_ns)
        members[name] = (entry, (data,))
    # The file itself has to come before its links; "bin/[" sorts before it as it is.
    for applet in busybox.applets:
        members[f"bin/{applet}"] = (_link(f"bin/{applet}", time_ns), ())
    members["usr/bin/env"] = (_link("usr/bin/env", time_ns), ())
    size = len(busybox.program)
    program = Entry(b"bin/busybox", FILE, mode=0o755, size=size, mtime_ns=time_ns)
    members["bin/busybox"] = (program, (busybox.program,))
    first = ["bin", "bin/busybox"]
    return tarwriter.pack(
        members[name] for name in first + sorted(name for name in members if name not in first)
    )


def _link(name: str, time_ns: int) -> Entry:
    return Entry(name.encode(), HARDLINK, mode=0o755, link=b"bin/busybox", mtime_ns=time_ns)


def _files() -> dict[str, tuple[bytes, int]]:
    passwd = "".join(
        f"{name}:x:{uid}:{uid if uid != 100 else 0}:{name}:{home}:{shell}\n"
        for name, uid, home, shell in _ACCOUNTS
    )
    shadow = "".join(f"{name}:*:10933:0:99999:7:::\n" for name, *_ in _ACCOUNTS)
    group = "".join(f"{name}:x:{gid}:\n" for name, gid in _GROUPS)
    return {
        "etc/passwd": (passwd.encode(), 0o644),
        "etc/shadow": (shadow.encode(), 0o600),
        "etc/group": (group.encode(), 0o644),
        "etc/nsswitch.conf": (b"passwd: files\ngroup: files\nhosts: files dns\n", 0o644),
        "etc/localtime": (_utc(), 0o644),
    }


def _utc() -> bytes:
    """Return UTC as a time zone file (RFC 8536): version 1 and 2 blocks and the footer."""
    block = struct.pack(">6l", 0, 0, 0, 0, 1, 4) + struct.pack(">lBB", 0, 0, 0) + b"UTC\0"
    head = b"TZif2" + bytes(15)
    return head + block + head + block + b"\nUTC0\n"


def _downloaded(within: str | None) -> Busybox:
    apt = tools.need("apt-get", "apt", "a busybox image")
    with tempfile.TemporaryDirectory(prefix="knarr-busybox-", dir=within) as directory:
        tools.run([apt, "download", _PACKAGE], directory, f"downloading {_PACKAGE}")
        debs = [name for name in os.listdir(directory) if name.endswith(".deb")]
        if not debs:
            raise Unavailable(f"apt-get download {_PACKAGE} brought no package")
        with open(os.path.join(directory, debs[0]), "rb") as file:
            program, mtime = deb.extract(file, _PATHS)
    if not is_static(program):
        raise InvalidArchive(f"the busybox of {_PACKAGE} is not a static program")
    return _described(program, mtime)


def _described(program: bytes, mtime: int) -> Busybox:
    """Return what the program says about itself; it runs from memory and needs no file."""
    fd = os.memfd_create("busybox", 0)
    try:
        os.write(fd, program)
        path = f"/proc/self/fd/{fd}"
        applets = _output([path, "--list"], fd).split()
        version = _output([path], fd).partition("\n")[0].partition(" multi-call")[0]
    finally:
        os.close(fd)
    names = sorted({name for name in applets if "/" not in name} - {"busybox"})
    if "sh" not in names:
        raise InvalidArchive("busybox on this machine has no sh")
    return Busybox(program, mtime, tuple(names), version)


def _output(argv: list[str], fd: int) -> str:
    done = subprocess.run(
        ["busybox", *argv[1:]],
        executable=argv[0],
        pass_fds=(fd,),
        env=tools.environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=_TIMEOUT,
        check=False,
    )
    return done.stdout.decode("utf-8", "replace")
