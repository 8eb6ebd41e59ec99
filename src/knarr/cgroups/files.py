"""Reading and writing control files, with errors that name the file.

Plain system calls: a buffered Python file costs three times as much, and a container
needs about forty of these.
"""

import errno
import os

from knarr.cgroups.errors import RefusedLimit, UnsupportedResource

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    # file name in the group's directory, value, field of linux.resources it comes from
    Write = tuple[str, str, str]
    # controller and what is to be written for it
    Work = list[tuple[str, list[Write]]]
    # What ``linux.resources`` asks for, before anything is made: on v1, on v2, and the
    # descriptor of a loaded device program (to be closed) where devices is no v1 hierarchy.
    Plan = tuple[Work, Work, int | None]


# No such file, or the group is being removed, which open(2) and read(2) may meet as well; or
# the file is there but not supported.
MISSING = (errno.ENOENT, errno.ENOTDIR, errno.ENODEV, errno.EOPNOTSUPP)


def write(path: str, value: str) -> None:
    """Put value into a control file with one system call; raises OSError with filename."""
    fd = os.open(path, os.O_WRONLY)
    try:
        os.write(fd, value.encode())
    except OSError as error:
        error.filename = path
        raise
    finally:
        os.close(fd)


def read(path: str) -> str:
    """Return the whole text of a control file; raises OSError with filename."""
    fd = os.open(path, os.O_RDONLY)
    try:
        data = os.read(fd, 65536)
        # A short read is no end: the kernel stops before a line that its page does not hold.
        while more := os.read(fd, 65536):
            data += more
    except OSError as error:
        error.filename = path
        raise
    finally:
        os.close(fd)
    return data.decode()


def read_int(path: str) -> int | None:
    """Return a file's number; None when the file does not exist or says ``max``."""
    text = _read_if_there(path)
    return int(text) if text and not text.startswith("max") else None


def read_keyed(path: str) -> dict[str, int]:
    """Return a file of ``key value`` lines as numbers; empty when it does not exist."""
    lines = _read_if_there(path).splitlines()
    return {key: int(value) for key, _, value in map(_split, lines)}


def _read_if_there(path: str) -> str:
    try:
        return read(path)
    except OSError as error:
        if error.errno not in MISSING:
            raise
        return ""


def _split(line: str) -> tuple[str, str, str]:
    return line.partition(" ")


def carry_out(directory: str, writes: "Iterable[Write]", update: bool = False) -> None:
    """Carry out writes in the given order.

    Raises UnsupportedResource when this kernel has no such file, OSError that names
    field, value and file when the kernel refuses. ``update`` is for controllers whose
    order depends on what is set already; here it makes no difference.
    """
    del update
    fd, opened = -1, ""
    try:
        for name, value, field in writes:
            try:
                # A device list is a dozen writes to one file: it is opened once.
                if name != opened:
                    if fd >= 0:
                        os.close(fd)
                    fd, opened = -1, name
                    fd = os.open(f"{directory}/{name}", os.O_WRONLY)
                os.write(fd, value.encode())
            except OSError as error:
                raise refusal(directory, name, value, field, error) from None
    finally:
        if fd >= 0:
            os.close(fd)


def refusal(directory: str, name: str, value: str, field: str, error: OSError) -> Exception:
    """Return the exception that tells a caller why a write of a field failed."""
    if error.errno == errno.ENOENT and os.path.isdir(directory):
        return UnsupportedResource(field, f"this kernel does not support it (no {name})")
    text = f"{field} cannot be set to {value.strip()!r}: {error.strerror}"
    return RefusedLimit(error.errno, text, f"{directory}/{name}")
