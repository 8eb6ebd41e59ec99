"""The names that ``knarr bootstrap`` knows and what each is made from."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from knarr.errors import InvalidArgument
from knarr.images.reference import Reference


class Recipe(NamedTuple):
    """What to make: ``kind`` is busybox, debian or ubuntu; slim leaves documentation out.

    include: packages beside those that every image has.
    """

    kind: str
    suite: str = ""
    slim: bool = False
    include: tuple[str, ...] = ()


_DEBIAN = {
    "latest": "stable",
    "stable": "stable",
    "testing": "testing",
    "sid": "sid",
    "unstable": "sid",
    "11": "bullseye",
    "bullseye": "bullseye",
    "12": "bookworm",
    "bookworm": "bookworm",
    "13": "trixie",
    "trixie": "trixie",
    "14": "forky",
    "forky": "forky",
}
_UBUNTU = {
    "latest": "noble",
    "22.04": "jammy",
    "jammy": "jammy",
    "24.04": "noble",
    "noble": "noble",
}
# Debian policy, "Package"; apt-get(8) takes an architecture, and a version or suite behind it.
_PACKAGE = re.compile(r"[a-z0-9][a-z0-9+.-]+(:[a-z0-9-]+)?([=/][A-Za-z0-9.+:~-]+)?")
_BUSYBOX_TAGS = frozenset({"latest", "stable", "glibc"})


def recipe(name: str) -> Recipe:
    """Return how to make the image called ``name``.

    Raises InvalidArgument naming those that can be made.
    """
    reference = Reference.parse(name)
    tag = reference.tag or ""
    if reference.digest is None:
        if reference.familiar_name == "busybox" and tag in _BUSYBOX_TAGS:
            return Recipe("busybox")
        bare = tag.removesuffix("-slim")
        if reference.familiar_name == "debian" and bare in _DEBIAN:
            return Recipe("debian", _DEBIAN[bare], slim=tag != bare)
        if reference.familiar_name == "ubuntu" and tag in _UBUNTU:
            return Recipe("ubuntu", _UBUNTU[tag])
    raise InvalidArgument(
        f"cannot bootstrap {reference.familiar()}: there are busybox,"
        f" debian ({', '.join(sorted(_DEBIAN))}, each also with -slim)"
        f" and ubuntu ({', '.join(sorted(_UBUNTU))})"
    )


def known() -> list[str]:
    """Return the names of all images that there are recipes for, sorted."""
    found = [f"busybox:{tag}" for tag in _BUSYBOX_TAGS]
    found += [f"debian:{tag}{end}" for tag in _DEBIAN for end in ("", "-slim")]
    return sorted([*found, *(f"ubuntu:{tag}" for tag in _UBUNTU)])


def with_packages(chosen: Recipe, packages: Iterable[str]) -> Recipe:
    """Return the recipe with more packages, named as for apt-get. Raises InvalidArgument."""
    wanted = tuple(sorted(set(packages)))
    for name in wanted:
        if not _PACKAGE.fullmatch(name):
            raise InvalidArgument(f"invalid package name {name!r}")
    if wanted and chosen.kind == "busybox":
        raise InvalidArgument("busybox is one program, without packages: include none")
    return chosen._replace(include=wanted)


def is_known(name: str) -> bool:
    """Return whether ``bootstrap`` can make an image of this name."""
    try:
        recipe(name)
    except InvalidArgument:
        return False
    return True
