"""``knarr image verify``: find what is damaged in the store, and mend it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from knarr.cli import human
from knarr.cli.command import MANY, Command
from knarr.cli.context import Context
from knarr.cli.flags import SWITCH, Args, Flag

if TYPE_CHECKING:
    from knarr.images.verifying import Damage


def run(context: Context, args: Args) -> int:
    """Print what is wrong, and how much was read; 1 when something is still wrong."""
    found = context.engine.images.verify(
        args.rest, repair=args.on("repair"), files=args.on("files")
    )
    for each in found.damages:
        print(_line(each))
        if each.trouble:
            print(f"knarr: {each.kind} {each.digest}: {human.visible(each.trouble)}",
                  file=sys.stderr)  # fmt: skip
    if not args.on("quiet"):
        wrong = sum(1 for each in found.damages if not each.repaired)
        state = f"{wrong} damaged" if wrong else "all well"
        pieces = "1 piece" if found.checked == 1 else f"{found.checked} pieces"
        print(f"Checked {pieces}, {human.size(found.size)}: {state}")
    return 0 if found.is_well else 1


def _line(damage: Damage) -> str:
    word = "Repaired" if damage.repaired else "Damaged"
    images = ", ".join(map(human.visible, damage.images))
    return f"{word}: {damage.kind} {damage.digest} of {images}: {human.visible(damage.reason)}"


COMMAND = Command(
    name="image verify",
    summary="Find what is damaged in images, and mend it",
    usage=("[OPTIONS] [IMAGE...]",),
    run=run,
    examples=(
        ("knarr image verify",
         "Read all images and compare every digest"),
        ("knarr image verify --repair debian:bookworm",
         "Have what is damaged of one again from the registry it came from"),
    ),
    flags=(
        Flag("files", SWITCH, "Compare each file that containers see with the layers, too",
             example="--files"),
        Flag("quiet", SWITCH, "Print only what is damaged", short="q", example="-q"),
        Flag("repair", SWITCH, "Have what is damaged or missing again from the registries that "
             "images came from", example="--repair"),
    ),
    arguments=(0, MANY),
    details="""\
Every manifest, config and layer is read and its digest compared, also those of all platforms
that are here. Of layers that are not unpacked, the tar that containers see is read too. With
--files the layers are laid out as for a container, and each file there is compared.
The exit code is 1 while something is damaged.""",
)  # fmt: skip
