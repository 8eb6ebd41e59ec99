"""Network devices of the host that a container gets (runtime-spec config-linux.md).

They are moved when the container's network namespace is there, with their lasting addresses. What
fails moves them back: with the namespace a virtual one would end.
"""

import os

from knarr.kernel import links
from knarr.kernel.namespaces import CLONE_NEWNET, setns
from knarr.kernel.netlink import Netlink
from knarr.runtime.errors import RuntimeFailure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from knarr.kernel.links import Link


class Devices:
    """The devices of one configuration, on their way to the namespace of a process.

    It holds the namespace until ``close``.
    """

    __slots__ = ("_fd", "_here", "_moved", "_there")

    def __init__(self, pid: int) -> None:
        self._moved: list[tuple[int, Link]] = []
        flags = os.O_RDONLY | os.O_CLOEXEC
        self._fd = os.open(f"/proc/{pid}/ns/net", flags)
        own = os.open("/proc/self/ns/net", flags)
        try:
            self._here = Netlink()
            setns(self._fd, CLONE_NEWNET)
            try:
                self._there = Netlink()
            finally:
                setns(own, CLONE_NEWNET)
            if os.path.sameopenfile(own, self._fd):
                text = "linux.netDevices: the network namespace is the host's own"
                raise RuntimeFailure("error", "netDevices", text)
        finally:
            os.close(own)

    def move(self, wanted: "dict[str, Any]") -> None:
        """Move all of them. Raises RuntimeFailure; ``give_back`` is the caller's to call then."""
        for name, entry in sorted(wanted.items()):
            field = f"linux.netDevices.{name}"
            try:
                self._move(field, name, entry.get("name") or name)
            except OSError as error:
                text = f"{field}: {error.strerror or error}"
                raise RuntimeFailure("error", "netDevices", text, error.errno or 0) from error

    def _move(self, field: str, name: str, new: str) -> None:
        index = links.names(self._here).get(name)
        if index is None:
            raise RuntimeFailure("error", "netDevices", f"{field}: there is no such device")
        before = links.names(self._there)
        if new in before:
            text = f"{field}: the container has a device {new} already"
            raise RuntimeFailure("error", "netDevices", text)
        link = links.describe(self._here, index, name)
        self._here.ask(links.move(index, new, self._fd))
        # A number that is taken there is changed, and so is a name with a pattern in it.
        (index,) = set(links.names(self._there).values()) - set(before.values())
        self._moved.append((index, link))
        self._there.ask(*links.restore(index, link, up=True))

    def give_back(self) -> None:
        """Move back what was moved, as it was."""
        own = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            while self._moved:
                index, link = self._moved.pop()
                self._there.ask(links.move(index, link.name, own))
                index = links.names(self._here)[link.name]
                self._here.ask(*links.restore(index, link, up=link.up))
        finally:
            os.close(own)

    def close(self) -> None:
        """Let go of the namespace."""
        self._here.close()
        self._there.close()
        os.close(self._fd)
