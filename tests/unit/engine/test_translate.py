"""Foreign errors get the object's name and the right class."""

from __future__ import annotations

import errno
import sqlite3

import pytest

from knarr import errors
from knarr.engine.translate import from_sqlite, translated

CASES = [
    (errno.ENOSPC, errors.ResourceExhausted),
    (errno.EDQUOT, errors.ResourceExhausted),
    (errno.EAGAIN, errors.ResourceExhausted),
    (errno.ENOENT, errors.NotFound),
    (errno.EROFS, errors.Forbidden),
    (errno.EPERM, errors.Forbidden),
    (errno.EINVAL, errors.InvalidArgument),
    (errno.ECONNREFUSED, errors.Unavailable),
    (errno.EIO, errors.Internal),
]


@pytest.mark.parametrize(("number", "kind"), CASES)
def test_every_errno_has_its_class(number: int, kind: type[errors.KnarrError]) -> None:
    with pytest.raises(kind) as caught, translated("container web"):
        raise OSError(number, "reason", "/some/file")
    assert str(caught.value).startswith("container web: /some/file: reason")
    assert "\n" not in str(caught.value)


def test_non_root_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    with pytest.raises(errors.Forbidden, match="knarr needs root"), translated("container web"):
        raise PermissionError(errno.EACCES, "Permission denied", "/var/lib/knarr")


def test_own_errors_pass_untouched() -> None:
    with pytest.raises(errors.Conflict, match=r"^as it was$"), translated("container web"):
        raise errors.Conflict("as it was")


def test_a_full_disk_under_the_database() -> None:
    error = sqlite3.OperationalError("database or disk is full")
    error.sqlite_errorcode = sqlite3.SQLITE_FULL
    assert isinstance(from_sqlite(error, "state"), errors.ResourceExhausted)


def test_a_damaged_database_is_internal(tmp_path: object) -> None:
    with pytest.raises(errors.Internal), translated("state"):
        raise sqlite3.DatabaseError("file is not a database")
