"""A container's interfaces: made between its clone and its gate, out of what the engine planned.

The process that does this is the maker, or one like it: it enters the container's network
namespace for the inner half, and no process of the container takes part.
"""

import errno
import os

from knarr.kernel import links
from knarr.kernel.namespaces import CLONE_NEWNET, setns
from knarr.kernel.netlink import Netlink, NetlinkError
from knarr.kernel.process import start_time
from knarr.runtime.errors import RuntimeFailure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Self

    Attachment = dict[str, Any]

# How long an interface that was set up may take until it can send (s).
_PATIENCE = 2.0
# And a bridge with its first port: one that is not ours may have a spanning tree, and take longer.
_BRIDGE_PATIENCE = 0.2
_BITS = 8
_LOOPBACK = 1  # number of lo in every network namespace


class Inside:
    """Be in the network namespace of a process while the block runs.

    began: when the process began, where another may have its number by now: ProcessLookupError.
    Raises OSError.
    """

    __slots__ = ("_before", "_there")

    def __init__(self, pid: int, began: int = 0) -> None:
        self._before = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            self._there = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            os.close(self._before)
            raise
        # Looked at afterwards: what was opened is then that process's own.
        if began and start_time(pid) != began:
            self.close()
            raise ProcessLookupError(errno.ESRCH, "the container has ended")

    def fileno(self) -> int:
        """Return the descriptor of that namespace."""
        return self._there

    def close(self) -> None:
        """Let go of both namespaces."""
        os.close(self._before)
        os.close(self._there)

    def __enter__(self) -> "Self":
        setns(self._there, CLONE_NEWNET)
        return self

    def __exit__(self, *_: object) -> None:
        setns(self._before, CLONE_NEWNET)


def attach(
    pid: int,
    attachments: "list[Attachment]",
    before: "Callable[[str, Any], None]",
    began: int = 0,
) -> None:
    """Give a process's network namespace the interfaces of ``attachments``, in their order.

    began: as of :class:`Inside`. before: records an act that is about to be done (``Undo.add``).
    Raises RuntimeFailure, OSError: what was made is taken back by those records.
    """
    namespace = Inside(pid, began)
    try:
        with Netlink() as host:
            ends, bridges, dark = _make_all(host, attachments, namespace.fileno(), before)
            with namespace, Netlink(groups=(links.GROUP_LINK,)) as sock:
                # The container's process does so, too, but the resolver's sockets come first.
                sock.ask(links.set_up(_LOOPBACK))
                made = set()
                for each in attachments:
                    index = _set_up(sock, each)
                    if each["name"] not in dark:
                        made.add(index)
                if not links.await_running(sock, made, _PATIENCE):
                    raise OSError(errno.ENETDOWN, "the container's interfaces do not come up")
            # Mostly they do at the same time, so that asking is all.
            if not _come_up(host, ends, _PATIENCE):
                raise OSError(errno.ENETDOWN, "the host's ends of the interfaces do not come up")
            _come_up(host, bridges, _BRIDGE_PATIENCE)
    finally:
        namespace.close()


def _make_all(
    sock: Netlink,
    attachments: "list[Attachment]",
    netns_fd: int,
    before: "Callable[[str, Any], None]",
) -> "tuple[set[int], set[int], set[str]]":
    """Make all interfaces; return the numbers of outer ends and of their bridges.

    And the names of those that will have no carrier, since the host's interface has none.
    """
    ends, bridges, dark = set(), set(), set()
    for each in attachments:
        if "left" in each:  # what is told when it is over
            before("event", each["left"])
        if "parent" in each:  # it goes with the namespace
            if not _make_beside(sock, each, netns_fd):
                dark.add(each["name"])
            continue
        before("link", each["host_if"])
        bridge = _of_host(each, "bridge", "bridge")
        bridges.add(bridge)
        ends.add(_make(sock, each, netns_fd, bridge))
    return ends, bridges, dark


def _come_up(sock: Netlink, indexes: "set[int]", seconds: float) -> bool:
    """Wait until interfaces of this namespace can send; return whether they can."""
    late = {index for index in indexes if not links.is_running(sock, index)}
    if not late:
        return True
    with Netlink(groups=(links.GROUP_LINK,)) as watch:
        return links.await_running(watch, late, seconds)


