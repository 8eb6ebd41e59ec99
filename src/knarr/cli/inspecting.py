"""What ``inspect`` and those of containers, images and networks share."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from typing import Any

from knarr.cli import human, listing
from knarr.cli.context import Context
from knarr.cli.flags import SWITCH, Flag
from knarr.engine import gone
from knarr.errors import InvalidArgument, NotFound

Look = Callable[[Context, str, bool], dict[str, Any]]

FORMAT = listing.format_of_one("-f '{{.State.Status}}'")
SIZE = Flag("size", SWITCH, "Show the sizes of containers", short="s", example="-s")


def container(context: Context, name: str, size: bool) -> dict[str, Any]:
    """Return a container's object. Raises NotFound."""
    found = context.engine.containers.get(name)
    value = found.inspect()
    if size:
        written = gone.written(context.engine, found.id)
        value["SizeRw"] = written
        value["SizeRootFs"] = written + context.engine.index.get(found.image_id).size
    return value


def image(context: Context, name: str, _size: bool) -> dict[str, Any]:
    """Return an image's object. Raises NotFound."""
    try:
        return context.engine.images.inspect(name)
    except NotFound:
        raise NotFound(f"No such image: {name}") from None


def network(context: Context, name: str, _size: bool) -> dict[str, Any]:
    """Return a network's object. Raises NotFound."""
    return context.engine.networks.get(name).inspect()


LOOKS: dict[str, tuple[Look, ...]] = {
    "": (container, image, network),
    "container": (container,),
    "image": (image,),
    "network": (network,),
}


def show(
    context: Context,
    names: Sequence[str],
    kind: str,
    template: str | None,
    *,
    size: bool = False,
    platform: str | None = None,
) -> int:
    """Print the objects: one JSON array, or a line each by a template; 1 when one is missing.

    platform: which of images that have several.
    """
    if kind not in LOOKS:
        raise InvalidArgument(
            f'"{kind}" is not a valid value for --type: container, image or network'
        )
    found: list[dict[str, Any]] = []
    missing: list[str] = []
    for name in names:
        try:
            if platform is None:
                found.append(_find(context, name, kind, size=size))
            else:
                found.append(context.engine.images.inspect(name, platform))
        except NotFound as error:
            missing.append(str(error))
    if template:
        print("".join(listing.show_one(value, template) for value in found), end="")
    else:
        print(json.dumps(found, indent=4, ensure_ascii=False))
    sys.stdout.flush()
    for text in missing:
        print(f"Error: {human.visible(text)}", file=sys.stderr)
    return 1 if missing else 0


def _find(context: Context, name: str, kind: str, *, size: bool) -> dict[str, Any]:
    looks = LOOKS[kind]
    for look in looks:
        try:
            return look(context, name, size)
        except NotFound:
            if len(looks) == 1:
                raise
        except InvalidArgument:
            if look is looks[-1]:
                raise
    raise NotFound(f"No such object: {name}")
