"""Foreign errors become knarr's, in one place: OSError and sqlite3 errors get the object's name."""

from __future__ import annotations

import errno
import os
import sqlite3
from typing import TYPE_CHECKING

from knarr import errors

if TYPE_CHECKING:
    from types import TracebackType

_EXHAUSTED = {errno.ENOSPC, errno.EDQUOT, errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.EAGAIN}
_KINDS: dict[int, type[errors.KnarrError]] = {
    errno.ENOENT: errors.NotFound,
    errno.ENOTDIR: errors.InvalidArgument,
    errno.EISDIR: errors.InvalidArgument,
    errno.EINVAL: errors.InvalidArgument,
    errno.ELOOP: errors.InvalidArgument,
    errno.ENAMETOOLONG: errors.InvalidArgument,
    errno.EEXIST: errors.Conflict,
    errno.EBUSY: errors.Conflict,
    errno.EPERM: errors.Forbidden,
    errno.EACCES: errors.Forbidden,
    errno.EROFS: errors.Forbidden,
    errno.ENOSYS: errors.Unsupported,
    errno.EOPNOTSUPP: errors.Unsupported,
    errno.ECONNREFUSED: errors.Unavailable,
    errno.ECONNRESET: errors.Unavailable,
    errno.EPIPE: errors.Unavailable,
}
NEEDS_ROOT = "knarr needs root: run it with sudo"


class translated:  # noqa: N801 - reads as the verb it is; a class costs a third of a generator
    """Run the block; an OSError or sqlite3 error in it leaves as a KnarrError naming ``subject``.

    KnarrErrors pass untouched. Raises what :func:`from_oserror` and
    :func:`from_sqlite` return.
    """

    __slots__ = ("_subject",)

    def __init__(self, subject: str) -> None:
        self._subject = subject

    def __enter__(self) -> None:
        return None

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if isinstance(error, OSError):
            raise from_oserror(error, self._subject) from error
        if isinstance(error, sqlite3.Error):
            raise from_sqlite(error, self._subject) from error


def from_oserror(error: OSError, subject: str) -> errors.KnarrError:
    """Return the KnarrError for ``error``: the subject, the file, the kernel's reason."""
    reason = error.strerror or str(error) or type(error).__name__
    name = error.filename
    if isinstance(name, bytes):
        name = os.fsdecode(name)
    where = f"{subject}: {name}: {reason}" if name else f"{subject}: {reason}"
    code = error.errno or 0
    if code in (errno.EPERM, errno.EACCES) and os.geteuid() != 0:
        return errors.Forbidden(f"{where} ({NEEDS_ROOT})")
    if code in _EXHAUSTED:
        return errors.ResourceExhausted(where)
    return _KINDS.get(code, errors.Internal)(where)


def from_sqlite(error: sqlite3.Error, subject: str) -> errors.KnarrError:
    """Return the KnarrError for an error of the state database.

    A full disk is ResourceExhausted, a read-only or unreadable file Forbidden,
    a busy one Unavailable, a damaged one Internal.
    """
    text = f"{subject}: state database: {error}"
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code == sqlite3.SQLITE_FULL:
        return errors.ResourceExhausted(text)
    if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM):
        hint = "" if os.geteuid() == 0 else f" ({NEEDS_ROOT})"
        return errors.Forbidden(text + hint)
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return errors.Unavailable(text)
    return errors.Internal(text)
