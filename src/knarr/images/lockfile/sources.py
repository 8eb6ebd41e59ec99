"""Which images are meant: those named, and those that files name."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping

from knarr.errors import InvalidArgument, NotFound
from knarr.images.lockfile import compose, dockerfile
from knarr.images.reference import Reference

# What is taken where nothing is named, in Docker's order.
COMPOSE_FILES = ("compose.yaml", "compose.yml", "docker-compose.yaml", "docker-compose.yml")
DOCKERFILE = "Dockerfile"
_LIMIT = 4 * 1024 * 1024


def usual_files(folder: str) -> list[str]:
    """Return the Dockerfile and the Compose file of a directory, those that are there."""
    found = [name for name in (DOCKERFILE,) if os.path.isfile(os.path.join(folder, name))]
    here = [name for name in COMPOSE_FILES if os.path.isfile(os.path.join(folder, name))]
    return [*found, *here[:1]]


def references(
    names: Iterable[str],
    files: Iterable[str],
    arguments: Mapping[str, str],
    environ: Mapping[str, str],
) -> list[Reference]:
    """Return what is named on a command line and in files, in full and each once.

    A file that ends in .yaml or .yml is a Compose file, any other a Dockerfile. What has a
    digest is pinned already and left out. arguments: of ``--build-arg``; environ: for Compose.
    Raises NotFound, InvalidArgument that name file and place.
    """
    found = [Reference.parse(name) for name in names]
    for path in files:
        found += of_file(path, arguments, environ)
    return list(dict.fromkeys(each for each in found if each.digest is None))


def of_file(path: str, arguments: Mapping[str, str], environ: Mapping[str, str]) -> list[Reference]:
    """Return the images that a Dockerfile or Compose file names; errors as ``references``."""
    text = _read(path)
    try:
        if path.endswith((".yaml", ".yml")):
            values = compose.environment(os.path.dirname(path) or ".", environ)
            names = compose.images(text, values)
        else:
            names = dockerfile.images(text, arguments)
        return [Reference.parse(name) for name in names]
    except InvalidArgument as error:
        raise InvalidArgument(f"{path}: {error}") from None


def _read(path: str) -> str:
    try:
        with open(path, "rb") as file:
            data = file.read(_LIMIT + 1)
    except FileNotFoundError:
        raise NotFound(f"no file {path}") from None
    except OSError as error:
        raise InvalidArgument(f"{path}: {error.strerror}") from None
    if len(data) > _LIMIT:
        raise InvalidArgument(f"{path}: larger than {_LIMIT} bytes")
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise InvalidArgument(f"{path}: no text in UTF-8") from None
