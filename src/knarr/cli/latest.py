"""The warning about ``latest`` for what runs with nobody looking."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping

from knarr.cli import human

VARIABLE = "KNARR_LATEST_WARNING"


def warn(images: Iterable[str], environ: Mapping[str, str]) -> None:
    """Print one line about those of the images whose tag is ``latest``, written or implied.

    Ids and names with a digest stay what they are. KNARR_LATEST_WARNING=0 prints nothing.
    """
    if environ.get(VARIABLE) in ("0", "no", "off", "false"):
        return
    moving = list(dict.fromkeys(filter(is_latest, images)))
    if not moving:
        return
    shown = ", ".join(human.visible(name) for name in moving)
    print(
        f"WARNING: {shown}: 'latest' is whatever was pushed last, and this is to run unattended:"
        " made again after a pull, or on another machine, it may be another program."
        f" Name a version, or pin it with 'knarr lock' ({VARIABLE}=0 hides this)",
        file=sys.stderr,
    )


def is_latest(image: str) -> bool:
    """Return whether a name means the tag ``latest``; not so the name of no image, or an id."""
    from knarr.errors import InvalidArgument
    from knarr.images.reference import DEFAULT_TAG, Reference

    try:
        reference = Reference.parse(image)
    except InvalidArgument:
        return False
    return reference.tag == DEFAULT_TAG and reference.digest is None
