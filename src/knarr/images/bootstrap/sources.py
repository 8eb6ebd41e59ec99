"""Where this machine gets its packages: apt's sources, read for a mirror and its keys.

Both notations of sources.list(5) are read: one-line and deb822.
"""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from knarr.errors import InvalidArgument, Unsupported

_ONE_LINE = re.compile(r"deb\s+(?:\[([^\]]*)\]\s+)?(\S+)\s+(\S+)\s*(.*)")
_KEYRINGS = {
    "debian": "/usr/share/keyrings/debian-archive-keyring.gpg",
    "ubuntu": "/usr/share/keyrings/ubuntu-archive-keyring.gpg",
}
_KEYRING_PACKAGES = {"debian": "debian-archive-keyring", "ubuntu": "ubuntu-keyring"}
_ADDRESS = re.compile(r"(https?|file|copy)://?[^\s\[\]]+")
# Debian suites with neither updates nor a security archive of their own.
_ROLLING = frozenset({"sid", "unstable", "experimental"})
# Mirrors with every state they ever had, by the moment (snapshot.debian.org and its like).
_SNAPSHOT = re.compile(r"(.*/archive/(?:debian|debian-security|debian-ports)/)(\d{8}T\d{6}Z)(/?)")
_MOMENT = re.compile(r"\d{8}T\d{6}Z")
# The public mirrors of a distribution are one archive under many names.
_PUBLIC = (
    (re.compile(r"https?://(?:deb|httpredir|security|snapshot|cdn-fastly|(?:ftp|http)\.[a-z]{2}|ftp)"
                r"\.debian\.org/(?:archive/)?(debian(?:-security)?)(?:/\d{8}T\d{6}Z)?"),
     r"http://deb.debian.org/\1"),
    (re.compile(r"https?://(?:[a-z]{2}\.)?(?:archive|security)\.ubuntu\.com/ubuntu"),
     "http://archive.ubuntu.com/ubuntu"),
)  # fmt: skip
_DEFAULTS = {"debian": "http://deb.debian.org/debian", "ubuntu": "http://archive.ubuntu.com/ubuntu"}
_CREDENTIALS = re.compile(r"(?<=://)[^/@]*@")


class Source(NamedTuple):
    """One archive: its address and its suites, and the keyring that signs it."""

    address: str
    suites: tuple[str, ...]
    keyring: str


def read_sources(root: str = "/etc/apt") -> list[Source]:
    """Return the binary-package sources of apt's configuration under ``root``, in its order."""
    found: list[Source] = []
    for path in [
        f"{root}/sources.list",
        *sorted(glob.glob(f"{glob.escape(root)}/sources.list.d/*")),
    ]:
        try:
            with open(path, encoding="utf-8", errors="replace") as file:
                text = file.read()
        except OSError:
            continue  # apt, too, goes on without a file it cannot read
        if path.endswith(".sources"):
            found += _deb822(text)
        elif path.endswith(".list"):
            found += _one_line(text)
    return found


class Archive(NamedTuple):
    """One suite at one address, the keyring that signs it, and the components wanted of it."""

    address: str
    suite: str
    components: str
    keyring: str

    def line(self) -> str:
        """Return the one-line source of sources.list(5)."""
        return f"deb [signed-by={self.keyring}] {self.address} {self.suite} {self.components}"


def archives_for(
    distribution: str, suite: str, mirror: str | None, root: str = "/etc/apt"
) -> list[Archive]:
    """Return where to get a suite of ``debian`` or ``ubuntu``, the suite itself first.

    From ``mirror``, or from this machine's own sources with the suite exchanged. Raises Unsupported
    naming what is missing (a source, a keyring), InvalidArgument for a malformed mirror.
    """
    sources = [source for source in read_sources(root) if _is_of(source, distribution)]
    main, security = _addresses(distribution, mirror, sources)
    keyring = next((source.keyring for source in sources if source.keyring), "")
    keyring = keyring or _KEYRINGS[distribution]
    if not os.path.exists(keyring):
        name = distribution.capitalize()
        raise Unsupported(
            f"packages of {name} cannot be verified: {keyring} is missing,"
            f" which {name}'s package {_KEYRING_PACKAGES[distribution]} has"
        )
    components = "main universe" if distribution == "ubuntu" else "main"
    archives = [Archive(main, suite, components, keyring)]
    if suite in _ROLLING or (mirror is not None and security is None):
        return archives
    archives.append(Archive(main, f"{suite}-updates", components, keyring))
    if security is not None:
        archives.append(Archive(security, f"{suite}-security", components, keyring))
    return archives