def _of_host(wanted: "Attachment", key: str, what: str) -> int:
    """Return the number of the host's interface that the network is on."""
    try:
        return links.index_of(wanted[key])
    except OSError as error:
        text = f"{what} {wanted[key]} of network {wanted['network']} is gone"
        raise RuntimeFailure("error", "network", text, errno.ENODEV) from error


def _make(sock: Netlink, wanted: "Attachment", netns_fd: int, bridge: int) -> int:
    """Make the pair, with its outer end a port of the bridge; return that end's number."""
    name, marked = wanted["host_if"], wanted.get("mark")
    pair = links.new_veth(
        name, wanted["name"], netns_fd=netns_fd, address=wanted["mac"],
        mtu=wanted.get("mtu") or 0, master=0 if marked else bridge,
    )  # fmt: skip
    try:
        sock.ask(pair)
    except NetlinkError as error:
        if error.errno != errno.EEXIST:
            raise
        # Of this container's last run, whose end is still being worked off.
        detach(name)
        sock.ask(pair)
    index = links.index_of(name)
    more = []
    if marked:
        from knarr.runtime import egress

        # before anything of it gets further than that end
        egress.fence(sock, index, bridge, marked, wanted["addresses"], wanted["sources"])
        more.append(links.set_master(index, bridge))
    if wanted.get("isolated") or wanted.get("hairpin"):
        more.append(
            links.set_port(
                index, isolated=bool(wanted["isolated"]), hairpin=bool(wanted["hairpin"])
            )
        )
    if wanted.get("rate_in"):
        more.append(_bucket(index, wanted, "rate_in"))
    if more:
        sock.ask(*more)
    return index


def _make_beside(sock: Netlink, wanted: "Attachment", netns_fd: int) -> bool:
    """Make an interface beside one of the host's; return whether that has a carrier."""
    parent, mtu = _of_host(wanted, "parent", "interface"), wanted.get("mtu") or 0
    name, kind, mode = wanted["name"], wanted["driver"], wanted["mode"]
    if kind == "ipvlan":
        made = links.new_ipvlan(
            name, parent, mode=mode, flag=wanted["flag"], netns_fd=netns_fd, mtu=mtu
        )
    else:
        made = links.new_macvlan(
            name, parent, mode=mode, netns_fd=netns_fd, address=wanted["mac"], mtu=mtu
        )
    try:
        sock.ask(made)
    except NetlinkError as error:
        text = f"no {kind} interface beside {wanted['parent']}: {error.strerror}"
        if error.errno == errno.EOPNOTSUPP:
            text += f": this kernel has no {kind}"
        elif error.errno == errno.EBUSY:
            text += ": what it has beside it already is of another kind, or it is a bridge's port"
        raise RuntimeFailure("error", "network", text, error.errno or 0) from error
    return links.is_running(sock, parent)


def _bucket(index: int, wanted: "Attachment", name: str) -> bytearray:
    mtu = (wanted.get("mtu") or 1500) + 14  # what an Ethernet frame has beside its payload
    return links.new_bucket(index, max(wanted[name] // _BITS, 1), mtu=mtu)


def _set_up(sock: Netlink, wanted: "Attachment") -> int:
    """Configure the inner end, from inside; return its number."""
    name = wanted["name"]
    index = links.index_of(name)
    addresses = [each.rpartition("/") for each in wanted["addresses"]]
    if not any(":" in address for address, _, _ in addresses):
        _sysctl(f"ipv6/conf/{name}/disable_ipv6", "1")
    else:
        _sysctl(f"ipv6/conf/{name}/accept_ra", "0")
    batch = [links.new_address(index, address, int(prefix)) for address, _, prefix in addresses]
    batch.append(links.set_up(index))
    batch += [links.new_route(index, gateway) for gateway in wanted["gateways"]]
    if wanted.get("rate_out"):
        batch.append(_bucket(index, wanted, "rate_out"))
    sock.ask(*batch)
    return index


def _sysctl(name: str, value: str) -> None:
    """Set something of the network namespace that we are in, where the kernel has it."""
    try:
        fd = os.open(f"/proc/sys/net/{name}", os.O_WRONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return  # no IPv6 in this kernel
    try:
        os.write(fd, value.encode())
    finally:
        os.close(fd)


def detach(host_if: str) -> None:
    """Remove the outer end of a pair, and so the inner one; nothing when it is gone already."""
    with Netlink() as sock:
        try:
            sock.ask(links.delete_link(host_if))
        except NetlinkError as error:
            if error.errno != errno.ENODEV:
                raise
