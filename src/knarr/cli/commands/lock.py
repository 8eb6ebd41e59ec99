"""``knarr lock``: pin names of images to digests, in a file."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from knarr.cli import human
from knarr.cli.command import MANY, Command
from knarr.cli.context import Context
from knarr.cli.flags import LIST, SWITCH, TEXT, Args, Flag, UsageError
from knarr.cli.lockpin import VARIABLE
from knarr.errors import InvalidArgument, KnarrError, NotFound, Unauthorized, Unavailable

if TYPE_CHECKING:
    from knarr.images.context import ProgressEvent
    from knarr.images.reference import Reference
    from knarr.images.service import Images

Lookup = Callable[["Reference"], str]
_REFUSALS = (NotFound, Unauthorized, Unavailable)


def run(context: Context, args: Args) -> int:
    """Print what was pinned or has moved; 1 when ``--check`` finds something moved."""
    from knarr.images.lockfile import file as lockfile

    if args.on("check") and args.on("update"):
        raise UsageError("knarr: --check changes nothing and --update does: give one", exit_code=1)
    path = args.text("lock-file") or os.environ.get(VARIABLE) or lockfile.NAME
    locked = _read(path)
    named = _named(args, is_needed=not locked or not (args.on("check") or args.on("update")))
    images, local = context.engine.images, args.on("local")

    def look_up(reference: Reference) -> str:
        name = str(reference)
        try:
            return images.digest_of(name, local=local, progress=_show)
        except _REFUSALS as error:
            if local or not _is_here(images, name):
                raise
            kind = next(each for each in _REFUSALS if isinstance(error, each))
            hint = "--local takes the digest of the image that is here"
            raise kind(f"{error}; {hint}") from error

    if args.on("check"):
        return _check(path, locked, named, look_up, only=_is_named(args))
    if args.on("update"):
        wanted = named if _is_named(args) else [*_references(locked), *named]
    else:
        wanted = [each for each in named if str(each) not in locked]
    _pin(path, locked, wanted, look_up)
    return 0


def _is_here(images: Images, name: str) -> bool:
    try:
        images.get(name)
    except NotFound:
        return False
    return True


def _pin(path: str, locked: dict[str, str], wanted: Iterable[Reference], look_up: Lookup) -> None:
    """Write the lock file with the digests of what is wanted; nothing when one is not found."""
    from knarr.images.lockfile import file as lockfile

    found = {str(each): look_up(each) for each in dict.fromkeys(wanted)}
    try:
        lockfile.write(path, {**locked, **found})
    except OSError as error:
        raise InvalidArgument(f"lock file {path}: {error.strerror}") from None
    for name, digest in found.items():
        shown, before = _familiar(name), locked.get(name)
        if before is None:
            print(f"Locked {shown} {digest}")
        elif before != digest:
            print(f"Moved {shown} {before} -> {digest}")
    count = len({**locked, **found})
    print(f"{human.visible(path)}: {count} {'image' if count == 1 else 'images'}")


def _check(
    path: str, locked: dict[str, str], named: list[Reference], look_up: Lookup, *, only: bool
) -> int:
    """Print what stands for something else now, or is not locked; return the exit code."""
    if not locked and not named:
        raise NotFound(f"no lock file {path}: write it with `knarr lock IMAGE...`")
    code = 0
    for each in dict.fromkeys(named if only else [*_references(locked), *named]):
        shown, before = each.familiar(), locked.get(str(each))
        if before is None:
            print(f"Not locked: {shown}")
            code = 1
            continue
        try:
            digest = look_up(each)
        except KnarrError as error:
            print(f"knarr: {human.visible(str(error))}", file=sys.stderr)
            code = 1
            continue
        if digest != before:
            print(f"Moved: {shown} {before} -> {digest}")
            code = 1
    return code


def _read(path: str) -> dict[str, str]:
    from knarr.images.lockfile import file as lockfile

    try:
        return lockfile.read(path)
    except NotFound:
        return {}


def _is_named(args: Args) -> bool:
    return bool(args.rest or args.many("file"))


def _named(args: Args, *, is_needed: bool) -> list[Reference]:
    """Return what the command line names, else what the files that are usual in a project do."""
    from knarr.images.lockfile import sources

    files: Iterable[str] = args.many("file")
    if not _is_named(args):
        files = sources.usual_files(".")
        if not files and is_needed:
            raise InvalidArgument(
                "nothing to lock: name images, or files with -f; there is no Dockerfile and no"
                " compose.yaml here"
            )
    given = dict(_arguments(args.many("build-arg")))
    return sources.references(args.rest, files, given, os.environ)


def _arguments(texts: Iterable[str]) -> Iterator[tuple[str, str]]:
    for text in texts:
        name, mark, value = text.partition("=")
        if mark:
            yield name, value
        elif name in os.environ:  # as with Docker
            yield name, os.environ[name]


def _references(locked: Iterable[str]) -> list[Reference]:
    from knarr.images.reference import Reference

    return [Reference.parse(name) for name in sorted(locked)]


def _familiar(name: str) -> str:
    from knarr.images.reference import Reference

    return Reference.parse(name).familiar()


def _show(event: ProgressEvent) -> None:
    if event.action == "Warning":
        print(f"WARNING: {human.visible(event.subject)}", file=sys.stderr)


COMMAND = Command(
    name="lock",
    summary="Pin names of images to digests, in a lock file",
    usage=("[OPTIONS] [IMAGE...]",),
    run=run,
    examples=(
        ("knarr lock",
         "Pin the images of the Dockerfile and the Compose file here"),
        ("knarr lock debian:bookworm -f deploy/compose.yaml",
         "Pin an image, and those of a file, beside those that are pinned already"),
        ("knarr lock --check",
         "Tell what has moved since, with exit code 1 if anything has"),
        ("knarr lock --update debian:bookworm",
         "Move one on; without a name, all"),
    ),
    flags=(
        Flag("build-arg", LIST, "Value of an ARG before the first FROM of a Dockerfile",
             example="--build-arg BASE=bookworm"),
        Flag("check", SWITCH, "Change nothing; tell what has moved in the registries and what is "
             "not pinned, with exit code 1 if there is anything", example="--check"),
        Flag("file", LIST, "Pin the images that this file names: .yaml and .yml are Compose files, "
             "all others Dockerfiles", short="f", example="-f Dockerfile"),
        Flag("local", SWITCH, "Take the digests of the images that are here, and ask no registry",
             example="--local"),
        Flag("lock-file", TEXT, f"The lock file (default ${VARIABLE}, or knarr.lock)",
             example="--lock-file deploy/knarr.lock"),
        Flag("update", SWITCH, "Move what is pinned already to what the registries have now",
             example="--update"),
    ),
    arguments=(0, MANY),
    details="""\
'knarr run', 'create' and 'pull' take images as a lock file pins them when they are told to, by
--lock-file or $KNARR_LOCK_FILE, and then none that it does not name. A digest is that of
the index of an image that has several platforms, so one file serves them all. Of a
Dockerfile, the images count that FROM, COPY --from and RUN --mount=from= name; of a Compose
file, image: of each service that is not built. See docs/tags.md.""",
)  # fmt: skip
