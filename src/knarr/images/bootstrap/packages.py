"""What a Debian image was made of, told by labels so that a difference can be explained.

Two images with one digest of packages differ for another reason; with two, ``dpkg-query -W`` in
each shows which packages differ.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping

_STATUS = "var/lib/dpkg/status"
_DEBIAN = "etc/debian_version"
_RELEASE = "usr/lib/os-release"
FILES = (_STATUS, _DEBIAN, _RELEASE)
_SHOWN = (b"Package", b"Version", b"Architecture")
VERSION = "org.opencontainers.image.version"
PACKAGES = "knarr.bootstrap.packages"
COUNT = "knarr.bootstrap.package-count"
SUITES = "knarr.bootstrap.suites"


def labels(files: Mapping[str, bytes], suites: Iterable[str]) -> dict[str, str]:
    r"""Return the labels for an image with these files (those of ``FILES``).

    The digest of packages is the sha256 of what this prints in a container of it::

        dpkg-query -W -f '${Package} ${Version} ${Architecture}\n' | LC_ALL=C sort
    """
    lines = sorted(installed(files.get(_STATUS, b"")))
    return {
        PACKAGES: f"sha256:{hashlib.sha256(b''.join(lines)).hexdigest()}",
        COUNT: str(len(lines)),
        SUITES: " ".join(suites),
        VERSION: version(files),
    }


def installed(status: bytes) -> Iterator[bytes]:
    """Yield a line, ``name version architecture``, for each package of dpkg's status file."""
    for stanza in status.split(b"\n\n"):
        fields = dict(
            line.split(b": ", 1)
            for line in stanza.splitlines()
            if b": " in line and not line.startswith((b" ", b"\t"))
        )
        if fields.get(b"Status", b"").endswith(b" installed"):
            yield b" ".join(fields.get(key, b"") for key in _SHOWN) + b"\n"


def version(files: Mapping[str, bytes]) -> str:
    """Return the release: ``12.15`` of a Debian, ``24.04`` of an Ubuntu, empty if it says none."""
    release = dict(
        line.partition("=")[::2]
        for line in files.get(_RELEASE, b"").decode("utf-8", "replace").splitlines()
    )
    if release.get("ID") == "debian":
        return files.get(_DEBIAN, b"").decode("utf-8", "replace").strip()
    return release.get("VERSION_ID", "").strip('"')
