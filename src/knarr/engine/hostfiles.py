"""The files that every container gets of its own: /etc/hosts, /etc/hostname, /etc/resolv.conf."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from knarr.errors import InvalidArgument
from knarr.kernel.files import write_all

if TYPE_CHECKING:
    from knarr.engine.model import ContainerConfig

_LOCAL_HOSTS = """\
127.0.0.1\tlocalhost
::1\tlocalhost ip6-localhost ip6-loopback
fe00::\tip6-localnet
ff00::\tip6-mcastprefix
ff02::1\tip6-allnodes
ff02::2\tip6-allrouters
"""
HOST_GATEWAY = "host-gateway"
_LOOPBACK = "127.0.0.1"
_LARGEST = 1 << 20  # bytes of such a file, which the container may write to
_NO_RESOLVER = "# This container has no network.\n"


def hostname(config: ContainerConfig, container_id: str) -> str:
    """Return the name the container sees itself under."""
    if config.hostname:
        return config.hostname
    return os.uname().nodename if "host" in (config.network, config.uts) else container_id[:12]


def contents(config: ContainerConfig, container_id: str) -> dict[str, str]:
    """Return file name -> text. With the host's network they begin as the host's own."""
    if config.network == "host":
        hosts, resolver = _read("/etc/hosts", _LOCAL_HOSTS), _read("/etc/resolv.conf", "")
    else:
        hosts, resolver = _LOCAL_HOSTS, _NO_RESOLVER
    if config.dns or config.dns_search or config.dns_options:
        from knarr.engine import resolvconf

        resolver = resolvconf.plain(resolvconf.asked(resolvconf.parse(resolver), config))
    return {
        "hosts": hosts + _extra_hosts(config),
        "hostname": _full_name(config, container_id) + "\n",
        "resolv.conf": resolver,
    }


def check(config: ContainerConfig) -> None:
    """Raise InvalidArgument for a host name without a usable address."""
    for entry in config.extra_hosts:
        name, colon, address = entry.partition(":")
        if not colon or not name:
            raise InvalidArgument(f"bad format for add-host: {entry!r}")
        if address == HOST_GATEWAY and config.network != "host":
            raise InvalidArgument("unable to derive the IP value for host-gateway")


def _extra_hosts(config: ContainerConfig) -> str:
    """Return the lines of ``--add-host``; the host, for who shares its network, is the loopback."""
    pairs = (entry.partition(":")[::2] for entry in config.extra_hosts)
    return "".join(
        f"{_LOOPBACK if address == HOST_GATEWAY else address}\t{name}\n" for name, address in pairs
    )


def addressed(config: ContainerConfig, container_id: str, addresses: Sequence[str]) -> str:
    """Return /etc/hosts of a container that has addresses, without prefix lengths, of its own."""
    own = "".join(host_lines(config, container_id, addresses))
    return _LOCAL_HOSTS + _extra_hosts(config) + own


def host_lines(config: ContainerConfig, container_id: str, addresses: Sequence[str]) -> list[str]:
    """Return the lines of /etc/hosts about a container's own addresses.

    As Docker has it: each goes by the full host name and by what is before its first dot.
    """
    name = _full_name(config, container_id)
    short, dot, _ = name.partition(".")
    names = f"{name} {short}" if dot else name
    return [f"{address}\t{names}\n" for address in addresses]


def _full_name(config: ContainerConfig, container_id: str) -> str:
    name = hostname(config, container_id)
    return f"{name}.{config.domainname}" if config.domainname else name


def write(directory: str, config: ContainerConfig, container_id: str) -> None:
    """Write the files into ``directory``, readable by every user. Raises OSError."""
    replace(directory, contents(config, container_id))


def replace(directory: str, texts: Mapping[str, str]) -> None:
    """Put files, readable by every user, in the place of those that may be there. Raises OSError.

    For a container that does not run: one that does sees the old ones.
    """
    for name, text in texts.items():
        fresh = f"{directory}/.{name}.new"
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        handle = os.open(fresh, flags, 0o644)
        try:
            os.fchmod(handle, 0o644)  # whatever the umask is
            write_all(handle, text.encode("utf-8", "surrogateescape"))
        finally:
            os.close(handle)
        os.rename(fresh, f"{directory}/{name}")


def change(path: str, changed: Callable[[str], str]) -> None:
    """Change a file in place, since a container that runs sees no other. Raises OSError."""
    flags = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC
    with open(os.open(path, flags), "r+b") as file:
        before = file.read(_LARGEST).decode("utf-8", "surrogateescape")
        after = changed(before)
        if after != before:
            file.seek(0)
            file.write(after.encode("utf-8", "surrogateescape"))
            file.truncate()


def _read(path: str, default: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return file.read()
    except OSError:
        return default  # a host without that file
