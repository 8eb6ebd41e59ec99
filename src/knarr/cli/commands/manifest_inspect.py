"""``knarr manifest inspect``: a manifest or list, of a registry or put together here."""

from __future__ import annotations

import json

from knarr.cli.command import Command
from knarr.cli.context import Context
from knarr.cli.flags import SWITCH, Args, Flag
from knarr.errors import NotFound


def run(context: Context, args: Args) -> int:
    """Print JSON."""
    lists = context.engine.images.lists
    if len(args.rest) == 2:
        from knarr.images.reference import Reference

        wanted = Reference.parse(args.rest[1])
        entries = [each for each in lists.entries(args.rest[0]) if each.reference == wanted]
        if not entries:
            raise NotFound(f"No such manifest: {args.rest[1]}")
        raw = entries[0].raw
    else:
        raw, entries = lists.inspect(args.rest[0], insecure=args.on("insecure"))
    value = json.loads(raw)
    if args.on("verbose"):
        shown = [each.verbose() for each in entries]
        value = shown if "manifests" in value else shown[0]
    print(json.dumps(value, indent="\t", ensure_ascii=False))
    return 0


COMMAND = Command(
    name="manifest inspect",
    summary="Display an image manifest, or manifest list",
    usage=("[OPTIONS] [MANIFEST_LIST] MANIFEST",),
    run=run,
    examples=(
        ("knarr manifest inspect debian:bookworm",
         "Show for which platforms a registry has an image, without fetching it"),
    ),
    flags=(
        Flag("insecure", SWITCH, "Allow communication with an insecure registry",
             example="--insecure"),
        Flag("verbose", SWITCH, "Output additional info including layers and platform", short="v",
             example="-v"),
    ),
    arguments=(1, 2),
)  # fmt: skip
