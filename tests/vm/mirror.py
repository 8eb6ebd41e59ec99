"""Where Debian packages come from: the machine's own apt sources."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

SUITES = frozenset(
    name + pocket
    for name in ("bullseye", "bookworm", "trixie", "forky", "sid", "stable", "testing", "unstable")
    for pocket in ("", "-backports", "-updates")
)


class MachineError(Exception):
    """No virtual machine can be had here; says why. Not a failure of what is tested."""


def deb822(text: str) -> Iterator[tuple[str, str, list[str]]]:
    """Yield (uri, suite, components) of the ``deb`` stanzas of a .sources file."""
    for stanza in text.split("\n\n"):
        fields: dict[str, list[str]] = {}
        for line in stanza.splitlines():
            key, colon, value = line.partition(":")
            if colon and not line.startswith(("#", " ")):
                fields[key.lower()] = value.split()
        if "deb" in fields.get("types", ()):
            for uri in fields.get("uris", ()):
                for suite in fields.get("suites", ()):
                    yield uri, suite, fields.get("components", [])


def one_line(text: str) -> Iterator[tuple[str, str, list[str]]]:
    """Yield (uri, suite, components) of the ``deb`` lines of a sources.list."""
    for line in text.splitlines():
        words = line.split("#", 1)[0].split()
        if words[:1] != ["deb"]:
            continue
        if words[1].startswith("["):  # options may hold spaces: drop up to the bracket's end
            while not words.pop(1).endswith("]"):
                pass
        yield words[1], words[2], words[3:]


def debian_mirror() -> str:
    """Return the URI of a Debian archive: $KNARR_VM_MIRROR, else from apt's sources.

    Raises MachineError when this machine's sources name none (Ubuntu).
    """
    chosen = os.environ.get("KNARR_VM_MIRROR")
    if chosen:
        return chosen
    apt = Path("/etc/apt")
    files = [apt / "sources.list", *sorted((apt / "sources.list.d").glob("*"))]
    for file in files:
        parse = {".sources": deb822, ".list": one_line}.get(file.suffix)
        if parse is None or not file.is_file():
            continue
        for uri, suite, components in parse(file.read_text(encoding="utf-8")):
            if suite in SUITES and "main" in components and "security" not in uri:
                return uri
    raise MachineError("no Debian mirror in this machine's apt sources: set KNARR_VM_MIRROR")
