"""Steps on names and users: host name, loopback, who the process will be."""

import os
import struct

from knarr.errors import InvalidArgument
from knarr.kernel.net import IFF_UP, SIOCSIFFLAGS
from knarr.runtime.program.builder import Builder
from knarr.runtime.program.memory import (
    FILE_LIMIT,
    GROUP,
    GROUP_SIZE,
    PASSWD,
    PASSWD_SIZE,
    TEMPORARY,
    Cell,
    read,
)
from knarr.runtime.program.paths import read_file
from knarr.runtime.steps.base import Setting, Step
from knarr.runtime.users import ResolvedUser, home_of, resolve_user

_SOCKET = TEMPORARY[0]
_AF_INET, _SOCK_DGRAM = 2, 2


class HostName(Step):
    """Set the host name and, where given, the domain name of the new UTS namespace."""

    __slots__ = ("domain", "host")

    def __init__(self, host: str, domain: str) -> None:
        self.host = host
        self.domain = domain

    def key(self, setting: Setting) -> None:
        """See Step; there are as many as containers."""
        del setting

    def emit(self, b: Builder, setting: Setting) -> None:
        """See uts_namespaces(7)."""
        del setting
        for call, name in (("sethostname", self.host), ("setdomainname", self.domain)):
            if name:
                data = name.encode()
                b.call(call, data, len(data))

    def describe(self) -> str:
        """Return the step as one line of text."""
        return f"host name {self.host}" + (f", domain {self.domain}" if self.domain else "")


class Loopback(Step):
    """Set the loopback interface of the new network namespace up."""

    __slots__ = ()

    def emit(self, b: Builder, setting: Setting) -> None:
        """See netdevice(7); the kernel then gives it 127.0.0.1 and ::1."""
        del setting
        b.call("socket", _AF_INET, _SOCK_DGRAM | os.O_CLOEXEC, 0, out=_SOCKET)
        b.call("ioctl", _SOCKET, SIOCSIFFLAGS, struct.pack("16sh22x", b"lo", IFF_UP))
        b.call("close", _SOCKET)

    def describe(self) -> str:
        """Return the step as one line of text."""
        return "loopback up"


class User(Step):
    """Settle who the process is: ids as given, or a name looked up in the container's files.

    The files are read in the container, below the descriptor of its root; what they
    say is worked out by the parent. No NSS module of the image runs.
    """

    __slots__ = ("gid", "gids", "groups", "name", "uid")

    def __init__(
        self,
        uid: int,
        gid: int,
        gids: "tuple[int, ...]",
        name: "str | None",
        groups: "tuple[str, ...]" = (),
    ) -> None:
        self.uid = uid
        self.gid = gid
        self.gids = gids
        self.name = name
        self.groups = groups  # further ones, to be looked up with the name

    def key(self, setting: Setting) -> "tuple[object, ...]":
        """See Step."""
        return (self.name is None, setting.has_home)

    def emit(self, b: Builder, setting: Setting) -> None:
        """Only what is needed is read: ids that are given need no look-up, but a home does."""
        if self.name is not None or not setting.has_home:
            read_file(b, "/etc/passwd", PASSWD, PASSWD_SIZE)
        if self.name is not None:
            read_file(b, "/etc/group", GROUP, GROUP_SIZE)

    def is_known(self, setting: Setting) -> bool:
        """Return whether ``resolve`` needs nothing that is read in the container."""
        return self.name is None and setting.has_home

    def resolve(self, setting: Setting) -> ResolvedUser:
        """Return who it is, once the step was carried out; raises InvalidArgument."""
        if self.name is not None:
            gids = (*(str(gid) for gid in self.gids), *self.groups)
            group = _text(GROUP, GROUP_SIZE, "/etc/group")
            return resolve_user(self.name, _passwd(), group, gids)
        home = "/" if setting.has_home else home_of(self.uid, _passwd())
        return ResolvedUser(self.uid, self.gid, self.gids, home)

    def describe(self) -> str:
        """Return the step as one line of text."""
        who = f"{self.uid}:{self.gid}" if self.name is None else (self.name or "root")
        return f"user {who}"


def _passwd() -> bytes:
    return _text(PASSWD, PASSWD_SIZE, "/etc/passwd")


def _text(address: int, size: Cell, path: str) -> bytes:
    """Return what was read of a file; raises InvalidArgument where that may not be all of it."""
    if size.get() >= FILE_LIMIT:
        raise InvalidArgument(f"{path} in the container has {FILE_LIMIT} bytes or more")
    return read(address, max(size.get(), 0))
