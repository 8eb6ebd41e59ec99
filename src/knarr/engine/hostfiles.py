"""The files that every container gets of its own: /etc/hosts, /etc/hostname, /etc/resolv.conf."""

from __future__ import annotations

import os
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
_NO_RESOLVER = "# This container has no network.\n"


def hostname(config: ContainerConfig, container_id: str) -> str:
    """Return the name the container sees itself under."""
    if config.hostname:
        return config.hostname
    return os.uname().nodename if "host" in (config.network, config.uts) else container_id[:12]


def contents(config: ContainerConfig, container_id: str) -> dict[str, str]:
    """Return file name -> text. With the host's network they begin as the host's own."""
    name = hostname(config, container_id)
    if config.network == "host":
        hosts, resolver = _read("/etc/hosts", _LOCAL_HOSTS), _read("/etc/resolv.conf", "")
    else:
        hosts, resolver = _LOCAL_HOSTS, _NO_RESOLVER
    if config.dns or config.dns_search or config.dns_options:
        resolver = _resolver(config, resolver)
    full = f"{name}.{config.domainname}" if config.domainname else name
    return {
        "hosts": hosts + _extra_hosts(config),
        "hostname": full + "\n",
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


def _resolver(config: ContainerConfig, base: str) -> str:
    """Return a resolv.conf(5) whose servers, domains or options are those asked for.

    What is not asked for is that of ``base``; the domain ``.`` alone means none.
    """
    found: dict[str, list[str]] = {"nameserver": [], "search": [], "options": []}
    for line in base.splitlines():
        words = line.split()
        if not words or words[0][0] in "#;":
            continue
        key = "search" if words[0] == "domain" else words[0]
        if key == "search":
            found[key] = words[1:]  # the last one counts
        elif key in found:
            found[key] += words[1:]
    servers = list(config.dns) or found["nameserver"]
    domains = list(config.dns_search) or found["search"]
    options = list(config.dns_options) or found["options"]
    lines = [f"nameserver {server}" for server in servers]
    if domains and domains != ["."]:
        lines.append("search " + " ".join(domains))
    if options:
        lines.append("options " + " ".join(options))
    return "\n".join(lines) + "\n"


def write(directory: str, config: ContainerConfig, container_id: str) -> None:
    """Write the files into ``directory``, readable by every user. Raises OSError."""
    for name, text in contents(config, container_id).items():
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        handle = os.open(f"{directory}/{name}", flags, 0o644)
        try:
            os.fchmod(handle, 0o644)  # whatever the umask is
            write_all(handle, text.encode("utf-8", "surrogateescape"))
        finally:
            os.close(handle)


def _read(path: str, default: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return file.read()
    except OSError:
        return default  # a host without that file
