"""Operations on paths inside a container's root, resolved by the kernel and never by string.

Every look-up starts at the descriptor of the root and uses openat2(2) with
RESOLVE_IN_ROOT, so that absolute and climbing symbolic links of a hostile image
end inside the root, and RESOLVE_NO_MAGICLINKS, so that none of them leads
through /proc/PID/fd or /proc/PID/exe.
"""

import errno
import os
import stat
import struct

from knarr.kernel.files import RESOLVE_IN_ROOT, RESOLVE_NO_MAGICLINKS, RESOLVE_NO_SYMLINKS
from knarr.kernel.mounts import AT_EMPTY_PATH, AT_SYMLINK_NOFOLLOW
from knarr.runtime.errors import RuntimeFailure
from knarr.runtime.program.builder import Builder, Label
from knarr.runtime.program.exchange import DIRECTORY_MISSING, FILE_MISSING, ask
from knarr.runtime.program.memory import FILE_LIMIT, MODE, ROOT, STATX, TEMPORARY, Cell

TYPE_CHECKING = False
if TYPE_CHECKING:
    from knarr.runtime.program.builder import Explain

DIRECTORY = os.O_PATH | os.O_DIRECTORY
_RESOLVE = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS
STATX_BASIC = 0x7FF
_BELOW, _ABOVE = TEMPORARY[14], TEMPORARY[15]
_FORMAT = 0o170000  # S_IFMT of the stat module is a function
# struct statx
_MODE = STATX + 28
_INODE = STATX + 32
_RDEV_MAJOR, _RDEV_MINOR = STATX + 128, STATX + 132


def openat2(
    b: Builder,
    directory: "int | Cell",
    path: str,
    out: Cell,
    flags: int,
    resolve: int,
    *,
    orelse: "Label | None" = None,
    errors: "tuple[int, ...]" = (),
    explain: "Explain | None" = None,
) -> None:
    """Open a path below a directory, close-on-exec (openat2(2))."""
    how = struct.pack("=QQQ", flags | os.O_CLOEXEC, 0, resolve)
    b.call("openat2", directory, path, how, len(how), out=out, path=path, orelse=orelse,
           errors=errors, explain=explain)  # fmt: skip


def open_in_root(
    b: Builder,
    path: str,
    out: Cell,
    flags: int = os.O_PATH,
    *,
    follow: bool = True,
    orelse: "Label | None" = None,
    errors: "tuple[int, ...]" = (),
) -> None:
    """Open ``path`` inside the root; follow=False refuses a symbolic link anywhere (ELOOP)."""
    resolve = _RESOLVE if follow else _RESOLVE | RESOLVE_NO_SYMLINKS
    openat2(b, ROOT, path, out, flags, resolve, orelse=orelse, errors=errors)


def ensure_directory(
    b: Builder, path: str, out: Cell, *, follow: bool = True, asks: bool = False
) -> None:
    """Open a directory inside the root, made (0755) with its parents where missing.

    asks: where a link leads to nowhere, the maker makes what it leads to; else that is a failure.
    """
    there, nowhere = Label(), Label()
    _open_or_make(b, path, out, follow, nowhere if asks else None)
    if asks:
        b.jump(there)
        _ask(b, DIRECTORY_MISSING, path, out, nowhere)
        b.place(there)


def _open_or_make(
    b: Builder, path: str, out: Cell, follow: bool, nowhere: "Label | None" = None
) -> None:
    missing, there = Label(), Label()
    open_in_root(b, path, out, DIRECTORY, follow=follow, orelse=missing, errors=(errno.ENOENT,))
    b.jump(there)
    b.place(missing)
    _make(b, path, out, follow, nowhere=nowhere)
    b.place(there)


def _ask(b: Builder, question: bytes, path: str, out: Cell, nowhere: Label) -> None:
    """Go on here from a link to nowhere; nothing is open then but what led to it."""
    b.place(nowhere)
    ask(b, question, path)
    flags = DIRECTORY if question == DIRECTORY_MISSING else os.O_PATH
    openat2(b, ROOT, path, out, flags, _RESOLVE, explain=_Dangling(path))


def try_directory(b: Builder, path: str, result: Cell) -> None:
    """Make a directory where missing; what fails is no more than a negative ``result``."""
    missing, end = Label(), Label()
    open_in_root(b, path, result, DIRECTORY, orelse=missing)
    b.call("close", result)
    b.jump(end)
    b.place(missing)
    _unless_missing(b, result, end)
    _make(b, path, result, True, end)
    b.call("close", result)
    b.place(end)


def _unless_missing(b: Builder, result: Cell, label: Label) -> None:
    """Go to a label unless the call that failed with this result found nothing."""
    b.test(result, 0xFFFFFFFF, -errno.ENOENT & 0xFFFFFFFF, orelse=label)


