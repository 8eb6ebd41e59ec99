"""The lock file: names of images and the digests they are pinned to, one a line.

    version = 1

    [images]
    "docker.io/library/debian:bookworm" = "sha256:…"

TOML, names in full and sorted, so the same images always give the same bytes and a change of one
is a change of one line. The digest is that of the index where an image has several platforms, so
a lock file serves all of them.
"""

from __future__ import annotations

import contextlib
import tomllib
from collections.abc import Mapping
from dataclasses import replace

from knarr.content import digest as digests
from knarr.content import durable
from knarr.errors import InvalidArgument, NotFound
from knarr.images.reference import Reference

NAME = "knarr.lock"
VERSION = 1
_LIMIT = 4 * 1024 * 1024
_HEAD = """\
# Written by `knarr lock`: the digest that each name of an image is pinned to.
# `knarr lock --check` tells what has moved in the registries, `--update` moves it here.
version = 1

[images]
"""


def render(images: Mapping[str, str]) -> str:
    """Return the text of a lock file; images: digests by names in full (``str(Reference)``)."""
    return _HEAD + "".join(f'"{name}" = "{images[name]}"\n' for name in sorted(images))


def read(path: str) -> dict[str, str]:
    """Return digests by names in full. Raises NotFound, InvalidArgument for what is none."""
    try:
        with open(path, "rb") as file:
            data = file.read(_LIMIT + 1)
    except (FileNotFoundError, NotADirectoryError):
        raise NotFound(f"no lock file {path}: write it with `knarr lock IMAGE...`") from None
    except OSError as error:
        raise InvalidArgument(f"lock file {path}: {error.strerror}") from None
    if len(data) > _LIMIT:
        raise InvalidArgument(f"lock file {path}: larger than {_LIMIT} bytes")
    try:
        document = tomllib.loads(data.decode())
    except (ValueError, RecursionError) as error:
        raise InvalidArgument(f"lock file {path}: {error}") from None
    if document.get("version") != VERSION:
        raise InvalidArgument(
            f"lock file {path}: version {document.get('version')!r} is not known, only {VERSION}"
        )
    images = document.get("images", {})
    if not isinstance(images, dict):
        raise InvalidArgument(f"lock file {path}: images is no table")
    return {_name(path, name): _digest(path, name, digest) for name, digest in images.items()}


def write(path: str, images: Mapping[str, str]) -> None:
    """Write a lock file, whole or not at all, unless it already says so. Raises OSError.

    A link in its place is replaced and not followed: it came with a checkout, perhaps, and whoever
    runs this may write more files than its author.
    """
    data = render(images).encode()
    with contextlib.suppress(FileNotFoundError), open(path, "rb") as file:
        if file.read(len(data) + 1) == data:
            return
    durable.replace(path, data)


def pinned(path: str, name: str) -> str:
    """Return ``name`` as the lock file at ``path`` pins it: ``debian:bookworm@sha256:…``.

    A full id and a name with a digest already are fixed. Raises NotFound for a name that the
    lock file does not have, InvalidArgument.
    """
    images = read(path)
    bare = name.removeprefix("sha256:")
    if len(bare) == 64 and digests.is_valid(f"sha256:{bare}"):
        return name
    reference = Reference.parse(name)
    if reference.digest is not None:
        return name
    digest = images.get(str(reference))
    if digest is None:
        raise NotFound(
            f"{reference.familiar()} is not in the lock file {path}:"
            f" add it with `knarr lock --lock-file {path} {reference.familiar()}`"
        )
    return replace(reference, digest=digest).familiar()


def _name(path: str, name: str) -> str:
    try:
        reference = Reference.parse(name)
    except InvalidArgument as error:
        raise InvalidArgument(f"lock file {path}: {error}") from None
    if reference.digest is not None:
        raise InvalidArgument(f"lock file {path}: the name {name!r} has a digest")
    return str(reference)


def _digest(path: str, name: str, digest: object) -> str:
    if not isinstance(digest, str) or not digests.is_valid(digest):
        raise InvalidArgument(f"lock file {path}: {name}: {digest!r} is no digest")
    return digest
