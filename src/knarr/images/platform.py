"""Platforms: which of an index's images this machine, or ``--platform``, wants.

Names are those of GOOS and GOARCH, as in the OCI image spec ("Platform
Variants" of ``image-index.md``); spellings of other worlds are normalised.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import Any

from knarr.errors import InvalidArchive, InvalidArgument
from knarr.images import documents

_ARCHITECTURES = {
    "x86_64": ("amd64", ""),
    "x86-64": ("amd64", ""),
    "aarch64": ("arm64", "v8"),
    "armhf": ("arm", "v7"),
    "armel": ("arm", "v6"),
    "armv5l": ("arm", "v5"),
    "armv6l": ("arm", "v6"),
    "armv7l": ("arm", "v7"),
    "armv8l": ("arm", "v7"),
    "i386": ("386", ""),
    "i486": ("386", ""),
    "i586": ("386", ""),
    "i686": ("386", ""),
    "loongarch64": ("loong64", ""),
}
_DEFAULT_VARIANT = {
    ("arm64", ""): "v8",
    ("arm", ""): "v7",
    ("amd64", "v1"): "",
    ("arm64", "8"): "v8",
}
_COMPONENT = re.compile(r"[A-Za-z0-9_.-]+")
_VARIANT = re.compile(r"v(\d+)")
UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Platform:
    """Operating system, architecture and what narrows them down."""

    os: str
    architecture: str
    variant: str = ""
    os_version: str = ""
    os_features: tuple[str, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Platform:
        """Return the platform that ``os/arch[/variant]``, ``os`` or ``arch`` names.

        What is left out is this machine's. Raises InvalidArgument when it is malformed.
        """
        parts = text.strip().split("/")
        if len(parts) > 3 or not all(_COMPONENT.fullmatch(part) for part in parts):
            raise InvalidArgument(f"invalid platform {text!r}: use OS/ARCH or OS/ARCH/VARIANT")
        parts = [part.lower() for part in parts]
        if len(parts) == 1:
            only = parts[0]
            if only in ("linux", "windows", "darwin", "freebsd"):
                return cls(only, host().architecture, host().variant)
            return cls("linux", only).normalised()
        return cls(parts[0], parts[1], parts[2] if len(parts) > 2 else "").normalised()

    @classmethod
    def from_dict(cls, value: Any, what: str = "platform") -> Platform:
        """Return the platform of a descriptor. Raises InvalidArchive for a malformed field."""
        if not isinstance(value, dict):
            raise InvalidArchive(f"{what}: platform is not an object")
        keys = ("os", "architecture", "variant", "os.version")
        system, architecture, variant, version = (documents.text(value, k, what) for k in keys)
        for word in (system, architecture, variant, version):
            if word and not _COMPONENT.fullmatch(word):
                raise InvalidArchive(f"{what}: platform has a malformed name")
        features = documents.strings(value, "os.features", what)
        return cls(system, architecture, variant, version, features)

    def to_dict(self) -> dict[str, Any]:
        """Return the platform as the JSON object of the spec, empty fields left out."""
        value: dict[str, Any] = {"architecture": self.architecture, "os": self.os}
        if self.os_version:
            value["os.version"] = self.os_version
        if self.os_features:
            value["os.features"] = list(self.os_features)
        if self.variant:
            value["variant"] = self.variant
        return value

    def normalised(self) -> Platform:
        """Return the platform in GOARCH spelling, with the variant meant when none is given."""
        architecture, implied = _ARCHITECTURES.get(self.architecture, (self.architecture, ""))
        variant = self.variant or implied
        variant = _DEFAULT_VARIANT.get((architecture, variant), variant)
        return Platform(self.os, architecture, variant, self.os_version, self.os_features)

    @property
    def is_unknown(self) -> bool:
        """Whether the entry is no image to run: attestations are marked ``unknown/unknown``."""
        return self.os == UNKNOWN and self.architecture == UNKNOWN

    def __str__(self) -> str:
        """Return ``os/arch[/variant]``; the variant every machine of the kind has is left out."""
        text = f"{self.os}/{self.architecture}"
        if self.variant and (self.architecture, self.variant) != ("arm64", "v8"):
            text += f"/{self.variant}"
        return text


def host() -> Platform:
    """Return the platform of this machine, from uname(2)."""
    return Platform("linux", os.uname().machine).normalised()


def rank(wanted: Platform, offered: Platform) -> int | None:
    """Return how well ``offered`` serves ``wanted``: 0 exactly, higher: older, None: not at all.

    A processor runs what was built for earlier variants of its architecture
    (arm v7 runs v6 and v5; amd64 v3 runs v2 and v1; arm64 v9 runs v8).
    """
    want, have = wanted.normalised(), offered.normalised()
    if (want.os, want.architecture) != (have.os, have.architecture):
        return None
    if want.os_version and have.os_version and want.os_version != have.os_version:
        return None
    if not set(have.os_features) <= set(want.os_features) and want.os_features:
        return None
    if want.variant == have.variant:
        return 0
    want_level, have_level = _level(want), _level(have)
    if want_level is None or have_level is None:
        return 100 if not have.variant else None
    return want_level - have_level if have_level <= want_level else None


def _level(platform: Platform) -> int | None:
    if platform.architecture == "amd64" and not platform.variant:
        return 1
    match = _VARIANT.fullmatch(platform.variant)
    return int(match[1]) if match and len(match[1]) < 4 else None
