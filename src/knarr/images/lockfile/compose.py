"""The images that a Compose file names: ``image:`` of each service that is not built.

Variables come from the environment and, where that lacks them, from ``.env`` beside the file, as
with Docker. Files that are included or extended are not followed: they are named beside it.
Source: the Compose specification, "Interpolation".
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from knarr.errors import InvalidArgument, Unsupported
from knarr.images.lockfile import variables

_LIMIT = 4 * 1024 * 1024


def images(text: str, values: Mapping[str, str]) -> list[str]:
    """Return the names of images in the order of the services, each once.

    values: of variables. Raises InvalidArgument that names the service, Unsupported without
    PyYAML.
    """
    document = _load(text)
    services = document.get("services") if isinstance(document, dict) else None
    if not isinstance(services, dict):
        raise InvalidArgument("there are no services: is it a Compose file?")
    found: list[str] = []
    for service, body in services.items():
        image = body.get("image") if isinstance(body, dict) else None
        if image is None or (isinstance(body, dict) and body.get("build") is not None):
            continue  # a service that is built gives its own image that name
        if not isinstance(image, str):
            raise InvalidArgument(f"service {service}: image is no text")
        try:
            name = variables.substitute(image, values)
        except InvalidArgument as error:
            raise InvalidArgument(f"service {service}: image {image}: {error}") from None
        if not name:
            raise InvalidArgument(f"service {service}: image {image} is empty")
        found.append(name)
    return list(dict.fromkeys(found))


def environment(folder: str, environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables of ``.env`` in ``folder``, and over them those of the environment.

    Raises InvalidArgument for a line that is no assignment.
    """
    path = os.path.join(folder, ".env")
    try:
        with open(path, encoding="utf-8-sig") as file:
            text = file.read(_LIMIT)
    except (FileNotFoundError, IsADirectoryError):
        return dict(environ)
    except (OSError, ValueError) as error:
        raise InvalidArgument(f"{path}: {error}") from None
    values = dict(environ)
    size = 0
    for number, line in enumerate(text.splitlines(), 1):
        words = line.strip().removeprefix("export ").strip()
        if not words or words.startswith("#"):
            continue
        name, mark, value = words.partition("=")
        if not mark or not name.strip():
            raise InvalidArgument(f"{path}: line {number} is not NAME=VALUE")
        found = _value(value.strip(), values, path, number)
        if name.strip() not in environ:
            values[name.strip()] = found
        size += len(found)
        if size > _LIMIT:
            raise InvalidArgument(f"{path}: its values are longer than {_LIMIT} characters")
    return values


def _value(text: str, known: Mapping[str, str], path: str, number: int) -> str:
    quote = text[:1]
    if quote in ("'", '"'):
        end = text.find(quote, 1)
        if end < 0:
            raise InvalidArgument(f"{path}: line {number}: a quote is not closed")
        text = text[1:end]
        if quote == "'":
            return text
    else:
        text = text.partition(" #")[0].rstrip()
    try:
        return variables.substitute(text, known)
    except InvalidArgument as error:
        raise InvalidArgument(f"{path}: line {number}: {error}") from None


def _load(text: str) -> Any:
    try:
        import yaml
    except ImportError:
        raise Unsupported("Compose files are read with PyYAML: pip install pyyaml") from None

    # Written in C where libyaml is there: ten times as fast.
    class Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
        """Knows Compose's own tags, which say how files are merged."""

    def bare(loader: Any, _suffix: str, node: Any) -> Any:
        if isinstance(node, yaml.MappingNode):
            return loader.construct_mapping(node, deep=True)
        if isinstance(node, yaml.SequenceNode):
            return loader.construct_sequence(node, deep=True)
        return loader.construct_scalar(node)

    Loader.add_multi_constructor("!", bare)
    try:
        return yaml.load(text, Loader=Loader)  # noqa: S506 - it is a safe loader
    except (
        yaml.YAMLError, ValueError, RecursionError,
        # Of PyYAML itself, for tags on what they do not fit: !!bool maybe, !!int "", !!timestamp x
        KeyError, IndexError, AttributeError, TypeError, OverflowError,
    ) as error:  # fmt: skip
        first = " ".join(str(error).split())[:200]
        raise InvalidArgument(f"no YAML: {first}") from None
