"""Finding the command inside the container, as execvp(3) does, with Docker's texts on failure."""

import errno
import os
import stat

from knarr.kernel.files import AT_EACCESS, RESOLVE_NO_MAGICLINKS
from knarr.kernel.mounts import AT_FDCWD
from knarr.runtime.errors import RuntimeFailure
from knarr.runtime.program.builder import Builder, Label, Told
from knarr.runtime.program.memory import PATH, STATX, TEMPORARY
from knarr.runtime.program.paths import STATX_BASIC, check_type, openat2

_DENIED, _FILE = TEMPORARY[1], TEMPORARY[2]
_NEAR = 1000  # candidates whose operations a jump can pass
_MISSING = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)
_EXECUTABLE = (errno.ENOENT, errno.EACCES, errno.EPERM, errno.ENOEXEC, errno.ENOTDIR,
               errno.EISDIR, errno.ELOOP)  # fmt: skip


class _NoStatus:
    """Explains why a command given by its path cannot be looked at."""

    __slots__ = ("path",)

    def __init__(self, path: str) -> None:
        self.path = path

    def __call__(self, name: str, number: int) -> RuntimeFailure:
        del name
        kind = "not-found" if number in _MISSING else "not-executable"
        text = f'exec: "{self.path}": stat {self.path}: {os.strerror(number).lower()}'
        return RuntimeFailure(kind, "exec", text, number)


class ExecFailure:
    """Explains why execve itself failed, e.g. for a missing interpreter of a script."""

    __slots__ = ("command",)

    def __init__(self, command: str) -> None:
        self.command = command

    def __call__(self, name: str, number: int) -> RuntimeFailure:
        """Return the failure for an error number."""
        del name
        kind = "not-found" if number == errno.ENOENT else "not-executable"
        if number not in _EXECUTABLE:
            kind = "error"
        text = f'exec: "{self.command}": {os.strerror(number).lower()}'
        return RuntimeFailure(kind, "exec", text, number)


class _Magic(ExecFailure):
    """Explains why a program that is there cannot be opened, mostly for what it leads through."""

    __slots__ = ()

    def __call__(self, name: str, number: int) -> RuntimeFailure:
        """Return the failure for an error number."""
        if number != errno.ELOOP:
            return super().__call__(name, number)
        text = f'exec: "{self.command}": leads through /proc'
        return RuntimeFailure("not-executable", "exec", text, number)


def _said(kind: str, name: str, text: str) -> Told:
    return Told(kind, "exec", f'exec: "{name}": {text}', reason=False)


def find(b: Builder, name: str, path: str) -> None:
    """Set PATH to what is executed for ``name``. Raises RuntimeFailure for an empty name.

    The failures are ``not-found`` and ``not-executable``.
    """
    if not name:
        raise RuntimeFailure("not-found", "exec", "no command specified", errno.ENOENT)
    if "/" in name:
        _check(b, name)
        b.set(PATH, name)
        return
    found = Label()
    b.set(_DENIED, 0)
    for number, directory in enumerate(dict.fromkeys(path.split(":"))):
        if number % _NEAR == _NEAR - 1:
            found = _hop(b, found)
        _try(b, f"{directory or '.'}/{name}", found)
    nowhere = Label()
    b.test(_DENIED, 1, 1, orelse=nowhere)
    b.fail(errno.EACCES, _said("not-executable", name, "permission denied"))
    b.place(nowhere)
    b.fail(errno.ENOENT, _said("not-found", name, "executable file not found in $PATH"))
    b.place(found)


def _hop(b: Builder, label: Label) -> Label:
    """Place ``label`` on a jump to the one that is returned: a jump has a limited reach."""
    further, following = Label(), Label()
    b.jump(following)
    b.place(label)
    b.jump(further)
    b.place(following)
    return further


def _try(b: Builder, candidate: str, found: Label) -> None:
    """Take a candidate that can be executed; note one that is there and cannot."""
    unusable, program, following = Label(), Label(), Label()
    b.call("faccessat2", AT_FDCWD, candidate, os.X_OK, AT_EACCESS, orelse=unusable)
    _look(b, candidate, following)
    check_type(b, stat.S_IFDIR, orelse=program)
    b.jump(following)
    b.place(program)
    _refuse_magic(b, candidate)
    b.set(PATH, candidate)
    b.jump(found)
    b.place(unusable)
    _look(b, candidate, following)
    check_type(b, stat.S_IFREG, orelse=following)
    b.set(_DENIED, 1)
    b.place(following)


def _look(b: Builder, path: str, orelse: Label) -> None:
    b.call("statx", AT_FDCWD, path, 0, STATX_BASIC, STATX, orelse=orelse)


def _check(b: Builder, name: str) -> None:
    file = Label()
    b.call("statx", AT_FDCWD, name, 0, STATX_BASIC, STATX, explain=_NoStatus(name))
    check_type(b, stat.S_IFDIR, orelse=file)
    b.fail(errno.EISDIR, _said("not-executable", name, "is a directory"))
    b.place(file)
    denied = _said("not-executable", name, "permission denied")
    b.call("faccessat2", AT_FDCWD, name, os.X_OK, AT_EACCESS, explain=denied)
    _refuse_magic(b, name)


def _refuse_magic(b: Builder, name: str) -> None:
    """Refuse what only exists through /proc: /proc/self/exe is no program of the image.

    Source: CVE-2019-5736.
    """
    openat2(b, AT_FDCWD, name, _FILE, os.O_PATH, RESOLVE_NO_MAGICLINKS, explain=_Magic(name))
    b.call("close", _FILE)