def at(archives: Iterable[Archive], moment: str) -> list[Archive]:
    """Return the archives as they were at ``moment``.

    Raises InvalidArgument for what is no moment, Unsupported when an address is no snapshot
    mirror: one has to be configured or named, none is assumed.
    """
    if not _MOMENT.fullmatch(moment):
        raise InvalidArgument(f"invalid snapshot {moment!r}: give a moment like 20260101T000000Z")
    found = []
    for archive in archives:
        match = _SNAPSHOT.fullmatch(archive.address)
        if match is None:
            raise Unsupported(
                f"{_bare(archive.address)} keeps no snapshots: give --mirror"
                " http://snapshot.debian.org/archive/debian/20260101T000000Z, or have apt use one"
            )
        found.append(archive._replace(address=f"{match[1]}{moment}{match[3]}"))
    return found


def is_old(archives: Iterable[Archive]) -> bool:
    """Return whether an archive is a snapshot, whose Release file may have run out long ago."""
    return any(_SNAPSHOT.fullmatch(archive.address) for archive in archives)


def lines_inside(distribution: str, archives: Iterable[Archive]) -> list[str]:
    """Return the sources that an image made from the archives gets itself.

    They do not depend on how this machine names its mirror where that is a public one, know
    no password, no path of this machine, and the keyring where the image has it.
    """
    keyring = _KEYRINGS[distribution]
    return [
        archive._replace(address=_inside(distribution, archive), keyring=keyring).line()
        for archive in archives
    ]


def _inside(distribution: str, archive: Archive) -> str:
    address = _bare(archive.address)
    if not address.startswith("http"):
        security = "-security" if distribution == "debian" and "security" in archive.suite else ""
        return _DEFAULTS[distribution] + security
    for pattern, public in _PUBLIC:
        match = pattern.fullmatch(address)
        if match is not None:
            return match.expand(public)
    return address


def _bare(address: str) -> str:
    return _CREDENTIALS.sub("", address).rstrip("/")


def _addresses(
    distribution: str, mirror: str | None, sources: list[Source]
) -> tuple[str, str | None]:
    if mirror is not None:
        if not _ADDRESS.fullmatch(mirror):
            raise InvalidArgument(f"invalid mirror {mirror!r}: give an http, https or file address")
        # Ubuntu's mirrors have all pockets at one address, Debian's have no security archive.
        return mirror, mirror if distribution == "ubuntu" else None
    main: str | None = None
    security: str | None = None
    for source in sources:
        is_security = any(suite.endswith(("-security", "/updates")) for suite in source.suites)
        is_main = any("-" not in suite and "/" not in suite for suite in source.suites)
        main = main or (source.address if is_main else None)
        security = security or (source.address if is_security else None)
    if main is None:
        raise Unsupported(
            f"this machine has no apt source for {distribution.capitalize()}:"
            f" give --mirror {_DEFAULTS[distribution]}, or add a line to /etc/apt/sources.list.d"
        )
    return main, security


def _is_of(source: Source, distribution: str) -> bool:
    parts = source.address.rstrip("/").split("/")
    names = {distribution, f"{distribution}-security", f"{distribution}-ports"}
    return not names.isdisjoint(parts[2:])


def _one_line(text: str) -> Iterator[Source]:
    for line in text.splitlines():
        match = _ONE_LINE.fullmatch(line.partition("#")[0].strip())
        if match is not None:
            options = dict(
                option.partition("=")[::2] for option in (match[1] or "").split() if "=" in option
            )
            yield Source(match[2], (match[3],), _keyring(options.get("signed-by", "")))


def _deb822(text: str) -> Iterator[Source]:
    for stanza in re.split(r"\n\s*\n", text):
        fields: dict[str, str] = {}
        name = ""
        for line in stanza.splitlines():
            if line.startswith("#"):
                continue
            if line[:1] in " \t" and name:
                fields[name] += f" {line.strip()}"
            elif ":" in line:
                name, _, value = line.partition(":")
                name = name.strip().lower()
                fields[name] = value.strip()
        if "deb" not in fields.get("types", "").split() or fields.get("enabled", "yes") == "no":
            continue
        for address in fields.get("uris", "").split():
            suites = tuple(fields.get("suites", "").split())
            yield Source(address, suites, _keyring(fields.get("signed-by", "")))


def _keyring(value: str) -> str:
    # Keys may also be written out in the file, or named by fingerprint.
    return value if value.startswith("/") and " " not in value and "," not in value else ""
