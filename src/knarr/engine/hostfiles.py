"""The files that every container gets of its own: /etc/hosts, /etc/hostname, /etc/resolv.conf."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

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
_NO_RESOLVER = "# This container has no network.\n"


def hostname(config: ContainerConfig, container_id: str) -> str:
    """Return the name the container sees itself under."""
    if config.hostname:
        return config.hostname
    return os.uname().nodename if config.network == "host" else container_id[:12]


def contents(config: ContainerConfig, container_id: str) -> dict[str, str]:
    """Return file name -> text. With the host's network they are the host's own."""
    name = hostname(config, container_id)
    if config.network == "host":
        hosts, resolver = _read("/etc/hosts", _LOCAL_HOSTS), _read("/etc/resolv.conf", "")
    else:
        hosts, resolver = _LOCAL_HOSTS, _NO_RESOLVER
    full = f"{name}.{config.domainname}" if config.domainname else name
    return {"hosts": hosts, "hostname": full + "\n", "resolv.conf": resolver}


def write(directory: str, config: ContainerConfig, container_id: str) -> None:
    """Write the files into ``directory``, readable by every user. Raises OSError."""
    for name, text in contents(config, container_id).items():
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        handle = os.open(f"{directory}/{name}", flags, 0o644)
        try:
            os.fchmod(handle, 0o644)  # whatever the umask is
            os.write(handle, text.encode("utf-8", "surrogateescape"))
        finally:
            os.close(handle)


def _read(path: str, default: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return file.read()
    except OSError:
        return default  # a host without that file
