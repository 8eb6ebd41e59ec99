"""Images as a lock file pins them, for ``run``, ``create`` and ``pull``.

Only where one is asked for, by ``--lock-file`` or KNARR_LOCK_FILE: a file that happens to be in
the working directory must not change what a command gives that is known from Docker.
"""

from __future__ import annotations

from collections.abc import Mapping

from knarr.cli.flags import TEXT, Args, Flag

VARIABLE = "KNARR_LOCK_FILE"
FLAG = Flag(
    "lock-file",
    TEXT,
    "Take images as this lock file pins them, and none that it does not name; '' takes them as "
    f"they are (default ${VARIABLE})",
    example="--lock-file knarr.lock",
)


def path(args: Args, environ: Mapping[str, str]) -> str:
    """Return the lock file that was asked for, "" for none."""
    given = args.text(FLAG.name)
    return environ.get(VARIABLE, "") if given is None else given


def pinned(image: str, args: Args, environ: Mapping[str, str]) -> str:
    """Return an image's name with the digest that the lock file gives it, if there is one.

    Raises NotFound for a name that is not in there, InvalidArgument.
    """
    file = path(args, environ)
    if not file:
        return image
    from knarr.images.lockfile.file import pinned as pinned_by

    return pinned_by(file, image)
