"""``knarr tag``: give an image another name, or one that says what it was made of."""

from __future__ import annotations

from typing import TYPE_CHECKING

from knarr.cli.command import MANY, Command
from knarr.cli.context import Context
from knarr.cli.flags import SWITCH, TEXT, Args, Flag, UsageError
from knarr.errors import InvalidArgument

if TYPE_CHECKING:
    from knarr.images.reference import Reference
    from knarr.images.service import Image, Images


def run(context: Context, args: Args) -> int:
    """Print nothing; with ``--auto`` the name that was made."""
    if args.on("auto"):
        return _auto(context.engine.images, args)
    if len(args.rest) != 2:
        raise UsageError("knarr: 'knarr tag' requires 2 arguments", exit_code=1)
    if args.text("source") is not None:
        raise UsageError("knarr: --source is for --auto", exit_code=1)
    context.engine.images.tag(args.rest[0], args.rest[1])
    return 0


def _auto(images: Images, args: Args) -> int:
    from knarr.images.autotag.name import tag_for

    if not 1 <= len(args.rest) <= 2:
        raise UsageError("knarr: 'knarr tag --auto' requires 1 or 2 arguments", exit_code=1)
    source, target = args.rest[0], args.rest[-1]
    image = images.get(source)
    name = _repository(image, source) if len(args.rest) == 1 else _bare(target)
    made = name.with_tag(tag_for(args.text("source") or ".")).familiar()
    images.tag(source, made)
    print(made)
    return 0


def _bare(target: str) -> Reference:
    from knarr.images.reference import Reference

    name = Reference.parse(target, default_tag=False)
    if name.tag is not None or name.digest is not None:
        raise InvalidArgument(f"--auto makes the tag: give {name.familiar_name} without one")
    return name


def _repository(image: Image, source: str) -> Reference:
    """Return the name of what ``source`` means, which has to be one and not an id."""
    from knarr.images.reference import Reference

    if not image.id.removeprefix("sha256:").startswith(source.removeprefix("sha256:")):
        return Reference.parse(source)
    raise InvalidArgument(f"{source} is an image id: give a name after it to tag it with")


COMMAND = Command(
    name="tag",
    summary="Give an image another name",
    usage=("SOURCE_IMAGE[:TAG] TARGET_IMAGE[:TAG]", "--auto IMAGE [NAME]"),
    run=run,
    examples=(
        ("knarr tag busybox tools/box:1",
         "Give an image a further name"),
        ("knarr tag --auto app",
         "Name it by version and commit of the source tree here, as app:1.4.2-a1b2c3d"),
        ("knarr tag --auto --source ~/src/app app localhost:5000/team/app",
         "Name it so for a registry, after a source tree elsewhere"),
    ),
    flags=(
        Flag("auto", SWITCH, "Make the tag of version and commit of a source tree, and print the "
             "name", example="--auto"),
        Flag("source", TEXT, "The source tree for --auto (default the working directory)",
             example="--source ~/src/app"),
    ),
    arguments=(0, MANY),
    spellings=("image tag",),
    details="""\
The version is what the project states: pyproject.toml (project.version, poetry's, or the
file that hatch reads it from), package.json, Cargo.toml or a VERSION file, in the source
tree or nearest above it in the repository; else the nearest git tag such as v1.4.2; else
0.0.0. A tree with changes, or with files that are neither tracked nor ignored, gives
1.4.2-a1b2c3d-dirty. Nothing of the repository is executed, nor read from an image's
labels, which images inherit. See docs/tags.md.""",
)  # fmt: skip