def _make(
    b: Builder,
    path: str,
    out: Cell,
    follow: bool,
    give_up: "Label | None" = None,
    nowhere: "Label | None" = None,
) -> None:
    """Make the missing components one by one, each on the descriptor of its parent.

    nowhere: where to go on at a link to nowhere, with nothing left open.
    """
    linked = Label()
    done = ""
    failed = None if give_up is None else Label()
    open_in_root(b, "/", out, DIRECTORY, orelse=give_up)
    for part in path.split("/"):
        if part in ("", "."):
            continue
        done += "/" + part
        missing, there = Label(), Label()
        b.set(_ABOVE, out)
        open_in_root(b, done, out, DIRECTORY, follow=follow, orelse=missing,
                     errors=() if failed else (errno.ENOENT,))  # fmt: skip
        b.jump(there)
        b.place(missing)
        if failed is not None:
            _unless_missing(b, out, failed)
        # A dangling link is there already: following it would make what the image chose.
        b.call("mkdirat", _ABOVE, part, 0o755, out=out if failed else 0,
               orelse=failed or (linked if nowhere else None),
               errors=(errno.EEXIST,) if nowhere else (), explain=_Dangling(done))  # fmt: skip
        open_in_root(b, done, out, DIRECTORY, follow=follow, orelse=failed)
        b.place(there)
        b.call("close", _ABOVE)
    for here, way in ((failed, give_up), (linked, nowhere)):
        if here is not None and way is not None:
            end = Label()
            b.jump(end)
            b.place(here)
            b.call("close", _ABOVE)
            b.jump(way)
            b.place(end)


class _Dangling:
    """Explains why a directory could not be made."""

    __slots__ = ("path",)

    def __init__(self, path: str) -> None:
        self.path = path

    def __call__(self, name: str, number: int) -> RuntimeFailure:
        text = os.strerror(number)
        if number in (errno.EEXIST, errno.ENOENT):
            text = f"{self.path} is a symbolic link to nowhere"
        return RuntimeFailure("error", name, f"{name}: {text}: {self.path}", number)


def ensure_file(b: Builder, path: str, out: Cell, *, asks: bool = False) -> None:
    """Open a file inside the root, made empty where missing. asks: see ``ensure_directory``."""
    missing, there, nowhere = Label(), Label(), Label()
    open_in_root(b, path, out, orelse=missing, errors=(errno.ENOENT,))
    b.jump(there)
    b.place(missing)
    parent, name = os.path.split(path.rstrip("/"))
    raced = Label()
    _open_or_make(b, parent or "/", _BELOW, True, nowhere if asks else None)
    create = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC
    b.call("openat", _BELOW, name, create, 0o644, out=out, path=path, orelse=raced,
           errors=(errno.EEXIST,))  # fmt: skip
    b.call("close", _BELOW)
    b.jump(there)
    b.place(raced)
    # A dangling link or a racing creation: the look-up decides.
    b.call("close", _BELOW)
    if asks:
        # ``nowhere`` is where the links of its directory lead to, and this one too.
        b.jump(nowhere)
        _ask(b, FILE_MISSING, path, out, nowhere)
    else:
        open_in_root(b, path, out)
    b.place(there)


def status(
    b: Builder,
    directory: Cell,
    name: str = "",
    *,
    orelse: "Label | None" = None,
    errors: "tuple[int, ...]" = (),
    path: "str | None" = None,
) -> None:
    """Look at a descriptor, or at a name below one, for the tests that follow (statx(2))."""
    flags = AT_SYMLINK_NOFOLLOW if name else AT_EMPTY_PATH
    b.call("statx", directory, name, flags, STATX_BASIC, STATX, orelse=orelse, errors=errors,
           path=path)  # fmt: skip


def check_type(
    b: Builder,
    kind: int,
    *,
    orelse: "Label | None" = None,
    errno: int = 22,
    path: "str | None" = None,
) -> None:
    """Go on if what was looked at is of this type (S_IFDIR, S_IFREG …)."""
    b.test(_MODE, _FORMAT, kind, orelse=orelse, errno=errno, path=path)


def mode_text(b: Builder) -> None:
    """Write the permissions of what was looked at as octal digits, where MODE is.

    Digit by digit, each by its bits: operations have no arithmetic. What stands behind a digit is
    overwritten by the next, and at last by NULs.
    """
    for place, shift in enumerate((9, 6, 3, 0)):
        written = Label()
        for digit in range(8):
            other = Label()
            b.test(_MODE, 7 << shift, digit << shift, orelse=other)
            b.set(Cell(MODE + place), ord("0") + digit)
            b.jump(written)
            b.place(other)
        b.place(written)


def check_device(b: Builder, major: int, minor: int, path: str) -> None:
    """Fail with ENXIO unless what was looked at has these device numbers."""
    for address, value in ((_RDEV_MAJOR, major), (_RDEV_MINOR, minor)):
        b.test(address, 0xFFFFFFFF, value, errno=errno.ENXIO, path=path)


def check_inode(b: Builder, number: int, explain: "Explain") -> None:
    """Fail with EPERM unless what was looked at is this inode, a small number."""
    for address, value in ((_INODE, number), (_INODE + 4, 0)):
        b.test(address, 0xFFFFFFFF, value, errno=errno.EPERM, explain=explain)


def read_file(b: Builder, path: str, address: int, size: Cell) -> None:
    """Read a regular file inside the root, at most 4 MiB of it; ``size`` is 0 if there is none.

    It is looked at before it is opened: opening a device of the image would act on it.
    """
    end, close = Label(), Label()
    fd = _BELOW
    b.set(size, 0)
    open_in_root(b, path, fd, orelse=end)
    status(b, fd, orelse=close)
    check_type(b, stat.S_IFREG, orelse=close)
    b.call("close", fd)
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY
    open_in_root(b, path, fd, flags, orelse=end)
    status(b, fd, orelse=close)
    check_type(b, stat.S_IFREG, orelse=close)
    # One call reads a regular file to its end or to the limit: no signal can interrupt it.
    b.call("read", fd, address, FILE_LIMIT, out=size, orelse=close)
    b.place(close)
    b.call("close", fd)
    b.place(end)
