"""``knarr cp``: files and directories into and out of a container."""

from __future__ import annotations

import os
import posixpath
import stat
import sys

from knarr.cli import binary, copying, human
from knarr.cli.command import Command
from knarr.cli.context import Context
from knarr.cli.flags import SWITCH, Args, Flag
from knarr.errors import InvalidArgument


def run(context: Context, args: Args) -> int:
    """Copy; with ``-`` as one side a tar is read from stdin or written to stdout."""
    source, destination = args.rest
    from_name, from_path = split(source)
    to_name, to_path = split(destination)
    if from_name and to_name:
        raise InvalidArgument("copying between containers is not supported")
    if not from_name and not to_name:
        raise InvalidArgument("must specify at least one container source")
    name, inside = (from_name, from_path) if from_name else (to_name, to_path)
    inner = copying.ContainerEnd(context.engine.containers.get(name))
    inside = posixpath.join("/", inside)
    follow, keep = args.on("follow-link"), args.on("archive")
    if from_name and destination == "-":
        with binary.output(None, "copy") as stream:
            binary.pour(inner.get(inside, follow=follow), stream)
        return 0
    if to_name and source == "-":
        _take_in(inner, inside, keep_owner=keep)
        return 0
    outer = copying.HostEnd()
    try:
        count = (
            copying.copy(
                inner, inside, outer, _absolute(destination), follow=follow, keep_owner=keep
            )
            if from_name
            else copying.copy(
                outer, _absolute(source), inner, inside, follow=follow, keep_owner=keep
            )
        )
    finally:
        outer.close()
    if not args.on("quiet") and sys.stderr.isatty():
        print(f"Successfully copied {human.size(count)} to {destination}", file=sys.stderr)
    return 0


def split(word: str) -> tuple[str, str]:
    """Return (container, path) of ``CONTAINER:PATH``; no container for a path of the host."""
    name, colon, path = word.partition(":")
    if word.startswith(("/", ".")) or not colon or not name:
        return "", word
    return name, path


def _absolute(path: str) -> str:
    """Return a path of the host from the root, with what its end says about it kept."""
    ending = "/." if path.endswith("/.") or path == "." else "/" if path.endswith("/") else ""
    return os.path.abspath(path).rstrip("/") + ending or "/"


def _take_in(inner: copying.ContainerEnd, directory: str, *, keep_owner: bool) -> None:
    """Unpack a tar from stdin into a directory of the container."""
    if not stat.S_ISDIR(inner.stat(directory, follow=True).mode):
        raise InvalidArgument(f'destination "{directory}" must be a directory')
    with binary.stdin("copy") as stream:
        pieces = copying.Pieces(iter(lambda: stream.read(65536), b""))
        inner.put(directory, pieces, keep_owner=keep_owner)


COMMAND = Command(
    name="cp",
    summary="Copy files and directories between a container and the host",
    usage=("[OPTIONS] CONTAINER:SRC_PATH DEST_PATH|-", "[OPTIONS] SRC_PATH|- CONTAINER:DEST_PATH"),
    run=run,
    examples=(
        ("knarr cp web:/var/log/app.log .",
         "Copy a file out of a container"),
        ("knarr cp -a ./site web:/srv",
         "Copy a directory into one, with owners"),
        ("knarr cp web:/etc - | tar t",
         "Write a tar to standard output"),
    ),
    flags=(
        Flag("archive", SWITCH, "Keep user and group ids", short="a", example="-a"),
        Flag("follow-link", SWITCH, "Follow a symbolic link at SRC_PATH", short="L",
             example="-L"),
        Flag("quiet", SWITCH, "Say nothing; without a terminal nothing is said anyway", short="q",
             example="-q"),
    ),
    arguments=(2, 2),
    spellings=("container cp",),
    details="""\
'-' as the source reads a tar from STDIN and unpacks it into a directory of the
container; '-' as the destination writes a tar to STDOUT. SRC_PATH/. copies
what is in a directory, not the directory. Copied files belong to root in a
container and to the caller on the host, unless -a keeps their ids.""",
)  # fmt: skip
