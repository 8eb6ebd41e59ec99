"""``VERSION-COMMIT``, as in ``1.4.2-a1b2c3d``, and ``-dirty`` where files were changed."""

from __future__ import annotations

import os
import re

from knarr.errors import InvalidArgument
from knarr.images.autotag import git, version

# Always as many digits, so that every clone of a repository gives the same name.
_COMMIT = 7
_LONGEST = 128
_FORBIDDEN = re.compile(r"[^A-Za-z0-9_.-]+")
# A tree that states no version and has no tag of one.
_UNKNOWN = "0.0.0"


def tag_for(folder: str) -> str:
    """Return the tag for an image that was made of the source tree at ``folder``.

    The version is that of the project's file, in ``folder`` or nearest above it, else the
    nearest git tag that is one, else 0.0.0. Raises NotFound without a commit, InvalidArgument
    for a file that is broken, Unsupported without git, Timeout.
    """
    place = os.path.abspath(folder)
    if not os.path.isdir(place):
        raise InvalidArgument(f"{folder}: not a directory")
    tree = git.checkout(place)
    stated = version.of_project(place, tree.top)
    text = stated[0] if stated else git.version_tag(place) or _UNKNOWN
    ending = f"-{tree.commit[:_COMMIT]}{'-dirty' if tree.dirty else ''}"
    plain = _as_tag(text)
    if not plain:
        raise InvalidArgument(f"{stated[1] if stated else place}: the version {text!r} is no tag")
    return plain[: _LONGEST - len(ending)] + ending


def _as_tag(text: str) -> str:
    """Return a version in the letters of a tag: ``1.0+local`` as ``1.0_local``, ``v1`` as ``1``."""
    bare = text[1:] if re.match(r"[vV][0-9]", text) else text
    return _FORBIDDEN.sub("-", bare.replace("+", "_")).lstrip(".-")
