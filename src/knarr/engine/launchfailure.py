"""What the launcher's refusals mean, as errors of knarr."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from knarr import errors

if TYPE_CHECKING:
    from knarr.supervisor.client import LaunchFailed

_KINDS: dict[str, type[errors.KnarrError]] = {
    "not-found": errors.CommandNotFound,
    "not-executable": errors.NotExecutable,
    "invalid": errors.InvalidArgument,
    "directory": errors.InvalidArgument,
    "busy": errors.Conflict,
    "not-running": errors.Conflict,
    "launcher": errors.Unavailable,
}
_ERRNOS: dict[int, type[errors.KnarrError]] = {
    errno.ENOSPC: errors.ResourceExhausted,
    errno.EDQUOT: errors.ResourceExhausted,
    errno.ENOMEM: errors.ResourceExhausted,
    errno.EAGAIN: errors.ResourceExhausted,
    errno.EMFILE: errors.ResourceExhausted,
    errno.ENFILE: errors.ResourceExhausted,
    errno.EPERM: errors.Forbidden,
    errno.EACCES: errors.Forbidden,
    errno.EROFS: errors.Forbidden,
    errno.ENOSYS: errors.Unsupported,
    errno.EOPNOTSUPP: errors.Unsupported,
    errno.EINVAL: errors.InvalidArgument,
    errno.ENOENT: errors.InvalidArgument,
    errno.ENOTDIR: errors.InvalidArgument,
    errno.ELOOP: errors.InvalidArgument,
}


# What the runtime says when it looked a user up in the container's own files.
_ABOUT_USERS = (
    "unable to find user ", "unable to find group ", "invalid user ", "invalid id ",
    "/etc/passwd in the container ", "/etc/group in the container ",
)  # fmt: skip


def explained(failure: LaunchFailed, name: str, *, inside: bool = False) -> errors.KnarrError:
    """Return the error for what the launcher answered about container ``name``.

    inside: it was about a further command in the running container.
    """
    if failure.message.startswith(_ABOUT_USERS):
        return errors.UnknownUser(failure.message)  # Docker's words, as when found out here
    if failure.kind == "directory" and (inside or failure.errno == errno.EACCES):
        return errors.NotExecutable(f"container {name}: {failure.message}")
    kind = _KINDS.get(failure.kind) or _ERRNOS.get(failure.errno, errors.Internal)
    return kind(f"container {name}: {failure.message}")
